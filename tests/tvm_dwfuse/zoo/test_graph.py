"""The numpy probe values that ride along must be what ONNX Runtime computes from the emitted nodes."""

import numpy as np
import onnx
import onnxruntime
import pytest

from tvm_dwfuse.zoo import probe
from tvm_dwfuse.zoo.graph import GraphWriter, Tensor

OPSETS = [7, 10, 11, 13, 14, 17, 18, 21]


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def check(writer: GraphWriter, images: Tensor, output: Tensor) -> onnx.ModelProto:
    model = writer.model(output, "layer")
    np.testing.assert_allclose(run(model, images.data), output.data, rtol=1e-4, atol=1e-4)
    return model


def writer_and_images(shape=(8, 11, 10), **options) -> tuple[GraphWriter, Tensor]:
    writer = GraphWriter(**{"batch": 2, "opset": 17, "seed": 3, **options})
    return writer, writer.input(shape)


@pytest.mark.parametrize("opset", [7, 11, 17])
@pytest.mark.parametrize("padding", ["symmetric", "explicit", "auto_pad", "pad_node"])
@pytest.mark.parametrize(
    ("kernel", "stride"), [((1, 1), (1, 1)), ((3, 3), (2, 2)), ((5, 5), (2, 2)), ((10, 4), (2, 1))]
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolution(opset, padding, kernel, stride, depthwise):
    writer, images = writer_and_images(opset=opset, padding=padding)
    out = writer.conv(images, "/c", 8 if depthwise else 12, kernel, stride, depthwise=depthwise)
    check(writer, images, out)


@pytest.mark.parametrize("padding", ["explicit", "auto_pad", "pad_node"])
def test_tensorflow_padding_halves_the_size_and_pads_more_at_the_end(padding):
    writer, images = writer_and_images(shape=(4, 10, 10), padding=padding)
    out = writer.conv(images, "/c", 4, (3, 3), (2, 2))
    model = check(writer, images, out)
    assert out.spatial == (5, 5)
    nodes = {node.op_type: node for node in model.graph.node}
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in nodes["Conv"].attribute}
    if padding == "auto_pad":
        assert attributes["auto_pad"] == b"SAME_UPPER"
        assert "pads" not in attributes
    else:
        assert attributes["pads"] == ([0, 0, 1, 1] if padding == "explicit" else [0, 0, 0, 0])
    assert ("Pad" in nodes) == (padding == "pad_node")


def test_convolution_with_bias():
    writer, images = writer_and_images()
    out = writer.conv(images, "/c", 6, (1, 1), bias=True)
    model = check(writer, images, out)
    assert len(model.graph.node[0].input) == 3


@pytest.mark.parametrize("linear", [False, True])
def test_batch_norm_has_the_statistics_of_the_probe_images(linear):
    writer, images = writer_and_images(shape=(8, 32, 32))
    out = writer.batch_norm(Tensor(images.name, images.data * 5 + 3), "/bn", linear=linear)
    model = writer.model(out, "layer")
    np.testing.assert_allclose(run(model, images.data * 5 + 3), out.data, rtol=1e-4, atol=1e-4)
    low, high = (0.4, 1.1) if linear else (1.4, 3.1)
    assert low < out.data.std(axis=(0, 2, 3)).min() <= out.data.std(axis=(0, 2, 3)).max() < high
    assert np.abs(out.data.mean(axis=(0, 2, 3))).max() < 2.1


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", sorted(probe.ACTIVATIONS))
def test_activation(kind, opset):
    writer, images = writer_and_images(opset=opset)
    wide = writer.add(images, images, "/double")
    wide = writer.add(wide, wide, "/fourfold")
    assert wide.data.max() > 6  # past the knees of ReLU6 and HardSwish
    assert wide.data.min() < -3
    check(writer, images, writer.activation(wide, "/a", kind))


def test_no_activation_is_the_value_itself():
    writer, images = writer_and_images()
    assert writer.activation(images, "/a", "none") is images


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("kind", "opset", "expected"),
    [
        ("relu6", 10, ["Clip"]),
        ("relu6", 11, ["Clip"]),
        ("hardswish", 13, ["HardSigmoid", "Mul"]),
        ("hardswish", 14, ["HardSwish"]),
        ("silu", 17, ["Sigmoid", "Mul"]),
    ],
)
def test_activations_are_written_as_exporters_do(kind, opset, expected):
    writer, images = writer_and_images(opset=opset)
    model = check(writer, images, writer.activation(images, "/a", kind))
    assert ops(model) == expected
    if kind == "relu6":
        assert len(model.graph.node[0].input) == (1 if opset < 11 else 3)
        assert len(model.graph.node[0].attribute) == (2 if opset < 11 else 0)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("written_as", "keepdims", "operator"),
    [
        ("global", True, "GlobalAveragePool"),
        ("window", True, "AveragePool"),
        ("mean", True, "ReduceMean"),
        ("mean", False, "ReduceMean"),
    ],
)
def test_global_pool(opset, written_as, keepdims, operator):
    writer, images = writer_and_images(opset=opset)
    out = writer.global_pool(images, "/p", written_as=written_as, keepdims=keepdims)
    assert out.data.shape == ((2, 8, 1, 1) if keepdims else (2, 8))
    assert ops(check(writer, images, out)) == [operator]


def test_max_pool():
    writer, images = writer_and_images()
    check(writer, images, writer.max_pool(images, "/p", (3, 3), (2, 2)))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("batch", [2, None])
def test_split_concat_and_channel_shuffle(opset, batch):
    writer, images = writer_and_images(opset=opset, batch=batch)
    left, right = writer.split(images, "/s")
    out = writer.channel_shuffle(writer.concat(right, left, "/s"), "/s", groups=2)
    expected = images.data[:, [4, 0, 5, 1, 6, 2, 7, 3]]
    np.testing.assert_array_equal(out.data, expected)
    assert ops(check(writer, images, out)) == ["Split", "Concat", "Reshape", "Transpose", "Reshape"]


@pytest.mark.parametrize("centred", [False, True])
def test_dense(centred):
    writer, images = writer_and_images()
    pooled = writer.flatten(writer.global_pool(images, "/p"), "/p")
    out = writer.dense(pooled, "/d", 100, centred=centred)
    check(writer, images, out)
    assert 0.5 < out.data.std() < 4
    assert (np.abs(out.data.mean(axis=0)).max() < 1.2) == centred


def test_multiply_broadcasts_a_gate():
    writer, images = writer_and_images()
    gate = writer.activation(writer.global_pool(images, "/p"), "/g", "sigmoid")
    check(writer, images, writer.multiply(images, gate, "/m"))
