"""Count multiply-accumulates and parameters on the ONNX graph itself, independently of the tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import numpy_helper, shape_inference

# Trained tensors by operator, as papers count them: running statistics are not parameters.
TRAINED_INPUTS = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (1,), "BatchNormalization": (1, 2)}


@dataclass(frozen=True)
class Counts:
    """Multiply-accumulates of one image, and trained parameters."""

    macs: int
    params: int


def count(model: onnx.ModelProto) -> Counts:
    """Count a model's MACs (convolutions and dense layers, per image) and trained parameters.

    The batch dimension may be symbolic; the others must be known to shape inference.
    """
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    weights = {tensor.name: numpy_helper.to_array(tensor).shape for tensor in graph.initializer}
    shapes = {value.name: _image_shape(value) for value in [*graph.value_info, *graph.output]}
    macs = 0
    trained: set[str] = set()
    for node in graph.node:
        trained.update(name for i, name in enumerate(node.input) if i in TRAINED_INPUTS.get(node.op_type, ()))
        if node.op_type == "Conv":
            macs += math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            macs += math.prod(weights[node.input[1]])
    return Counts(macs, sum(math.prod(weights[name]) for name in trained))


def _image_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Shape without the batch dimension."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])
