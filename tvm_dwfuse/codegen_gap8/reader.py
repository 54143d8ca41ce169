"""Reads a region of integer composites back into a :class:`~tvm_dwfuse.integer_network.Network`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from relay_passes.dataflow import static_shape
from relay_passes.integer_patterns import ADD, AVERAGE_POOL, CONV2D, RELABEL
from relay_passes.partition_for_cluster import ACTIVATION_ATTR
from relay_passes.rewrite import constant_array, op_name

from ..errors import DwfuseError
from ..frontend.quantized_relax import ACTIVATIONS_ATTRIBUTE, NAME_ATTRIBUTE
from ..integer_network import Activation, Add, AveragePool, Conv, Layer, Network

#: What ``import_quantized`` says of activations, by name.
Known = Mapping[str, Mapping[str, Any]]


def read_region(func: relax.Function) -> Network:
    """The integer network that a region of :class:`~relay_passes.PartitionForCluster` computes.

    Activations are called as the variables that held them; where a name comes up again, a number is added. What real
    values they stand for is not known in a region: their scale is 1 and their zero point 0.

    Args:
        func: the region: composites of ``integer_patterns``, each called once.

    Raises:
        DwfuseError: the region holds something else, or an activation is not one image of static shape.
    """
    return _read(func, str((func.attrs or {}).get("global_symbol", "network")), None, {})


def read_network(mod: tvm.IRModule) -> Network:
    """The integer network that ``main`` of a partitioned module computes, all of its regions in one.

    Names of layers, scales and zero points are those that ``import_quantized`` has left in the attributes of ``main``.

    Raises:
        DwfuseError: something of ``main`` is in no region; and see :func:`read_region`.
    """
    attrs = mod["main"].attrs or {}
    known = json.loads(str(attrs.get(ACTIVATIONS_ATTRIBUTE, "{}")))
    return _read(mod["main"], str(attrs.get(NAME_ATTRIBUTE, "network")), mod, known)


def _read(func: relax.Function, name: str, mod: tvm.IRModule | None, known: Known) -> Network:
    reading = _Reading(mod, known)
    for param in func.params:
        reading.add_activation(param, param.name)
    inputs = tuple(reading.names[param] for param in func.params)
    outputs = reading.read_function(func)
    return Network(name, inputs, tuple(outputs), tuple(reading.layers), reading.activations)


@dataclass
class _Reading:
    """What was read so far: ``names`` has the activation that each variable of the region stands for."""

    module: tvm.IRModule | None
    known: Known
    layers: list[Layer] = field(default_factory=list)
    activations: dict[str, Activation] = field(default_factory=dict)
    names: dict[relax.Var, str] = field(default_factory=dict)
    tuples: dict[relax.Var, list[str]] = field(default_factory=dict)
    composites: dict[relax.Var, relax.Function] = field(default_factory=dict)

    def read_function(self, func: relax.Function) -> list[str]:
        """Read the body of a function whose parameters have names; the names of its results."""
        for block in func.body.blocks:
            for binding in block.bindings:
                self._read_binding(binding.var, binding.value)
        return self._results(func.body.body)

    def _read_binding(self, var: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.Function):
            self.composites[var] = value
        elif isinstance(value, relax.Call) and value.op in self.composites:
            self._read_composite(var, self.composites[value.op], list(value.args))
        elif isinstance(value, relax.Call) and isinstance(value.op, relax.GlobalVar) and self.module is not None:
            region = self.module[value.op]
            self.names.update({param: self.names[arg] for param, arg in zip(region.params, value.args, strict=True)})
            self._bind(var, self.read_function(region))
        elif isinstance(value, (relax.Var, relax.Tuple, relax.TupleGetItem)):
            self._bind(var, self._results(value))
        else:
            what = op_name(value) or type(value).__name__
            raise DwfuseError(f"{var.name}: {what} has no integer form for a cluster; see `dwfuse quantize`")

    def _bind(self, var: relax.Var, results: list[str]) -> None:
        self.tuples[var] = results
        if len(results) == 1:
            self.names[var] = results[0]

    def _results(self, expr: relax.Expr) -> list[str]:
        """The names that a variable or a tuple stands for."""
        if isinstance(expr, relax.Tuple):
            return [name for item in expr.fields for name in self._results(item)]
        if isinstance(expr, relax.TupleGetItem):
            return [self._results(expr.tuple_value)[expr.index]]
        return self.tuples[expr] if expr in self.tuples else [self.names[expr]]

    def _read_composite(self, var: relax.Var, composite: relax.Function, args: list[relax.Var]) -> None:
        kind = str(composite.attrs["Composite"]).rpartition(".")[2]
        if kind == RELABEL:
            self.names[var] = self.names[args[0]]
            return
        calls = _Calls(composite)
        inputs = tuple(self.names[args[at]] for at in calls.operands())
        name = self.add_activation(var, str(composite.attrs.get(ACTIVATION_ATTR, "activation")))
        image = self.activations[inputs[0]]
        operator, weights, pad_value = _READERS[kind](calls, image)
        multiplier, offset, shift = calls.requantization()
        if isinstance(operator, Conv):
            multiplier, offset = (np.broadcast_to(array, operator.out_channels) for array in (multiplier, offset))
        self.layers.append(
            Layer(
                name=self.known.get(name, {}).get("layer") or name,
                operator=operator,
                inputs=inputs,
                output=name,
                multiplier=np.ascontiguousarray(multiplier),
                offset=np.ascontiguousarray(offset),
                shift=shift,
                weights=weights,
                pad_value=image.zero_point if pad_value is None else pad_value,
            )
        )

    def add_activation(self, var: relax.Var, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.activations:
            number += 1
            name = f"{wanted}_{number}"
        known = self.known.get(wanted, {})
        size, scale, zero_point = _image_size(var, wanted), known.get("scale", 1.0), known.get("zero_point", 0)
        self.names[var] = name
        self.activations[name] = Activation(name, *size, scale, zero_point)
        return name


class _Calls:
    """The operator calls of a composite."""

    def __init__(self, composite: relax.Function) -> None:
        bindings = [binding for block in composite.body.blocks for binding in block.bindings]
        self._calls = [binding.value for binding in bindings]
        self._value = {binding.var: binding.value for binding in bindings}
        self._params = list(composite.params)

    def operands(self) -> list[int]:
        """For each activation that the layer reads, which argument of the composite it is."""
        if len(scaled := self.all("relax.multiply")) == 1:
            return [0]
        # An addition may read one argument twice, and its multiplications stand in any order.
        casts = [self._value[next(arg for arg in call.args if isinstance(arg, relax.Var))] for call in scaled]
        return [self._params.index(cast.args[0]) for cast in casts]

    def first(self, name: str) -> relax.Call | None:
        """The first call of that operator."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[relax.Call]:
        """The calls of that operator, in order."""
        return [call for call in self._calls if op_name(call) == name]

    def requantization(self) -> tuple[np.ndarray, np.ndarray, int]:
        """(multipliers, offsets, shift) of the requantization."""
        multipliers = [_constant_operand(call) for call in self.all("relax.multiply")]
        offset = _constant_operand(self.all("relax.add")[-1])
        return np.concatenate(multipliers), offset, int(_constant_operand(self.all("relax.right_shift")[0]).item())


def _read_conv2d(calls: _Calls, image: Activation) -> tuple[Conv, np.ndarray, int | None]:
    call, pad = calls.first("relax.nn.conv2d"), calls.first("relax.nn.pad")
    assert call is not None
    stored = constant_array(call.args[1])
    assert stored is not None
    layout = str(call.attrs.kernel_layout)
    weights = np.ascontiguousarray(stored.transpose([layout.index(axis) for axis in "OIHW"]))
    _, top, left, bottom, right, _ = (0, 0, 0, 0, 0, 0) if pad is None else _pad_width(pad)
    height, width = (int(stride) for stride in call.attrs.strides)
    conv = Conv(
        in_channels=image.channels,
        out_channels=len(weights),
        kernel=weights.shape[2:],
        strides=(height, width),
        padding=(top, left, bottom, right),
        groups=int(call.attrs.groups),
    )
    return conv, weights, None if pad is None else int(float(pad.attrs.pad_value))


def _pad_width(pad: relax.Call) -> tuple[int, ...]:
    batch, _, top, bottom, left, right, channels, _ = (int(amount) for amount in pad.attrs.pad_width)
    return batch, top, left, bottom, right, channels


def _read_add(_calls: _Calls, image: Activation) -> tuple[Add, None, int]:
    return Add(image.height, image.width, image.channels), None, 0


def _read_average_pool(_calls: _Calls, image: Activation) -> tuple[AveragePool, None, int]:
    return AveragePool(image.height, image.width, image.channels), None, 0


_READERS: dict[str, Callable] = {
    CONV2D: _read_conv2d,
    ADD: _read_add,
    AVERAGE_POOL: _read_average_pool,
}


def _constant_operand(call: relax.Call) -> np.ndarray:
    """The one constant operand of a binary call, flat."""
    arrays = [array for array in map(constant_array, call.args) if array is not None]
    return arrays[0].reshape(-1)


def _image_size(var: relax.Var, name: str) -> tuple[int, int, int]:
    """(height, width, channels) of an activation."""
    shape = static_shape(var)
    if shape is None or not 1 <= len(shape) <= 4 or len(shape) == 3:
        raise DwfuseError(f"{name}: shape {var.ty.shape} is not (1, height, width, channels); give every input a shape")
    batch, *image = (1, *shape) if len(shape) == 1 else shape
    if batch != 1:
        raise DwfuseError(f"{name}: a batch of {batch}; a cluster computes one image at a time, set the batch to 1")
    height, width, channels = image if len(image) == 3 else (1, 1, image[-1])
    return height, width, channels
