"""Reads the nodes of a quantized ONNX graph one by one and collects the integer layers that they amount to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx.helper import get_attribute_value

from ..errors import DwfuseError
from ..integer_network import Activation, Layer
from .check import node_name
from .graph import Graph
from .quantized_constants import Grid, QuantizedConstant, int8_weights, read_grid
from .quantized_layers import addition, average_pool, convolution, dense, global_pool, identity
from .quantized_values import NO_PADDING, Pending, PendingSum, Stored, clipped_grid, nchw_index
from .repair import explicit_padding

Value: TypeAlias = "Stored | Pending"


class Reader:
    """The walk through a graph whose quantized constants were taken out.

    ``layers`` are in order of execution, ``activations`` by name, ``inputs`` the names of those that a caller gives;
    ``has_scores`` tells of a Softmax that was left out.
    """

    def __init__(self, graph: Graph, constants: dict[str, QuantizedConstant]) -> None:
        self.graph = graph
        self.constants = constants
        self.layers: list[Layer] = []
        self.activations: dict[str, Activation] = {}
        self.inputs = [value.name for value in graph.inputs]
        self.has_scores = False
        self._values: dict[str, Value] = {}

    def read(self) -> None:
        """Read all nodes.

        Raises:
            DwfuseError: a node has no integer form, or an input is not quantized; it names the node.
        """
        for node in self.graph.nodes:
            rule = _RULES.get(node.op_type)
            if rule is None:
                raise self.error(
                    node, "has no integer form; those that have are Conv, Gemm, MatMul, Add, average pools, Relu, Clip"
                )
            try:
                self._values[node.output[0]] = rule(self, node)
            except ValueError as error:
                raise self.error(node, str(error)) from error
        missing = [name for name in self.inputs if name not in self.activations]
        if missing:
            raise DwfuseError(f"{self.graph.label}: input {missing[0]!r} is not quantized, or not used")

    def output(self, name: str) -> str:
        """The activation of an output of the graph.

        Raises:
            DwfuseError: it is not quantized, or not as it is stored.
        """
        value = self._values.get(name)
        if isinstance(value, Stored) and value.padding == NO_PADDING:
            return value.activation.name
        raise DwfuseError(f"{self.graph.label}: output {name!r} is not quantized; quantize the whole network")

    def error(self, node: onnx.NodeProto, what: str) -> DwfuseError:
        """An error that names the node."""
        return DwfuseError(f"{self.graph.label}: {node_name(node)}: {what}")

    def operand(self, node: onnx.NodeProto, index: int = 0) -> Value:
        """The value of an input; ValueError if it is no activation."""
        value = self._values.get(node.input[index])
        if value is None:
            raise ValueError(f"its input {node.input[index]!r} is not quantized; quantize the whole network")
        if isinstance(value, Stored) and value.scores and node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            raise ValueError("reads the result of a Softmax, which has no integer form")
        return value

    def real(self, node: onnx.NodeProto, index: int = 0, padded: bool = False) -> Stored:
        """A dequantized activation; ValueError if the input is none, or has padding that the node cannot take."""
        value = self.operand(node, index)
        if not isinstance(value, Stored) or not value.real:
            raise ValueError(f"its input {node.input[index]!r} has no QuantizeLinear and DequantizeLinear before it")
        if value.padding != NO_PADDING and not padded:
            raise ValueError("reads the result of a Pad; only convolutions can")
        return value

    def weight(self, node: onnx.NodeProto) -> QuantizedConstant:
        """The second operand; ValueError if it is no quantized constant."""
        constant = self.constants.get(node.input[1])
        if constant is None:
            raise ValueError("its weights are not a quantized constant; quantize weights to int8")
        return constant

    def constant(self, node: onnx.NodeProto, index: int) -> QuantizedConstant | np.ndarray | None:
        """A quantized or float constant among the inputs; None if it is left out; ValueError if it is neither."""
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            return None
        found = self.constants.get(name)
        if found is None and name not in self.graph.constants:
            raise ValueError(f"its input {name!r} is not a constant")
        return found or self.graph.constants[name].astype(np.float64)

    def shape(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """The shape of the result; ValueError if it is not known."""
        shape = self.graph.shape(node.output[0])
        if shape is None:
            raise ValueError("the shape of its result is computed at run time; export the network with a batch of 1")
        return shape

    def store(self, name: str, size: tuple[int, int, int], grid: Grid) -> Activation:
        """A new activation."""
        self.activations[name] = Activation(name, *size, grid.scale, grid.zero_point)
        return self.activations[name]


def _quantize(reader: Reader, node: onnx.NodeProto) -> Value:
    nominal = read_grid(node, reader.graph)
    if node.input[0] in reader.inputs:
        return _input(reader, node, nominal, real=False)
    value = reader.operand(node)
    if isinstance(value, Stored):
        if value.scores or value.nominal == nominal:
            return replace(value, real=False)
        value = identity(node, reader.real(node))
    grid = clipped_grid(nominal, value.low, value.high)
    constants = value.requantization(grid)
    activation = reader.store(_new_name(value.node.name or node.output[0], reader.activations), value.size, grid)
    layer = Layer(
        value.node.name or node.input[0],
        value.operator,
        tuple(x.name for x in value.inputs),
        activation.name,
        *constants,
        weights=value.weights,
        pad_value=value.pad_value,
    )
    reader.layers.append(layer)
    return Stored(activation, value.index, nominal, real=False)


def _new_name(stem: str, taken: dict[str, Activation]) -> str:
    """``stem``, numbered if one node writes several activations."""
    return stem if stem not in taken else f"{stem}_{len(taken)}"


def _dequantize(reader: Reader, node: onnx.NodeProto) -> Value:
    nominal = read_grid(node, reader.graph)
    if node.input[0] in reader.inputs:
        return _input(reader, node, nominal, real=True)
    value = reader.operand(node)
    if not isinstance(value, Stored) or value.real:
        raise ValueError("reads values that are not quantized")
    if value.scores or value.nominal == nominal:
        return replace(value, real=True)
    raise ValueError("has another scale or zero point than the QuantizeLinear before it")


def _input(reader: Reader, node: onnx.NodeProto, grid: Grid, real: bool) -> Stored:
    """An input of the network, stored as images are if it has four dimensions."""
    name = node.input[0]
    shape = reader.graph.shape(name)
    assert shape is not None  # inputs have static shapes
    if name in reader.activations and grid != Grid(reader.activations[name].scale, reader.activations[name].zero_point):
        raise ValueError(f"input {name!r} is quantized to two scales; give it one")
    if len(shape) == 4:
        size = (shape[2], shape[3], shape[1])
        return Stored(reader.store(name, size, grid), nchw_index(size), grid, real)
    index = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    return Stored(reader.store(name, (1, 1, math.prod(shape)), grid), index, grid, real)


def _conv(reader: Reader, node: onnx.NodeProto) -> Value:
    x = reader.real(node, padded=True)
    return convolution(node, _padded_attributes(reader, node), x, reader.weight(node), reader.constant(node, 2))


def _gemm(reader: Reader, node: onnx.NodeProto) -> Value:
    attributes = _attributes(node)
    if attributes.get("transA", 0):
        raise ValueError("transA has no integer form")
    weights, scale = int8_weights(reader.weight(node), 0 if attributes.get("transB", 0) else 1)
    bias = reader.constant(node, 2)
    if bias is not None and attributes.get("beta", 1.0) != 1.0:
        real = bias if isinstance(bias, np.ndarray) else bias.real()
        bias = real * attributes["beta"]
    return dense(node, reader.real(node), weights, scale * attributes.get("alpha", 1.0), bias, reader.shape(node))


def _mat_mul(reader: Reader, node: onnx.NodeProto) -> Value:
    constant = reader.weight(node)
    if constant.values.ndim != 2:
        raise ValueError(f"weights of {constant.values.ndim} dimensions; only matrices have an integer form")
    weights, scale = int8_weights(constant, 1)
    return dense(node, reader.real(node), weights, scale, None, reader.shape(node))


def _add(reader: Reader, node: onnx.NodeProto) -> Value:
    constants = [name in reader.constants or name in reader.graph.constants for name in node.input]
    if not any(constants):
        return addition(node, reader.real(node, 0), reader.real(node, 1))
    at = constants.index(True)
    value = reader.operand(node, 1 - at)
    pending = value if isinstance(value, Pending) else identity(node, reader.real(node, 1 - at))
    if (
        not isinstance(pending, PendingSum)
        or pending.weights is None
        or pending.low > -math.inf
        or pending.high < math.inf
    ):
        raise ValueError("adds a constant to what is no convolution; quantize the value before it")
    constant = reader.constant(node, at)
    array = constant.real() if isinstance(constant, QuantizedConstant) else constant
    assert array is not None
    return pending.plus(_by_channel(array, pending))


def _by_channel(array: np.ndarray, pending: PendingSum) -> np.ndarray:
    """A constant of the graph's shape as one for each channel; ValueError if it differs between pixels."""
    values = np.empty(math.prod(pending.size))
    values[pending.index.reshape(-1)] = np.broadcast_to(array, pending.index.shape).reshape(-1)
    pixels = values.reshape(-1, pending.size[2])
    if (pixels != pixels[0]).any():
        raise ValueError("adds a constant that differs between pixels")
    return pixels[0]


def _global_average_pool(reader: Reader, node: onnx.NodeProto) -> Value:
    return global_pool(node, reader.real(node), reader.shape(node))


def _average_pool(reader: Reader, node: onnx.NodeProto) -> Value:
    return average_pool(node, _padded_attributes(reader, node), reader.real(node))


def _reduce_mean(reader: Reader, node: onnx.NodeProto) -> Value:
    x = reader.real(node)
    axes = _attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in reader.graph.constants:
        axes = reader.graph.constants[node.input[1]].tolist()
    if axes is None or sorted(axis % x.index.ndim for axis in axes) != [2, 3]:
        raise ValueError("only the mean over height and width has an integer form")
    return global_pool(node, x, reader.shape(node))


def _relu(reader: Reader, node: onnx.NodeProto) -> Value:
    return _bounded(reader, node, 0.0, math.inf)


def _clip(reader: Reader, node: onnx.NodeProto) -> Value:
    attributes = _attributes(node)
    bounds = [attributes.get("min", -math.inf), attributes.get("max", math.inf)]
    for index in (1, 2):
        constant = reader.constant(node, index)
        if constant is not None:
            array = constant.real() if isinstance(constant, QuantizedConstant) else constant
            bounds[index - 1] = float(array.reshape(()))
    return _bounded(reader, node, *bounds)


def _bounded(reader: Reader, node: onnx.NodeProto, low: float, high: float) -> Value:
    value = reader.operand(node)
    pending = value if isinstance(value, Pending) else identity(node, reader.real(node))
    return replace(pending, low=float(np.clip(pending.low, low, high)), high=float(np.clip(pending.high, low, high)))


def _relabelled(reader: Reader, node: onnx.NodeProto) -> Value:
    """Reshape and its like: the same values under other indices."""
    value = reader.operand(node)
    if isinstance(value, Stored) and value.padding != NO_PADDING:
        raise ValueError("reads the result of a Pad; only convolutions can")
    if node.op_type == "Transpose":
        perm = _attributes(node).get("perm")
        return replace(value, index=value.index.transpose(perm))
    return replace(value, index=value.index.reshape(reader.shape(node)))


def _same(reader: Reader, node: onnx.NodeProto) -> Value:
    return reader.operand(node)


def _pad(reader: Reader, node: onnx.NodeProto) -> Value:
    """Padding by real zeros, which the next convolution takes over."""
    value = reader.operand(node)
    attributes = _attributes(node)
    if not isinstance(value, Stored) or not value.is_image or len(node.input) > 3:
        raise ValueError("only the padding of a quantized image has an integer form")
    if attributes.get("mode", b"constant") != b"constant":
        raise ValueError("only constant padding has an integer form")
    pads = attributes.get("pads") or reader.graph.constants[node.input[1]].tolist()
    filler = float(attributes.get("value", 0.0))
    if len(node.input) > 2 and node.input[2]:
        filler = _filler(reader, node, value)
    if filler:
        raise ValueError("only padding by zeros has an integer form")
    if any(pads[axis] for axis in (0, 1, 4, 5)) or min(pads) < 0:
        raise ValueError("only padding of rows and columns has an integer form")
    around = (pads[2], pads[3], pads[6], pads[7])
    top, left, bottom, right = (old + new for old, new in zip(value.padding, around, strict=True))
    return replace(value, padding=(top, left, bottom, right))


def _filler(reader: Reader, node: onnx.NodeProto, value: Stored) -> float:
    """What a Pad fills with, 0 for a real zero."""
    constant = reader.constant(node, 2)
    array = constant.real() if isinstance(constant, QuantizedConstant) else constant
    assert array is not None
    filler = float(array.reshape(()))
    if value.real:
        return filler
    stored = reader.graph.constants[node.input[2]]
    return filler + (128 if stored.dtype == np.int8 else 0) - value.nominal.zero_point


def _softmax(reader: Reader, node: onnx.NodeProto) -> Value:
    value = reader.real(node)
    reader.has_scores = True
    return replace(value, scores=True)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _padded_attributes(reader: Reader, node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node with ``pads`` in place of ``auto_pad``."""
    resolved = explicit_padding(node, reader.graph)
    return _attributes(resolved[0] if resolved else node)


_RULES: dict[str, Callable[[Reader, onnx.NodeProto], Value]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Dropout": _same,
    "Flatten": _relabelled,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _same,
    "LogSoftmax": _softmax,
    "MatMul": _mat_mul,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "ReduceMean": _reduce_mean,
    "Relu": _relu,
    "Reshape": _relabelled,
    "Softmax": _softmax,
    "Squeeze": _relabelled,
    "Transpose": _relabelled,
    "Unsqueeze": _relabelled,
}
