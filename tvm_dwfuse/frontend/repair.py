"""Nodes that TVM's importer takes wrongly, or badly, in a form that it takes well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx.helper import get_attribute_value, make_attribute, make_node

from ..errors import DwfuseError
from .check import node_name
from .graph import Graph

#: A node -> what takes its place, or None to leave it as it is.
Repair = Callable[[onnx.NodeProto, Graph], "list[onnx.NodeProto] | None"]


def repair(graph: Graph) -> None:
    """Rewrite the nodes of a graph of known types by the table at the end of this file.

    Raises:
        DwfuseError: a node asks for what only training, or no network of ours, needs.
    """
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        rule = _REPAIRS.get(node.op_type)
        replacement = rule(node, graph) if rule is not None else None
        nodes.extend([node] if replacement is None else replacement)
    graph.nodes = nodes


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _with_attributes(node: onnx.NodeProto, **changes: Any) -> onnx.NodeProto:
    """A copy of ``node``; a change to None removes the attribute."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    kept = [attribute for attribute in node.attribute if attribute.name not in changes]
    added = [make_attribute(name, value) for name, value in changes.items() if value is not None]
    del copy.attribute[:]
    copy.attribute.extend(kept + added)
    return copy


def _input(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def explicit_padding(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """``auto_pad`` as ``pads``: TVM rounds the output of SAME_LOWER down, and pads in front of a convolution."""
    attributes = _attributes(node)
    mode = attributes.get("auto_pad", b"NOTSET").decode()
    shape = graph.shape(node.input[0])
    if mode == "NOTSET" or shape is None:
        return None
    kernel = attributes.get("kernel_shape")
    if kernel is None:
        weight = graph.shape(node.input[1])
        assert weight is not None
        kernel = weight[2:]
    rank = len(kernel)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    begin, end = [0] * rank, [0] * rank
    if mode != "VALID":
        for axis, size in enumerate(shape[2:]):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
            smaller, larger = total // 2, total - total // 2
            begin[axis], end[axis] = (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)
    return [_with_attributes(node, auto_pad=None, pads=begin + end)]


def _max_pool(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    if len(node.output) > 1 and node.output[1]:
        raise DwfuseError(f"{graph.label}: {node_name(node)}: the indices of a maximum are not supported")
    return explicit_padding(node, graph)


def _batch_norm(node: onnx.NodeProto, graph: Graph) -> None:
    attributes = _attributes(node)
    if attributes.get("training_mode") or any(node.output[1:]):
        raise DwfuseError(f"{graph.label}: {node_name(node)}: in training mode; export the network for inference")
    if attributes.get("spatial", 1) == 0:
        raise DwfuseError(f"{graph.label}: {node_name(node)}: spatial=0 is not supported; export with opset 9 or newer")


def _gemm(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """alpha and beta into the weight and the bias, where TVM would multiply the activation."""
    attributes = _attributes(node)
    inputs = list(node.input)
    for index, name in ((1, "alpha"), (2, "beta")):
        factor = attributes.get(name, 1.0)
        array = graph.constants.get(_input(node, index))
        if factor != 1.0 and array is not None:
            inputs[index] = graph.new_constant((array * np.asarray(factor, array.dtype)).astype(array.dtype))
            attributes[name] = 1.0
    if inputs == list(node.input):
        return None
    return [make_node("Gemm", inputs, list(node.output), node.name, **attributes)]


def _sum(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """A chain of additions; TVM stacks the operands of every variadic operator and reduces that."""
    if len(node.input) == 1:
        return [make_node("Identity", list(node.input), list(node.output), node.name)]
    nodes, total = [], node.input[0]
    for index, term in enumerate(node.input[1:], 1):
        result = node.output[0] if index == len(node.input) - 1 else graph.new_name(f"{node.output[0]}_sum")
        nodes.append(make_node("Add", [total, term], [result], f"{node.name}_{index}"))
        total = result
    return nodes


def _mean(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    total = graph.new_name(f"{node.output[0]}_sum")
    count = graph.new_constant(np.asarray(len(node.input), _dtype(node.input[0], graph)))
    summed = make_node("Sum", list(node.input), [total], node.name)
    return [*_sum(summed, graph), make_node("Div", [total, count], list(node.output), f"{node.name}_mean")]


def _bound(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """The maximum or minimum of a tensor and a number is a clip."""
    if len(node.input) != 2:
        return None
    data, bound = node.input
    if data in graph.constants:
        data, bound = bound, data
    limit = graph.constants.get(bound)
    shape = graph.shape(data)
    if limit is None or limit.size != 1 or shape is None or limit.ndim > len(shape):
        return None
    name = "min" if node.op_type == "Max" else "max"
    if graph.opset < 11:
        return [make_node("Clip", [data], list(node.output), node.name, **{name: float(limit.reshape(()))})]
    scalar = graph.new_constant(limit.reshape(()))
    inputs = [data, scalar] if name == "min" else [data, "", scalar]
    return [make_node("Clip", inputs, list(node.output), node.name)]


def _slice(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """Starts, ends and axes as inputs, which they are since opset 10."""
    attributes = _attributes(node)
    if "starts" not in attributes:
        return None
    axes = attributes.get("axes") or list(range(len(attributes["starts"])))
    operands = [np.asarray(values, np.int64) for values in (attributes["starts"], attributes["ends"], axes)]
    return [make_node("Slice", [node.input[0], *map(graph.new_constant, operands)], list(node.output), node.name)]


def _split(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """Sizes for ``num_outputs`` that do not divide the axis: all alike but the last, which is smaller."""
    attributes = _attributes(node)
    shape = graph.shape(node.input[0])
    if "num_outputs" not in attributes or shape is None or _input(node, 1):
        return None
    size, count = shape[attributes.get("axis", 0)], attributes["num_outputs"]
    part = -(-size // count)
    sizes = graph.new_constant(np.asarray([part] * (count - 1) + [size - part * (count - 1)], np.int64))
    copy = _with_attributes(node, num_outputs=None)
    copy.input[:] = [node.input[0], sizes]
    return [copy]


def _swish(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """x * sigmoid(alpha * x); the operator came with opset 24."""
    data, nodes = node.input[0], []
    alpha = _attributes(node).get("alpha", 1.0)
    scaled, gate = data, graph.new_name(f"{node.output[0]}_gate")
    if alpha != 1.0:
        scaled = graph.new_name(f"{node.output[0]}_scaled")
        nodes.append(make_node("Mul", [data, graph.new_constant(np.asarray(alpha, _dtype(data, graph)))], [scaled]))
    nodes.append(make_node("Sigmoid", [scaled], [gate]))
    return [*nodes, make_node("Mul", [data, gate], list(node.output), node.name)]


def _dropout(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    """At inference the input itself. The mask is true since opset 12; before, ONNX Runtime says false."""
    shape = graph.shape(node.input[0])
    if len(node.output) > 1 and node.output[1] and shape is not None:
        kind = np.dtype(bool) if graph.opset >= 10 else _dtype(node.input[0], graph)
        graph.add_constant(node.output[1], np.full(shape, graph.opset >= 12, kind))
    return [make_node("Identity", [node.input[0]], [node.output[0]], node.name)]


def _dtype(name: str, graph: Graph) -> np.dtype:
    return onnx.helper.tensor_dtype_to_np_dtype(graph.types[name].tensor_type.elem_type)


_REPAIRS: dict[str, Repair] = {
    "AveragePool": explicit_padding,
    "BatchNormalization": _batch_norm,
    "Conv": explicit_padding,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "LpPool": explicit_padding,
    "Max": _bound,
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Min": _bound,
    "Slice": _slice,
    "Split": _split,
    "Sum": _sum,
    "Swish": _swish,
}
