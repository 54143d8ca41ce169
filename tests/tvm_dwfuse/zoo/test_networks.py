"""Whole networks: their form, and that they compute something."""

from collections import Counter
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest

from tvm_dwfuse import zoo
from tvm_dwfuse.zoo.networks import make_divisible

# One of each family, the smallest listed.
FAMILIES = [
    "ds_cnn_l",
    "ds_cnn_m",
    "ds_cnn_s",
    "efficientnet_b0_224",
    "efficientnet_lite0_224",
    "mcunet_vww",
    "mnasnet_a1_1.0_224",
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_0.35_96",
    "mobilenet_v3_large_1.0_224",
    "mobilenet_v3_small_1.0_224",
    "shufflenet_v2_0.5_224",
]


@cache
def built(name: str) -> onnx.ModelProto:
    return zoo.build(name)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def images(model: onnx.ModelProto, kind: str, count: int = 1, seed: int = 5) -> np.ndarray:
    """`normal` as after normalisation, `uniform` as pixels in [0, 1)."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal if kind == "normal" else rng.random
    return draw((count, *shape), np.float32)


def operators(name: str) -> Counter:
    return Counter(node.op_type for node in built(name).graph.node)


@pytest.mark.parametrize("name", zoo.names())
def test_listed_model_is_valid_and_fully_shaped(name):
    model = zoo.build(name)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shaped = {value.name: value for value in [*inferred.graph.value_info, *inferred.graph.output]}
    for node in model.graph.node:
        for output in node.output:
            dims = shaped[output].type.tensor_type.shape.dim
            assert dims
            assert all(dim.dim_value > 0 for dim in dims), f"{output} of {node.name}"


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("name", FAMILIES)
def test_activations_stay_alive_through_the_depth(name, kind):
    model = onnx.ModelProto()
    model.CopyFrom(built(name))
    watched = {node.output[0]: node.op_type for node in model.graph.node if node.op_type in ("Relu", "Clip", "Add")}
    for value in watched.keys() - {"output"}:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(value))
    session = session_of(model)
    values = session.run(None, {"input": images(model, kind)})
    for output, value in zip(session.get_outputs()[1:], values[1:], strict=True):
        operator = watched[output.name]
        assert 0.1 < value.std() < 10, output.name
        if operator == "Clip":
            assert (value == 6).mean() < 0.1, output.name
        if operator in ("Clip", "Relu"):
            assert (value == 0).mean() < 0.8, output.name
    clipped = [v for o, v in zip(session.get_outputs(), values, strict=True) if watched.get(o.name) == "Clip"]
    assert not clipped or any((value == 6).any() for value in clipped), "nothing reaches the upper bound of ReLU6"


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_depend_on_the_input(name, kind):
    """Between images, outputs differ by at least 1 % of their range: 100 times the error that the tests allow."""
    model = zoo.build(name, batch=4)
    outputs = session_of(model).run(None, {"input": images(model, kind, 4)})[0]
    assert np.isfinite(outputs).all()
    assert 0.1 < np.ptp(outputs) < 100
    assert outputs.std(axis=0).mean() > 0.01 * np.ptp(outputs)


@pytest.mark.parametrize("name", ["ds_cnn_s", "mcunet_vww", "shufflenet_v2_0.5_224", "efficientnet_b0_224"])
def test_symbolic_batch_takes_any_batch(name):
    model = zoo.build(name, batch=None)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    x = images(model, "normal", 3)
    session = session_of(model)
    together = session.run(None, {"input": x})[0]
    alone = np.concatenate([session_of(built(name)).run(None, {"input": x[i : i + 1]})[0] for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-4 * np.ptp(alone))


@pytest.mark.parametrize("opset", [7, 10, 11, 13, 14, 18, 21])
@pytest.mark.parametrize(
    "name", ["ds_cnn_s", "mobilenet_v2_0.35_96", "mobilenet_v3_small_1.0_224", "shufflenet_v2_0.5_224", "mcunet_vww"]
)
def test_every_opset_says_the_same_network(name, opset):
    model = zoo.build(name, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset
    x = images(model, "normal")
    expected = session_of(built(name)).run(None, {"input": x})[0]
    np.testing.assert_allclose(
        session_of(model).run(None, {"input": x})[0], expected, rtol=0, atol=1e-4 * np.ptp(expected)
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_norm_is_not_folded(name):
    """Each convolution has either a batch norm or, in squeeze-and-excitation, a bias."""
    convolutions = [node for node in built(name).graph.node if node.op_type == "Conv"]
    biased = [node for node in convolutions if len(node.input) == 3]
    counts = operators(name)
    assert counts["BatchNormalization"] == len(convolutions) - len(biased) > 0
    gates = counts["GlobalAveragePool"] + counts["ReduceMean"] + counts["AveragePool"] - 1  # the last is the head's
    assert len(biased) == 2 * gates


def test_tensorflow_networks_have_tensorflow_padding():
    def attributes(name):
        return [
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            for node in built(name).graph.node
            if node.op_type == "Conv"
        ]

    assert operators("efficientnet_b0_224")["Pad"] == 17  # the stem and 16 depthwise convolutions
    assert all(not any(a["pads"]) for a in attributes("efficientnet_b0_224"))
    strided = [a for a in attributes("mnasnet_a1_1.0_224") if a["kernel_shape"] != [1, 1]]
    assert all(a["auto_pad"] == b"SAME_UPPER" for a in strided)
    asymmetric = [a["pads"] for a in attributes("efficientnet_lite0_224") if a["pads"][:2] != a["pads"][2:]]
    assert sorted(asymmetric) == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]
    assert attributes("ds_cnn_s")[0]["pads"] == [4, 1, 5, 1]


def test_mobilenets_are_written_as_pytorch_exports_them():
    assert operators("mobilenet_v1_0.25_128")["Clip"] == 27
    v3 = operators("mobilenet_v3_small_1.0_224")
    assert (v3["HardSwish"], v3["HardSigmoid"], v3["Mul"]) == (19, 9, 9)
    shuffle = operators("shufflenet_v2_0.5_224")
    assert (shuffle["Split"], shuffle["Concat"], shuffle["Reshape"], shuffle["Transpose"]) == (13, 16, 32, 16)
    assert operators("mobilenet_v2_0.35_96")["Add"] == 10


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 8), (32, 32), (11.2, 16), (33.6, 32), (22.4, 24), (1792.0, 1792), (12, 16)]
)
def test_make_divisible(value, expected):
    assert make_divisible(value) == expected
    assert expected % 8 == 0
    assert expected >= 0.9 * value
