"""A lowered Relax module as plain data: which kernels are called in which order, on which tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import tvm
from tvm import relax

from relay_passes.dataflow import is_tensor_constant

from ..errors import DwfuseError


@dataclass(frozen=True)
class Tensor:
    """Where the bytes of a tensor come from: the ``index``-th input, constant, or activation that a call writes."""

    kind: Literal["input", "constant", "activation"]
    index: int


@dataclass(frozen=True)
class KernelCall:
    """A call of the TensorIR function ``kernel``, first the tensors it reads, then those it writes."""

    kernel: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass
class CallList:
    """A network: its calls in order.

    ``activations`` are sizes in bytes, ``outputs`` the tensors that are the network's outputs. Constants of equal bytes
    are one.
    """

    calls: list[KernelCall] = field(default_factory=list)
    activations: list[int] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def no_plain_form(what: str) -> DwfuseError:
    """The error for what only TVM's runtime can run."""
    return DwfuseError(f"{what}: has no plain C form, only TVM's runtime can run it; compile with --no-c-library")


_Value: TypeAlias = "Tensor | tuple[_Value, ...]"


def read_calls(lowered: tvm.IRModule) -> CallList:
    """The calls of ``main`` in a module of :func:`tvm_dwfuse.pipeline.lowering_pipeline`.

    Raises:
        DwfuseError: ``main`` does something else than calling kernels on tensors of fixed shape.
    """
    return _Reader(lowered["main"]).calls


class _Reader:
    def __init__(self, main: relax.Function) -> None:
        self.calls = CallList()
        self._constants: dict[bytes, Tensor] = {}
        self._values: dict[Any, _Value] = {param: Tensor("input", i) for i, param in enumerate(main.params)}
        body = main.body
        for block in body.blocks if isinstance(body, relax.SeqExpr) else []:
            for binding in block.bindings:
                self._values[binding.var] = self._read(binding.value)
        result = self._read(body.body if isinstance(body, relax.SeqExpr) else body)
        self.calls.outputs = [_tensor(value) for value in (result if isinstance(result, tuple) else (result,))]

    def _read(self, value: Any) -> _Value:
        if isinstance(value, relax.Var):
            return self._values[value]
        if is_tensor_constant(value):
            return self._constant(value.value.numpy())
        if isinstance(value, relax.Tuple):
            return tuple(self._read(item) for item in value.fields)
        if isinstance(value, relax.TupleGetItem):
            items = self._read(value.tuple_value)
            assert isinstance(items, tuple)
            return items[value.index]
        if not isinstance(value, relax.Call):
            raise no_plain_form(f"a {type(value).__name__} in the network")
        operator = getattr(value.op, "name", str(value.op))
        if operator == "relax.reshape":
            return self._read(value.args[0])
        if operator == "relax.call_tir" and len(value.args) == 2:
            return self._call(value)
        raise no_plain_form(f"operator {operator} in the network")

    def _constant(self, array: np.ndarray) -> Tensor:
        content = array.tobytes()
        if content not in self._constants:
            self._constants[content] = Tensor("constant", len(self.calls.constants))
            self.calls.constants.append(array)
        return self._constants[content]

    def _call(self, call: relax.Call) -> _Value:
        kernel, arguments = call.args
        inputs = self._read(arguments)
        kinds = call.ty.fields if isinstance(call.ty, relax.TupleType) else [call.ty]
        outputs = tuple(self._activation(kernel.name_hint, kind) for kind in kinds)
        read = inputs if isinstance(inputs, tuple) else (inputs,)
        self.calls.calls.append(KernelCall(kernel.name_hint, tuple(map(_tensor, read)), outputs))
        return outputs if isinstance(call.ty, relax.TupleType) else outputs[0]

    def _activation(self, kernel: str, kind: Any) -> Tensor:
        dims = getattr(kind.shape, "values", None)
        if dims is None or not all(isinstance(dim, tvm.tirx.IntImm) for dim in dims):
            raise DwfuseError(f"{kernel}: the shape of its output, {kind.shape}, is open; give every input a shape")
        self.calls.activations.append(math.prod(map(int, dims)) * np.dtype(str(kind.dtype)).itemsize)
        return Tensor("activation", len(self.calls.activations) - 1)


def _tensor(value: _Value) -> Tensor:
    if isinstance(value, tuple):
        raise no_plain_form("a tuple in a tuple of the network")
    return value
