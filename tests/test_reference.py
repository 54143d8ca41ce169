"""The reference that all kernels are held against agrees with ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.blocks import depthwise, full_conv, pointwise
from tests.reference import ACTIVATIONS, from_nhwc, random_operands, reference
from tvm_dwfuse.blocks import Block, Conv

CONVS = {
    "depthwise": depthwise(6, (3, 5), (2, 1), padding=(0, 2, 1, 1), dilation=2, multiplier=2, epilogue=()),
    "pointwise": pointwise(5, 7, ()),
    "full": full_conv(3, 8, 5, 2, padding=(1, 2, 0, 3), epilogue=()),
    "grouped": full_conv(6, 9, groups=3, epilogue=()),
}

ONNX_ACTIVATIONS = {
    "relu": ("Relu", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
    "hardswish": ("HardSwish", {}),
    "sigmoid": ("Sigmoid", {}),
}


def run_onnx(nodes: list[onnx.NodeProto], inputs: dict[str, np.ndarray]) -> np.ndarray:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in inputs.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", values, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS)
def test_convolutions(conv: Conv, layout: str) -> None:
    block = Block((conv,), 2, 11, 13, layout)
    operands = random_operands(block)
    inputs = {"x": operands["x"], "w": operands["w0"]}
    if layout == "NHWC":
        inputs["x"] = np.ascontiguousarray(from_nhwc(operands["x"], "NCHW"))
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        group=conv.groups,
        pads=conv.padding,
        strides=conv.strides,
        dilations=conv.dilation,
    )
    expected = run_onnx([node], inputs)
    actual = reference(block, operands)
    np.testing.assert_allclose(
        actual if layout == "NCHW" else from_nhwc(actual, "NCHW"), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ONNX_ACTIVATIONS)
def test_activations(name: str) -> None:
    operator, attrs = ONNX_ACTIVATIONS[name]
    x = np.linspace(-9, 9, 1001).astype(np.float32)
    expected = run_onnx([helper.make_node(operator, ["x"], ["y"], **attrs)], {"x": x})
    np.testing.assert_allclose(ACTIVATIONS[name](x), expected, rtol=1e-5, atol=1e-6)


def test_steps_apply_left_to_right() -> None:
    x = np.full((1, 1, 1, 2), 2, np.float32)
    weight = np.array([[1, 1]], np.float32).reshape(1, 2, 1, 1)
    operands = {
        "x": x,
        "scale": np.array([3, 5], np.float32).reshape(1, 1, 1, 2),
        "w0": weight,
        "b0": np.array([-20], np.float32),
        "r0": np.full((1, 1, 1, 1), 7, np.float32),
    }
    scaled = Block((pointwise(2, 1, ("bias", "relu", "add")),), 1, 1, 1, prologue=("scale",))
    assert reference(scaled, operands).item() == max(2 * 3 + 2 * 5 - 20, 0) + 7
    before = Block((pointwise(2, 1, ("bias", "add", "relu")),), 1, 1, 1, prologue=("scale",))
    assert reference(before, operands).item() == max(2 * 3 + 2 * 5 - 20 + 7, 0)
