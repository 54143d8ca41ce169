"""Operators on stored values, as quantizers write them in QOperator form, opened into QDQ form.

``QLinearConv`` becomes ``DequantizeLinear`` of each operand, ``Conv`` and ``QuantizeLinear``; so for the others. What
follows then has one form to read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx.helper import get_attribute_value, make_node

from ..errors import DwfuseError
from .check import node_name
from .graph import Graph


def open_quantized_operators(graph: Graph) -> None:
    """Replace every operator of the table below by float operators between DequantizeLinear and QuantizeLinear.

    Raises:
        DwfuseError: one of them works on NHWC activations.
    """
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        opener = _OPENERS.get(node.op_type)
        nodes.extend(opener(_Opening(node, graph)) if opener else [node])
    graph.nodes = nodes


@dataclass
class _Opening:
    """A node to open, and the nodes that take its place so far."""

    node: onnx.NodeProto
    graph: Graph

    def __post_init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.attributes = {attribute.name: get_attribute_value(attribute) for attribute in self.node.attribute}
        if self.attributes.pop("channels_last", 0):
            raise DwfuseError(
                f"{self.graph.label}: {node_name(self.node)}: has channels last; quantize a network of NCHW layout"
            )

    def input(self, index: int) -> str:
        return self.node.input[index] if index < len(self.node.input) else ""

    def dequantized(self, first: int, axis: int = 1) -> str:
        """The real value of the input at ``first``, whose scale and zero point follow it."""
        real = self.graph.new_name(f"{self.input(first)}_real")
        operands = [self.input(first + i) for i in range(3)]
        self.nodes.append(make_node("DequantizeLinear", operands, [real], self.node.name, axis=axis))
        return real

    def dequantized_bias(self, index: int, x_scale: int, weight_scale: int) -> list[str]:
        """The real value of an int32 bias in steps of the accumulator; nothing if there is none."""
        if not self.input(index):
            return []
        constants = self.graph.constants
        scales = [constants.get(self.input(at)) for at in (x_scale, weight_scale)]
        if any(scale is None for scale in scales):
            raise DwfuseError(f"{self.graph.label}: {node_name(self.node)}: its scales are not constants")
        step = (scales[0] * scales[1]).astype(np.float32).reshape(-1)  # type: ignore[operator]
        scale = self.graph.new_constant(step if step.size > 1 else step.reshape(()))
        zero = self.graph.new_constant(np.zeros(step.shape if step.size > 1 else (), np.int32))
        real = self.graph.new_name(f"{self.input(index)}_real")
        self.nodes.append(make_node("DequantizeLinear", [self.input(index), scale, zero], [real], axis=0))
        return [real]

    def result(self, operator: str, operands: list[str], scale: int) -> list[onnx.NodeProto]:
        """The operator in float, then quantized by the scale at ``scale`` and the zero point that follows it."""
        real = self.graph.new_name(f"{self.node.output[0]}_real")
        self.nodes.append(make_node(operator, operands, [real], self.node.name, **self.attributes))
        grid = [self.input(scale), self.input(scale + 1)]
        self.nodes.append(make_node("QuantizeLinear", [real, *grid], list(self.node.output), self.node.name))
        return self.nodes


def _conv(opening: _Opening) -> list[onnx.NodeProto]:
    operands = [opening.dequantized(0), opening.dequantized(3, axis=0), *opening.dequantized_bias(8, 1, 4)]
    return opening.result("Conv", operands, scale=6)


def _gemm(opening: _Opening) -> list[onnx.NodeProto]:
    axis = 0 if opening.attributes.get("transB") else 1
    operands = [opening.dequantized(0), opening.dequantized(3, axis), *opening.dequantized_bias(6, 1, 4)]
    return opening.result("Gemm", operands, scale=7)


def _mat_mul(opening: _Opening) -> list[onnx.NodeProto]:
    return opening.result("MatMul", [opening.dequantized(0), opening.dequantized(3)], scale=6)


def _add(opening: _Opening) -> list[onnx.NodeProto]:
    return opening.result("Add", [opening.dequantized(0), opening.dequantized(3)], scale=6)


def _global_pool(opening: _Opening) -> list[onnx.NodeProto]:
    return opening.result("GlobalAveragePool", [opening.dequantized(0)], scale=3)


def _pool(opening: _Opening) -> list[onnx.NodeProto]:
    return opening.result("AveragePool", [opening.dequantized(0)], scale=3)


_OPENERS: dict[str, Callable[[_Opening], list[onnx.NodeProto]]] = {
    "QLinearConv": _conv,
    "QGemm": _gemm,
    "QLinearMatMul": _mat_mul,
    "QLinearAdd": _add,
    "QLinearGlobalAveragePool": _global_pool,
    "QLinearAveragePool": _pool,
}
