from __future__ import annotations

import pytest
from tvm import relax

from relay_passes import FoldPadIntoConv
from tests.relay_passes.modules import assert_left_alone, assert_rewritten, build, const

op = relax.op
NCHW = {"data_layout": "NCHW", "kernel_layout": "OIHW"}
NHWC = {"data_layout": "NHWC", "kernel_layout": "OHWI"}


def test_zero_pad_becomes_padding_nchw() -> None:
    def before(emit, x):
        pad = emit(op.nn.pad(x, [0, 0, 0, 0, 1, 2, 0, 3]))
        return op.nn.conv2d(pad, const(6, 2, 3, 3), strides=2, padding=(0, 1, 0, 1), groups=2, **NCHW)

    def expected(emit, x):
        return op.nn.conv2d(x, const(6, 2, 3, 3), strides=2, padding=(1, 1, 2, 4), groups=2, **NCHW)

    assert_rewritten(FoldPadIntoConv(), build(before, x=(1, 4, 9, 9)), build(expected, x=(1, 4, 9, 9)))


def test_zero_pad_becomes_padding_nhwc() -> None:
    def before(emit, x):
        pad = emit(op.nn.pad(x, [0, 0, 1, 2, 0, 3, 0, 0]))
        return op.nn.conv2d(pad, const(6, 3, 3, 4), dilation=2, **NHWC)

    def expected(emit, x):
        return op.nn.conv2d(x, const(6, 3, 3, 4), dilation=2, padding=(1, 0, 2, 3), **NHWC)

    assert_rewritten(FoldPadIntoConv(), build(before, x=(1, 9, 9, 4)), build(expected, x=(1, 9, 9, 4)))


def test_pad_with_another_reader_stays_for_it() -> None:
    def before(emit, x):
        pad = emit(op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1]))
        return [emit(op.nn.conv2d(pad, const(6, 4, 3, 3), **NCHW)), pad]

    def expected(emit, x):
        pad = emit(op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1]))
        return [emit(op.nn.conv2d(x, const(6, 4, 3, 3), padding=1, **NCHW)), pad]

    assert_rewritten(FoldPadIntoConv(), build(before, x=(1, 4, 9, 9)), build(expected, x=(1, 4, 9, 9)))


@pytest.mark.parametrize(
    "pad",
    [
        lambda x: op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1], pad_value=1.0),
        lambda x: op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1], "reflect"),
        lambda x: op.nn.pad(x, [0, 0, 0, 0, -1, 1, 0, 0]),
        lambda x: op.nn.pad(x, [1, 0, 0, 0, 1, 1, 1, 1]),
    ],
    ids=["of-ones", "reflect", "negative", "of-batch"],
)
def test_other_pads_stay(pad) -> None:
    assert_left_alone(
        FoldPadIntoConv(),
        build(lambda emit, x: op.nn.conv2d(emit(pad(x)), const(6, 4, 3, 3), **NCHW), x=(1, 4, 9, 9)),
    )
