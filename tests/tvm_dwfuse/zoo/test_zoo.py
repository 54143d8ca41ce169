"""The public functions: names, build, describe."""

import os
import subprocess
import sys
import time

import pytest

from tvm_dwfuse import zoo
from tvm_dwfuse.errors import DwfuseError


def test_names_list_every_promised_network():
    names = zoo.names()
    assert len(names) == len(set(names))
    promised = {
        *(f"mobilenet_v1_{w}_{r}" for w in ("0.25", "0.5", "0.75", "1.0") for r in (128, 160, 192, 224)),
        *(f"mobilenet_v2_1.0_{r}" for r in (96, 128, 160, 192, 224)),
        "mobilenet_v3_small_1.0_224",
        "mobilenet_v3_large_1.0_224",
        "mnasnet_a1_1.0_224",
        "efficientnet_b0_224",
        "efficientnet_lite0_224",
        "ds_cnn_s",
        "ds_cnn_m",
        "ds_cnn_l",
        "mcunet_vww",
        "shufflenet_v2_0.5_224",
        "shufflenet_v2_1.0_224",
    }
    assert promised <= set(names)


def test_same_seed_same_model_other_seed_other_weights():
    first = zoo.build("ds_cnn_s", seed=4)
    assert first == zoo.build("ds_cnn_s", seed=4)
    other = zoo.build("ds_cnn_s", seed=5)
    assert first.graph.initializer[0] != other.graph.initializer[0]
    assert first.graph.node == other.graph.node


def test_a_name_that_is_legal_but_not_listed_builds():
    assert "mobilenet_v2_0.75_96" not in zoo.names()
    model = zoo.build("mobilenet_v2_0.75_96", batch=2)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 96, 96]
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [2, 1000]
    assert model.graph.name == "mobilenet_v2_0.75_96"


def test_tensorflow_spelling_of_a_width_is_understood():
    assert zoo.describe("mobilenet_v1_0.50_128").name == "mobilenet_v1_0.5_128"


def test_describe():
    info = zoo.describe("ds_cnn_s")
    assert (info.name, info.input_shape) == ("ds_cnn_s", (1, 49, 10))
    # First convolution, four depthwise-separable blocks on 25 x 5 positions, classifier.
    assert info.macs == 125 * (64 * 40 + 4 * (64 * 9 + 64 * 64)) + 64 * 12
    assert info.published is not None
    assert info.published.source.startswith("arXiv:1711.07128")
    assert zoo.describe("mobilenet_v2_1.3_96").published is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("mobilenet_v1_0.25_127", "mobilenet_v1_0.25_12"),
        ("mobilenet_v2_0.6_224", "mobilenet_v2_"),
        ("efficientnet_b0", "efficientnet_b0_224"),
        ("ds_cnn", "ds_cnn_"),
        ("ds_cnn_s_49", "ds_cnn_s"),
        ("resnet50", "dwfuse zoo list"),
        ("", "dwfuse zoo list"),
    ],
)
def test_unknown_name_gets_the_nearest_ones(name, nearest):
    for function in (zoo.build, zoo.describe):
        with pytest.raises(DwfuseError) as failure:
            function(name)
        message = str(failure.value)
        assert repr(name) in message
        assert nearest in message.split(";")[1]
        assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"batch": 0}, "batch 0"), ({"opset": 6}, "opset 6"), ({"opset": 22}, "opset 22"), ({"seed": -1}, "seed -1")],
)
def test_options_out_of_range(options, complaint):
    with pytest.raises(DwfuseError, match=complaint):
        zoo.build("ds_cnn_s", **options)


def test_building_needs_no_runtime_and_listing_not_even_onnx():
    script = (
        "import sys; from tvm_dwfuse import zoo; zoo.names(); assert 'onnx' not in sys.modules;"
        "zoo.build('ds_cnn_s'); assert not {'onnxruntime', 'torch', 'tvm'} & sys.modules.keys()"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_the_largest_network_builds_quickly():
    start = time.process_time()
    zoo.build("mobilenet_v2_1.4_224")
    assert time.process_time() - start < 5
