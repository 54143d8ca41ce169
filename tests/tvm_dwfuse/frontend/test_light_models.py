"""The networks that come with onnx, old exports of opset 9 whose weights are computed by nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from onnx import numpy_helper

from relay_passes import canonicalize_passes
from tests.tvm_dwfuse.frontend.onnx_net import assert_close, operators, random_inputs, run_onnxruntime, run_tvm
from tvm_dwfuse.frontend import import_onnx

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with seeded weights in place of its constant ones, which would make every output alike."""
    random = np.random.default_rng(0)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape, name = shapes[node.input[0]], node.output[0]
        values = random.standard_normal(shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))
        if len(shape) == 1:
            values = random.uniform(0.5, 1.5, shape) if name in variances else random.standard_normal(shape) * 0.3
        model.graph.initializer.append(numpy_helper.from_array(values.astype("float32"), name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("name", ["light_shufflenet", "light_squeezenet"])
def test_network_computes_what_onnxruntime_computes(name: str) -> None:
    model = with_random_weights(onnx.load(LIGHT / f"{name}.onnx"))
    module = tvm.transform.Sequential(canonicalize_passes())(import_onnx(model))
    inputs = random_inputs(module)
    (actual,), (expected,) = run_tvm(module, inputs), run_onnxruntime(model, inputs)
    assert_close(actual, expected)


def test_shufflenet_is_channels_last_throughout() -> None:
    module = tvm.transform.Sequential(canonicalize_passes())(import_onnx(LIGHT / "light_shufflenet.onnx"))
    names = operators(module)
    shuffles = [
        [int(axis) for axis in binding.value.attrs.axes]
        for binding in module["main"].body.blocks[0].bindings
        if isinstance(binding.value, tvm.relax.Call) and binding.value.op.name == "relax.permute_dims"
    ]
    assert names.count("relax.nn.conv2d") == 49
    assert shuffles == [[0, 2, 3, 1]] + [[0, 1, 2, 4, 3]] * 16
    assert not {"relax.call_tir", "relax.nn.batch_norm", "relax.nn.dropout"} & set(names)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50"])
def test_network_imports(name: str) -> None:
    path = LIGHT / f"light_{name}.onnx"
    onnx_convolutions = sum(node.op_type == "Conv" for node in onnx.load(path).graph.node)
    module = tvm.transform.Sequential(canonicalize_passes())(import_onnx(path))
    names = operators(module)
    assert names.count("relax.nn.conv2d") == onnx_convolutions
    assert not {"relax.call_tir", "relax.nn.batch_norm", "relax.nn.dropout"} & set(names)
