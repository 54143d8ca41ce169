from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blocks import depthwise, full_conv, pointwise, separable_blocks, single_blocks
from tests.reference import convolve
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.variants import VARIANTS

any_block = st.one_of(
    *(separable_blocks(variant) for variant in VARIANTS.values()),
    *(single_blocks(kind) for kind in ("dw", "pw", "conv", "grouped")),
)


@settings(max_examples=60)
@given(block=any_block)
def test_json_keeps_everything(block: Block) -> None:
    text = block.to_json()
    assert "\n" not in text
    again = Block.from_json(text)
    assert again == block
    assert hash(again) == hash(block)


@settings(max_examples=60)
@given(block=single_blocks("conv"))
def test_output_size_is_that_of_the_convolution(block: Block) -> None:
    (conv,) = block.stages
    x = np.zeros((1, block.height, block.width, conv.in_channels))
    weight = np.zeros((conv.out_channels, conv.in_channels, *conv.kernel))
    assert convolve(x, weight, conv).shape[1:3] == conv.out_size(block.height, block.width) == block.sizes()[-1]


@pytest.mark.parametrize(
    ("stages", "order"),
    [
        ((depthwise(4), pointwise(4, 8)), "dwpw"),
        ((pointwise(4, 8), depthwise(8)), "pwdw"),
        ((pointwise(4, 8), depthwise(8), pointwise(8, 4)), "pwdwpw"),
        ((depthwise(4),), "dw"),
        ((pointwise(4, 8),), "pw"),
        ((full_conv(4, 8),), "conv"),
        ((full_conv(4, 8, 1, 2),), "conv"),
        ((full_conv(4, 8, 1, padding=(1, 0, 0, 0)),), "conv"),
        ((full_conv(4, 8, groups=2),), "conv"),
        ((depthwise(1),), "conv"),
    ],
)
def test_order_names_the_stages(stages: tuple[Conv, ...], order: str) -> None:
    assert Block(stages, 1, 8, 8).order == order


def test_one_channel_is_not_depthwise_but_many_with_a_multiplier_are() -> None:
    assert not Conv(1, 8, (3, 3), groups=1).is_depthwise
    multiplied = Conv(4, 12, (3, 3), groups=4)
    assert multiplied.is_depthwise
    assert multiplied.channel_multiplier == 3
    assert not Conv(4, 4, (3, 3), groups=2).is_depthwise


def test_macs_of_a_mobilenet_block() -> None:
    """The second block of MobileNetV1: 3x3 depthwise on 112x112x32, then 32 -> 64."""
    block = Block((depthwise(32), pointwise(32, 64)), 1, 112, 112)
    assert block.macs() == 112 * 112 * 32 * (9 + 64)
    assert replace(block, batch=3).macs() == 3 * block.macs()
    strided = Block((depthwise(64, stride=2), pointwise(64, 128)), 1, 112, 112)
    assert strided.sizes() == [(112, 112), (56, 56), (56, 56)]
    assert strided.macs() == 56 * 56 * 64 * (9 + 128)
    assert full_conv(8, 16, groups=4).macs(10, 10) == 10 * 10 * 16 * 9 * 2


def test_operands_are_named_in_call_order() -> None:
    block = Block(
        (pointwise(4, 8), depthwise(8, epilogue=("relu",)), pointwise(8, 4, ("bias", "relu", "add"))), 1, 4, 4
    )
    assert block.operands() == ["x", "w0", "b0", "w1", "w2", "b2", "r2"]
    scaled = Block((pointwise(4, 8, ("add", "bias")),), 1, 4, 4, prologue=("scale",))
    assert scaled.operands() == ["x", "scale", "w0", "r0", "b0"]


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="groups=3 does not divide channels 4 -> 6"):
        Conv(4, 6, groups=3)
    with pytest.raises(ValueError, match="groups=4 does not divide channels 4 -> 6"):
        Conv(4, 6, groups=4)


def test_unknown_epilogue_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown epilogue step 'gelu'; known: relu, .*bias, add"):
        Conv(4, 4, epilogue=("bias", "gelu"))
