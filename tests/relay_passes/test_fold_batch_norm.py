from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from relay_passes import FoldBatchNorm
from tests.relay_passes.modules import array, assert_left_alone, assert_rewritten, build, const

op = relax.op
LAYOUTS = {
    "NCHW": {"data_layout": "NCHW", "kernel_layout": "OIHW"},
    "NHWC": {"data_layout": "NHWC", "kernel_layout": "OHWI"},
}
SHAPES = {"NCHW": (1, 4, 5, 3), "NHWC": (1, 5, 3, 4)}
GAMMA, BETA, MEAN = (array(6, seed=seed) for seed in (1, 2, 3))
VARIANCE = array(6, seed=4, low=0.5, high=2.0)
SCALE = GAMMA.astype("float64") / np.sqrt(VARIANCE.astype("float64") + 1e-3)
SHIFT = BETA - MEAN * SCALE


def batch_norm(x: relax.Expr, axis: int, training: bool = False) -> relax.Expr:
    parameters = map(relax.const, (GAMMA, BETA, MEAN, VARIANCE))
    return op.nn.batch_norm(x, *parameters, axis=axis, epsilon=1e-3, training=training)


def along_channels(values: np.ndarray, layout: str) -> np.ndarray:
    return values.reshape((1, -1, 1, 1) if layout == "NCHW" else (1, 1, 1, -1)).astype("float32")


def weight(layout: str, scale: np.ndarray | float = 1.0) -> relax.Expr:
    values = array(6, 4, 1, 1).reshape((6, 4, 1, 1) if layout == "NCHW" else (6, 1, 1, 4)).astype("float64")
    factor = scale.reshape(-1, 1, 1, 1) if isinstance(scale, np.ndarray) else scale
    return relax.const((values * factor).astype("float32"))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("biased", [False, True])
def test_batch_norm_goes_into_convolution(layout: str, biased: bool) -> None:
    bias = array(6, seed=5)

    def before(emit, x):
        y = emit(op.nn.conv2d(x, weight(layout), **LAYOUTS[layout]))
        if biased:
            y = emit(op.add(relax.const(along_channels(bias, layout)), y))
        norm = emit(batch_norm(y, 1 if layout == "NCHW" else 3))
        return op.nn.relu(emit(relax.TupleGetItem(norm, 0)))

    def expected(emit, x):
        y = emit(op.nn.conv2d(x, weight(layout, SCALE), **LAYOUTS[layout]))
        shift = bias * SCALE + SHIFT if biased else SHIFT
        return op.nn.relu(emit(op.add(y, relax.const(along_channels(shift, layout)))))

    modules = (build(body, x=SHAPES[layout]) for body in (before, expected))
    assert_rewritten(FoldBatchNorm(), *modules)


def test_arithmetic_by_channel_goes_into_convolution() -> None:
    scale, shift, more = array(6, seed=1, low=0.5), array(6, seed=2), array(6, seed=3)

    def before(emit, x):
        y = emit(op.nn.conv2d(x, weight("NCHW"), **LAYOUTS["NCHW"]))
        y = emit(op.divide(y, relax.const(scale.reshape(6, 1, 1))))
        y = emit(op.subtract(y, relax.const(shift.reshape(1, 6, 1, 1))))
        return op.add(y, relax.const(more.reshape(6, 1, 1)))

    def expected(emit, x):
        scaled = emit(op.nn.conv2d(x, weight("NCHW", 1 / scale.astype("float64")), **LAYOUTS["NCHW"]))
        bias = -shift.astype("float64") + more
        return op.add(scaled, relax.const(along_channels(bias, "NCHW")))

    modules = [build(body, x=SHAPES["NCHW"]) for body in (before, expected)]
    folded = FoldBatchNorm()(modules[0])["main"].body.blocks[0].bindings
    wanted = modules[1]["main"].body.blocks[0].bindings
    assert len(folded) == len(wanted) == 2
    for ours, theirs in zip(folded, wanted, strict=True):
        np.testing.assert_allclose(ours.value.args[1].value.numpy(), theirs.value.args[1].value.numpy(), rtol=1e-5)


def test_dense_layer_takes_in_batch_norm() -> None:
    def before(emit, x):
        y = emit(op.matmul(x, const(5, 6)))
        return emit(relax.TupleGetItem(emit(batch_norm(y, 1)), 0))

    def expected(emit, x):
        y = emit(op.matmul(x, relax.const((array(5, 6) * SCALE).astype("float32"))))
        return emit(op.add(y, relax.const(SHIFT.astype("float32"))))

    assert_rewritten(FoldBatchNorm(), build(before, x=(3, 5)), build(expected, x=(3, 5)))


@pytest.mark.parametrize("where", ["input", "shared"])
def test_batch_norm_with_nothing_to_go_into_is_arithmetic(where: str) -> None:
    """Of the input itself, or of a convolution that somebody else reads too."""

    def network(emit, x, norm):
        if where == "input":
            return norm(x)
        y = emit(op.nn.conv2d(x, weight("NCHW"), **LAYOUTS["NCHW"]))
        return op.add(norm(y), y)

    def before(emit, x):
        return network(emit, x, lambda y: emit(relax.TupleGetItem(emit(batch_norm(y, 1)), 0)))

    def expected(emit, x):
        scale, shift = (relax.const(along_channels(values, "NCHW")) for values in (SCALE, SHIFT))
        return network(emit, x, lambda y: emit(op.add(emit(op.multiply(y, scale)), shift)))

    shape = (1, 6, 5, 3) if where == "input" else SHAPES["NCHW"]
    assert_rewritten(FoldBatchNorm(), build(before, x=shape), build(expected, x=shape))


def test_scalars_and_training_and_plain_bias_stay() -> None:
    def scalars(emit, x):
        y = emit(op.nn.conv2d(x, weight("NCHW"), **LAYOUTS["NCHW"]))
        y = emit(op.multiply(y, relax.const(0.5, "float32")))
        return op.add(y, relax.const([3.0], "float32"))

    def training(emit, x):
        y = emit(op.nn.conv2d(x, weight("NCHW"), **LAYOUTS["NCHW"]))
        return emit(relax.TupleGetItem(emit(batch_norm(y, 1, training=True)), 0))

    def by_pixel(emit, x):
        y = emit(op.nn.conv2d(x, weight("NCHW"), **LAYOUTS["NCHW"]))
        return op.multiply(y, const(5, 3))

    for body in (scalars, training, by_pixel):
        assert_left_alone(FoldBatchNorm(), build(body, x=SHAPES["NCHW"]))
