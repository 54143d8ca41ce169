from __future__ import annotations

import pytest
from tvm import relax

from relay_passes import SimplifyInference
from tests.relay_passes.modules import array, assert_left_alone, assert_rewritten, build

op = relax.op


def dropout(emit, x):
    return emit(relax.TupleGetItem(emit(op.nn.dropout(x, 0.5)), 0))


NOTHING = {
    "dropout": lambda emit, x: dropout(emit, x),
    "reshape": lambda emit, x: emit(op.reshape(x, (2, 3, 4))),
    "reshape-and-back": lambda emit, x: emit(op.reshape(emit(op.flatten(x)), (2, 3, 4))),
    "permute": lambda emit, x: emit(op.permute_dims(x, [0, 1, 2])),
    "permute-and-back": lambda emit, x: emit(op.permute_dims(emit(op.permute_dims(x, [2, 0, 1])), [1, 2, 0])),
    "cast": lambda emit, x: emit(op.astype(x, "float32")),
    "pad": lambda emit, x: emit(op.nn.pad(x, [0] * 6)),
    "add-zero": lambda emit, x: emit(op.add(relax.const(0.0, "float32"), x)),
    "multiply-by-one": lambda emit, x: emit(op.multiply(x, relax.const([[1.0]], "float32"))),
}


@pytest.mark.parametrize("nothing", NOTHING)
def test_what_does_nothing_is_removed(nothing: str) -> None:
    assert_rewritten(
        SimplifyInference(),
        build(lambda emit, x: op.nn.relu(NOTHING[nothing](emit, x)), x=(2, 3, 4)),
        build(lambda emit, x: op.nn.relu(x), x=(2, 3, 4)),
    )


@pytest.mark.parametrize(
    "reshape",
    [
        lambda emit, x: op.squeeze(emit(op.expand_dims(emit(op.reshape(x, (6, 4))), 0)), [0]),
        lambda emit, x: op.reshape(emit(op.reshape(x, (24,))), (6, 4)),
        lambda emit, x: op.reshape(emit(op.flatten(x)), (6, 4)),
    ],
)
def test_reshapes_in_a_row_become_one(reshape) -> None:
    assert_rewritten(
        SimplifyInference(),
        build(reshape, x=(2, 3, 4)),
        build(lambda emit, x: op.reshape(x, (6, 4)), x=(2, 3, 4)),
    )


def test_permutations_in_a_row_become_one() -> None:
    assert_rewritten(
        SimplifyInference(),
        build(lambda emit, x: op.permute_dims(emit(op.permute_dims(x, [0, 2, 1])), [1, 0, 2]), x=(2, 3, 4)),
        build(lambda emit, x: op.permute_dims(x, [2, 0, 1]), x=(2, 3, 4)),
    )


def test_permutation_of_unit_dimensions_is_a_reshape() -> None:
    assert_rewritten(
        SimplifyInference(),
        build(lambda emit, x: op.permute_dims(x, [0, 2, 3, 1]), x=(1, 1, 3, 4)),
        build(lambda emit, x: op.reshape(x, (1, 3, 4, 1)), x=(1, 1, 3, 4)),
    )


def test_constants_are_reshaped_at_once() -> None:
    def before(emit, x):
        weight = emit(op.permute_dims(relax.const(array(4, 3)), [1, 0]))
        return op.add(emit(op.matmul(x, weight)), emit(op.reshape(relax.const(array(1, 4)), (4,))))

    def expected(emit, x):
        return op.add(emit(op.matmul(x, relax.const(array(4, 3).T.copy()))), relax.const(array(1, 4).reshape(4)))

    assert_rewritten(SimplifyInference(), build(before, x=(2, 3)), build(expected, x=(2, 3)))


@pytest.mark.parametrize(
    "body",
    [
        lambda emit, x: op.permute_dims(x, [1, 0]),
        lambda emit, x: op.astype(x, "float16"),
        lambda emit, x: op.add(x, relax.const([[[0.0]]], "float32")),
        lambda emit, x: op.multiply(x, relax.const(0.0, "float32")),
    ],
    ids=["permutation", "cast", "broadcast", "zero"],
)
def test_what_does_something_stays(body) -> None:
    assert_left_alone(SimplifyInference(), build(body, x=(2, 3)))
