from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from relay_passes import FoldConstantArithmetic
from tests.relay_passes.modules import array, assert_left_alone, assert_rewritten, build

op = relax.op
CONSTANT = relax.const(array(2, 3, low=0.5, high=2))
OTHER = relax.const(array(3, seed=1, low=0.5, high=2))


@pytest.mark.parametrize(
    "compute",
    [
        lambda emit: op.add(CONSTANT, OTHER),
        lambda emit: op.divide(CONSTANT, OTHER),
        lambda emit: op.sqrt(CONSTANT),
        lambda emit: op.exp(op.negative(CONSTANT)),
        lambda emit: op.where(emit(op.isnan(OTHER)), relax.const(-np.inf, "float32"), OTHER),
        lambda emit: op.permute_dims(CONSTANT),
        lambda emit: op.permute_dims(CONSTANT, [1, 0]),
        lambda emit: op.reshape(CONSTANT, (1, 6)),
        lambda emit: op.expand_dims(OTHER, 1),
        lambda emit: op.astype(op.astype(CONSTANT, "int32"), "float32"),
    ],
)
def test_what_is_folded_is_what_tvm_folds(compute) -> None:
    module = build(lambda emit, x: op.add(x, op.sum(emit(compute(emit)))), x=(1,))
    theirs = relax.transform.FoldConstant()(module)
    ours = relax.transform.FoldConstant()(FoldConstantArithmetic()(module))
    (expected,), (actual,) = (
        [b.value.args[1].value.numpy() for b in m["main"].body.blocks[0].bindings] for m in (theirs, ours)
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_constant_is_computed() -> None:
    def before(emit, x):
        return op.multiply(x, emit(op.maximum(emit(op.subtract(CONSTANT, OTHER)), relax.const(0.0, "float32"))))

    def expected(emit, x):
        difference = array(2, 3, low=0.5, high=2) - array(3, seed=1, low=0.5, high=2)
        return op.multiply(x, relax.const(np.maximum(difference, np.float32(0))))

    assert_rewritten(FoldConstantArithmetic(), build(before, x=(2, 3)), build(expected, x=(2, 3)))


def test_integers_are_not_divided_and_variables_stay() -> None:
    integers = relax.const(np.array([7, -7]))

    def body(emit, x):
        return [emit(op.divide(integers, integers)), emit(op.add(x, CONSTANT))]

    assert_left_alone(FoldConstantArithmetic(), build(body, x=(2, 3)))


def test_pass_works_in_a_sequential() -> None:
    module = build(lambda emit, x: op.add(x, emit(op.sqrt(CONSTANT))), x=(2, 3))
    folded = tvm.transform.Sequential([FoldConstantArithmetic(), relax.transform.DeadCodeElimination()])(module)
    assert len(folded["main"].body.blocks[0].bindings) == 1
