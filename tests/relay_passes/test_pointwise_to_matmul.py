from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from relay_passes import PointwiseToMatmul
from tests.relay_passes.modules import array, assert_left_alone, assert_rewritten, build
from tests.relay_passes.networks import operators, run
from tests.relay_passes.training_graphs import gradient_of

X, W, Y = (2, 3, 4, 5), (6, 3, 1, 1), (2, 6, 4, 5)
GRADIENT_LAYOUTS = {"data_layout": "CNHW", "kernel_layout": "IOHW", "out_layout": "CNHW"}


def test_forward() -> None:
    def expected(emit, x, w):
        weight = emit(relax.op.reshape(w, (6, 3)))
        y = emit(relax.op.matmul(weight, emit(relax.op.reshape(x, (2, 3, 20)))))
        return relax.op.reshape(y, Y)

    before = build(lambda emit, x, w: relax.op.nn.conv2d(x, w), x=X, w=W)
    assert_rewritten(PointwiseToMatmul(), before, build(expected, x=X, w=W))


def convolution_and_gradients() -> tvm.IRModule:
    def loss(emit, x, w, s):
        return relax.op.sum(emit(relax.op.multiply(emit(relax.op.nn.conv2d(x, w)), s)))

    graph = gradient_of(build(loss, x=X, w=W, s=Y))
    return tvm.IRModule({"main": graph["main_adjoint"].with_attr("global_symbol", "main")})


def test_gradients_have_no_convolution_left() -> None:
    names = operators(PointwiseToMatmul()(convolution_and_gradients()))
    assert names.count("relax.matmul") == 3
    assert not [name for name in names if "conv" in name]


def test_gradients_are_the_products() -> None:
    x, w, dy = (array(*shape, seed=seed) for seed, shape in enumerate((X, W, Y)))
    lowered = relax.transform.LegalizeOps()(PointwiseToMatmul()(convolution_and_gradients()))
    _, (dx, dw) = _run(lowered, x, w, dy)
    np.testing.assert_allclose(dx, np.einsum("oc,nohw->nchw", w[:, :, 0, 0], dy), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dw[:, :, 0, 0], np.einsum("nohw,nchw->oc", dy, x), rtol=1e-5, atol=1e-5)


def _run(mod: tvm.IRModule, *inputs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    machine = relax.VirtualMachine(tvm.compile(mod, target="llvm"), tvm.cpu())
    loss, results = machine["main"](*map(tvm.runtime.tensor, inputs))
    return loss.numpy(), [result.numpy() for result in results]


@pytest.mark.parametrize(
    ("w", "attrs"),
    [
        (W, {"strides": 2}),
        (W, {"padding": 1}),
        ((6, 3, 3, 3), {"padding": 1}),
        ((3, 1, 1, 1), {"groups": 3}),
        ((6, 3, 1, 1), {"dilation": 2}),
        ((1, 1, 5, 6), {"data_layout": "NHWC", "kernel_layout": "HWIO"}),
        ((2, 3, 2, 2), GRADIENT_LAYOUTS),
    ],
    ids=["stride", "padding", "3x3", "depthwise", "dilation", "NHWC", "gradient of a kernel larger than 1x1"],
)
def test_left_alone(w: tuple[int, ...], attrs: dict[str, object]) -> None:
    assert_left_alone(PointwiseToMatmul(), build(lambda emit, x, w: relax.op.nn.conv2d(x, w, **attrs), x=X, w=w))


def test_results_of_a_network_stay() -> None:
    def body(emit, x, w):
        y = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, w))))
        return [y, emit(relax.op.nn.conv2d(y, emit(relax.op.permute_dims(w, [1, 0, 2, 3]))))]

    before = build(body, x=X, w=W)
    values = array(*X), array(*W, seed=1)
    for actual, expected in zip(run(PointwiseToMatmul()(before), *values), run(before, *values), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
