from __future__ import annotations

import pytest
from tvm import relax

from relay_passes import CanonicalizePooling
from tests.relay_passes.modules import assert_left_alone, assert_rewritten, build

op = relax.op
NCHW, NHWC = (2, 4, 5, 3), (2, 5, 3, 4)


@pytest.mark.parametrize(
    ("shape", "axes", "pool"),
    [
        (NCHW, [2, 3], lambda x: op.nn.avg_pool2d(x, (5, 3))),
        (NHWC, [1, 2], lambda x: op.nn.avg_pool2d(x, (5, 3), layout="NHWC")),
        (NCHW, [2, 3], lambda x: op.nn.avg_pool2d(x, (5, 3), strides=2, count_include_pad=True)),
        (NCHW, [2, 3], lambda x: op.nn.adaptive_avg_pool2d(x, 1)),
        (NHWC, [1, 2], lambda x: op.nn.adaptive_avg_pool2d(x, (1, 1), layout="NHWC")),
        (NCHW, [2, 3], lambda x: op.mean(x, [-1, -2], keepdims=True)),
    ],
)
def test_global_average_pooling_becomes_a_mean(shape, axes, pool) -> None:
    assert_rewritten(
        CanonicalizePooling(),
        build(lambda emit, x: pool(x), x=shape),
        build(lambda emit, x: op.mean(x, axes, keepdims=True), x=shape),
    )


def test_mean_without_its_axes_is_a_mean_and_a_reshape() -> None:
    assert_rewritten(
        CanonicalizePooling(),
        build(lambda emit, x: op.mean(x, [2, 3]), x=NCHW),
        build(lambda emit, x: op.reshape(emit(op.mean(x, [2, 3], keepdims=True)), (2, 4)), x=NCHW),
    )


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: op.nn.avg_pool2d(x, (5, 2)),
        lambda x: op.nn.avg_pool2d(x, (5, 3), padding=1, strides=4),
        lambda x: op.nn.max_pool2d(x, (5, 3)),
        lambda x: op.nn.adaptive_avg_pool2d(x, 2),
        lambda x: op.mean(x, [1], keepdims=True),
    ],
)
def test_other_pooling_stays(pool) -> None:
    assert_left_alone(CanonicalizePooling(), build(lambda emit, x: pool(x), x=NCHW))
