"""A small separable network as an ONNX model and file, shared by the tests of the package's outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

INPUT_SHAPE = (1, 8, 12, 10)


def separable_model(batch: int | str = 1, pointwise_only: bool = False) -> onnx.ModelProto:
    """Conv 1x1 8 -> 16, depthwise 3x3, conv 1x1 16 -> 12, each with a bias and ReLU; input "x", output "y:0"."""
    generator = np.random.default_rng(1)
    weights, nodes = [], []

    def conv(source: str, at: int, shape: tuple[int, ...], group: int = 1) -> str:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        for name, value in (
            (f"w{at}", generator.standard_normal(shape) * scale),
            (f"b{at}", generator.standard_normal(shape[0]) * 0.1),
        ):
            weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        pad = shape[2] // 2
        nodes.append(helper.make_node("Conv", [source, f"w{at}", f"b{at}"], [f"c{at}"], pads=[pad] * 4, group=group))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"a{at}"]))
        return f"a{at}"

    result = conv("x", 0, (16, 8, 1, 1))
    if not pointwise_only:
        result = conv(result, 1, (16, 1, 3, 3), group=16)
    result = conv(result, 2, (12, 16, 1, 1))
    nodes[-1].output[0] = "y:0"
    graph = helper.make_graph(
        nodes,
        "separable",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *INPUT_SHAPE[1:]])],
        [helper.make_tensor_value_info("y:0", TensorProto.FLOAT, [batch, 12, *INPUT_SHAPE[2:]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def make_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Writes :func:`separable_model` to a file of that name and returns its path."""

    def make(name: str = "net.onnx", **kwargs: object) -> Path:
        path = tmp_path / name
        onnx.save(separable_model(**kwargs), path)
        return path

    return make


@pytest.fixture
def x() -> np.ndarray:
    """An input of the network."""
    return np.random.default_rng(2).standard_normal(INPUT_SHAPE).astype(np.float32)
