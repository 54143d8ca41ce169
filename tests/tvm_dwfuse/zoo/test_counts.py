import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_dwfuse import zoo
from tvm_dwfuse.zoo import table
from tvm_dwfuse.zoo.counts import count


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_counts_of_a_graph_small_enough_to_count_by_hand(batch):
    weights = {
        "w": np.zeros((8, 1, 3, 3), np.float32),
        "b": np.zeros(8, np.float32),
        **{part: np.ones(8, np.float32) for part in ("scale", "shift", "mean", "var")},
        "fc": np.zeros((10, 8), np.float32),
        "fcb": np.zeros(10, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], group=8, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("GlobalAveragePool", ["n"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "fcb"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    counts = count(model)
    assert counts.macs == 8 * 3 * 3 * 9 + 80
    assert counts.params == (72 + 8) + (8 + 8) + (80 + 10)


PUBLISHED = [
    (family if variant == "-" else f"{family}_{variant}")
    for family in table.families()
    for variant in table.load(family).published
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_agree_with_the_published_ones(name):
    """Each figure's source stands in the network's table, beside the figure."""
    info = zoo.describe(name)
    assert info.published is not None
    assert info.macs == pytest.approx(info.published.macs, rel=info.published.tolerance)
    assert info.params == pytest.approx(info.published.params, rel=info.published.tolerance)


def test_every_listed_model_has_published_counts():
    assert set(zoo.names()) <= set(PUBLISHED)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # "num_params" in torchvision/models/{mobilenetv2,mobilenetv3,shufflenetv2,efficientnet}.py
        ("mobilenet_v2_1.0_224", 3_504_872),
        ("mobilenet_v3_large_1.0_224", 5_483_032),
        ("mobilenet_v3_small_1.0_224", 2_542_856),
        ("shufflenet_v2_0.5_224", 1_366_792),
        ("shufflenet_v2_1.0_224", 2_278_604),
        ("shufflenet_v2_1.5_224", 3_503_624),
        ("shufflenet_v2_2.0_224", 7_393_996),
        ("efficientnet_b0_224", 5_288_548),
    ],
)
def test_parameters_are_exactly_those_of_torchvision(name, params):
    assert zoo.describe(name).params == params
