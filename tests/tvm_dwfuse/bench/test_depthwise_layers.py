from __future__ import annotations

import pytest

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench.blocks import fused_blocks
from tvm_dwfuse.bench.depthwise_layers import QUICK, all_layers, parse_layers
from tvm_dwfuse.kernels.depthwise import Depthwise

LAYERS = all_layers()


def test_each_geometry_stands_once() -> None:
    geometries = [layer.conv for layer in LAYERS.values()]
    assert len(geometries) == len(set(geometries)) == 67
    assert LAYERS["480@14"].networks == ("MobileNetV3-Large-224", "EfficientNet-B0-224", "MnasNet-A1-224")


def test_names_tell_the_geometry() -> None:
    assert LAYERS["672@14 5x5 s2"].conv == Depthwise(672, 14, 14, (5, 5), (2, 2), (2, 2, 2, 2))
    assert LAYERS["64@25x5"].conv == Depthwise(64, 25, 5, padding=(1, 1, 1, 1))
    assert all(layer.name == name for name, layer in LAYERS.items())


def test_the_dozen_has_every_kernel_and_stride() -> None:
    quick = parse_layers("quick")
    assert [layer.name for layer in quick] == list(QUICK)
    assert len(quick) == 12
    every = {(layer.conv.kernel, layer.conv.stride) for layer in LAYERS.values()}
    assert every - {(layer.conv.kernel, layer.conv.stride) for layer in quick} == {((7, 7), (2, 2))}


@pytest.mark.parametrize(
    ("model", "network"), [("mobilenet_v1_1.0_224", "MobileNetV1-1.0-224"), ("ds_cnn_s", "DS-CNN-S")]
)
def test_layers_are_those_of_the_zoo(model: str, network: str) -> None:
    ours = {
        (conv.in_channels, *block.sizes()[at], conv.kernel, conv.strides)
        for block in fused_blocks(zoo.build(model), "dwpw")
        for at, conv in enumerate(block.stages)
        if conv.groups > 1
    }
    table = {
        (layer.conv.channels, layer.conv.height, layer.conv.width, layer.conv.kernel, layer.conv.stride)
        for layer in LAYERS.values()
        if network in layer.networks
    }
    assert table == ours


def test_layers_by_name() -> None:
    assert [layer.name for layer in parse_layers(" 1024@7, 64@25x5,1024@7")] == ["1024@7", "64@25x5"]
    assert len(parse_layers("all")) == len(LAYERS)


@pytest.mark.parametrize(
    ("text", "words"), [("32@7", "unknown layer '32@7'; known: all, quick, 32@112"), (",", "no layer")]
)
def test_unknown_layers(text: str, words: str) -> None:
    with pytest.raises(DwfuseError, match=words):
        parse_layers(text)
