"""Quantized constants and grids of an ONNX graph: weights, biases, scales and zero points, checked as they are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.helper import get_attribute_value

from ..errors import DwfuseError
from .check import node_name
from .graph import Graph

#: Stored int8 activations become uint8: stored value and zero point move up by this.
_INT8_TO_UINT8 = 128

_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Grid:
    """Real numbers that a uint8 stands for: ``scale`` * (stored - ``zero_point``)."""

    scale: float
    zero_point: int

    def stored(self, real: float) -> int:
        """The nearest stored value, not clipped."""
        return int(np.rint(real / self.scale)) + self.zero_point


@dataclass(frozen=True, eq=False)
class QuantizedConstant:
    """Operands of the DequantizeLinear ``node`` that makes a constant: arrays, and the axis of scales of many."""

    node: onnx.NodeProto
    values: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        """What it stands for, float64."""
        shape = [1] * self.values.ndim
        if self.scale.size > 1:
            shape[self.axis] = -1
        values = self.values.astype(np.float64) - self.zero_point.astype(np.float64).reshape(shape)
        return values * self.scale.astype(np.float64).reshape(shape)


def take_quantized_constants(graph: Graph) -> dict[str, QuantizedConstant]:
    """Take each DequantizeLinear of a constant out of the graph, and return them by the name of their result.

    Folding would turn them into floats. Weights that a network in training quantizes itself are quantized here.
    """
    _take_constant_nodes(graph)
    found: dict[str, QuantizedConstant] = {}
    nodes = []
    for node in graph.nodes:
        if node.op_type not in ("DequantizeLinear", "QuantizeLinear") or node.input[0] not in graph.constants:
            nodes.append(node)
        elif node.op_type == "QuantizeLinear":
            graph.add_constant(node.output[0], _quantized(node, graph))
        else:
            constant = _constant(node, graph)
            found[node.output[0]] = constant
            graph.types[node.output[0]] = onnx.helper.make_tensor_type_proto(_FLOAT, constant.values.shape)
    graph.nodes = nodes
    return found


def read_grid(node: onnx.NodeProto, graph: Graph) -> Grid:
    """The grid of an activation from the scale and zero point of a QuantizeLinear or DequantizeLinear.

    Raises:
        DwfuseError: they are no constants, not one for the tensor, not positive or not of 8 bits.
    """
    where = f"{graph.label}: {node_name(node)}"
    scale, zero_point = _parameters(node, graph)
    if scale.size != 1 or zero_point.size != 1:
        raise DwfuseError(f"{where}: {scale.size} scales on an activation; quantize activations by one scale a tensor")
    if zero_point.dtype not in (np.uint8, np.int8):
        raise DwfuseError(f"{where}: {zero_point.dtype} activations; quantize activations to uint8 or int8")
    shift = _INT8_TO_UINT8 if zero_point.dtype == np.int8 else 0
    return Grid(float(scale.reshape(())), int(zero_point.reshape(())) + shift)


def int8_weights(constant: QuantizedConstant, out_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights with output channels first, and their scales, float64 (out_channels,).

    Raises:
        ValueError: they are not of 8 bits, not symmetric, or their scales stand on another axis.
    """
    values, scale = constant.values, constant.scale.astype(np.float64)
    if values.dtype == np.uint8 and (constant.zero_point == 128).all():
        values = (values.astype(np.int16) - 128).astype(np.int8)
    elif values.dtype not in (np.int8, np.uint8):
        raise ValueError(f"{values.dtype} weights; quantize weights to int8")
    elif values.dtype == np.uint8 or constant.zero_point.any():
        raise ValueError("weights with a zero point that is not zero; quantize weights symmetrically, to int8")
    channels = values.shape[out_axis]
    if scale.size != 1 and (constant.axis % values.ndim != out_axis or scale.shape != (channels,)):
        raise ValueError(
            f"{scale.size} weight scales on axis {constant.axis}; "
            f"give one for each of the {channels} output channels, on axis {out_axis}, or one in all"
        )
    return np.moveaxis(values, out_axis, 0), np.broadcast_to(scale.reshape(-1), (channels,))


def _take_constant_nodes(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            graph.add_constant(node.output[0], numpy_helper.to_array(node.attribute[0].t))
    graph.nodes = [node for node in graph.nodes if node.op_type != "Constant" or node.output[0] not in graph.constants]


def _constant(node: onnx.NodeProto, graph: Graph) -> QuantizedConstant:
    scale, zero_point = _parameters(node, graph)
    axis = next((get_attribute_value(attribute) for attribute in node.attribute if attribute.name == "axis"), 1)
    values = graph.constants[node.input[0]]
    return QuantizedConstant(node, values, scale, zero_point.astype(np.int64), axis)


def _quantized(node: onnx.NodeProto, graph: Graph) -> np.ndarray:
    constant = _constant(node, graph)
    shape = [1] * constant.values.ndim
    if constant.scale.size > 1:
        shape[constant.axis] = -1
    dtype = _parameters(node, graph)[1].dtype
    steps = np.rint(constant.values / constant.scale.reshape(shape)) + constant.zero_point.reshape(shape)
    return np.clip(steps, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def _parameters(node: onnx.NodeProto, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point; a zero point that is left out is zero, of the type that it would have."""
    where = f"{graph.label}: {node_name(node)}"
    scale = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    if scale is None:
        raise DwfuseError(f"{where}: its scale is missing or computed at run time; quantize the network statically")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise DwfuseError(f"{where}: a scale that is not a positive number; calibrate and quantize the network again")
    if len(node.input) < 3 or not node.input[2]:
        return scale, np.zeros(scale.shape, _stored_dtype(node, graph))
    zero_point = graph.constants.get(node.input[2])
    if zero_point is None:
        raise DwfuseError(f"{where}: its zero point is computed at run time; quantize the network statically")
    return scale, zero_point


def _stored_dtype(node: onnx.NodeProto, graph: Graph) -> np.dtype:
    if node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
        return graph.constants[node.input[0]].dtype
    kind = next((get_attribute_value(entry) for entry in node.attribute if entry.name == "output_dtype"), 0)
    if node.op_type == "DequantizeLinear" and node.input[0] in graph.types:
        kind = graph.types[node.input[0]].tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind or onnx.TensorProto.UINT8)
