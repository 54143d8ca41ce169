from __future__ import annotations

import pytest
from tvm import relax

from relay_passes import CanonicalizeActivations
from tests.relay_passes.modules import assert_left_alone, assert_rewritten, build

op = relax.op


def scalar(value: float) -> relax.Expr:
    return relax.const(value, "float32")


def vector(value: float) -> relax.Expr:
    return relax.const([value], "float32")


def hardsigmoid(emit, x):
    y = emit(op.multiply(x, scalar(1 / 6)))
    return op.clip(emit(op.add(y, scalar(0.5))), 0, 1)


def hardswish(emit, x):
    return op.multiply(x, emit(hardsigmoid(emit, x)))


RELU = {
    "maximum": lambda emit, x: op.maximum(x, scalar(0)),
    "maximum-reversed": lambda emit, x: op.maximum(vector(0), x),
    "clip": lambda emit, x: op.clip(x, 0, float("inf")),
    "clip-to-largest": lambda emit, x: op.clip(x, 0, 3.4028234663852886e38),
    "maximum-minimum": lambda emit, x: op.minimum(emit(op.maximum(x, vector(0))), vector(float("inf"))),
}
RELU6 = {
    "minimum-maximum": lambda emit, x: op.minimum(emit(op.maximum(x, vector(0))), vector(6)),
    "maximum-minimum": lambda emit, x: op.maximum(emit(op.minimum(x, vector(6))), scalar(0)),
    "minimum-relu": lambda emit, x: op.minimum(scalar(6), emit(op.nn.relu(x))),
    "clip-relu": lambda emit, x: op.clip(emit(op.nn.relu(x)), -1, 6),
    "operator": lambda emit, x: op.nn.relu6(x),
    "clip-floats": lambda emit, x: op.clip(x, 0.0, 6.0),
}
HARDSIGMOID = {
    "importer": lambda emit, x: op.clip(emit(op.add(emit(op.multiply(scalar(0.1666667), x)), scalar(0.5))), 0, 1),
    "relu6-divided": lambda emit, x: op.divide(emit(op.clip(emit(op.add(x, vector(3))), 0, 6)), vector(6)),
    "relu6-scaled": lambda emit, x: op.multiply(scalar(1 / 6), emit(op.clip(emit(op.add(scalar(3), x)), 0, 6))),
    "divided-first": lambda emit, x: op.clip(emit(op.divide(emit(op.add(x, scalar(3))), scalar(6))), 0, 1),
    "subtracted": lambda emit, x: op.clip(emit(op.subtract(emit(op.divide(x, scalar(6))), scalar(-0.5))), 0, 1),
}
HARDSWISH = {
    "importer": lambda emit, x: op.multiply(x, emit(HARDSIGMOID["relu6-divided"](emit, x))),
    "gate-first": lambda emit, x: op.multiply(emit(HARDSIGMOID["importer"](emit, x)), x),
    "divided-last": lambda emit, x: op.divide(
        emit(op.multiply(x, emit(op.clip(emit(op.add(x, scalar(3))), 0, 6)))), scalar(6)
    ),
    "scaled-first": lambda emit, x: op.multiply(
        emit(op.multiply(x, scalar(1 / 6))), emit(op.clip(emit(op.add(x, scalar(3))), 0, 6))
    ),
}
SILU = {
    "gate-last": lambda emit, x: op.multiply(x, emit(op.sigmoid(x))),
    "gate-first": lambda emit, x: op.multiply(emit(op.sigmoid(x)), x),
}
CANONICAL = {
    "relu": (lambda emit, x: op.nn.relu(x), RELU),
    "relu6": (lambda emit, x: op.clip(x, 0, 6), RELU6),
    "hardsigmoid": (hardsigmoid, HARDSIGMOID),
    "hardswish": (hardswish, HARDSWISH),
    "silu": (lambda emit, x: op.nn.silu(x), SILU),
}


@pytest.mark.parametrize(
    ("activation", "spelling"), [(name, spelling) for name, (_, table) in CANONICAL.items() for spelling in table]
)
def test_spelling_becomes_canonical(activation: str, spelling: str) -> None:
    expected, spellings = CANONICAL[activation]
    shape = (1, 4, 5, 3)
    assert_rewritten(CanonicalizeActivations(), build(spellings[spelling], x=shape), build(expected, x=shape))


def test_bounds_that_are_no_activation_become_one_clip() -> None:
    assert_rewritten(
        CanonicalizeActivations(),
        build(lambda emit, x: op.minimum(emit(op.maximum(x, vector(-0.5))), vector(2)), x=(2, 3)),
        build(lambda emit, x: op.clip(x, -0.5, 2), x=(2, 3)),
    )


def test_bounds_that_bound_nothing_are_removed() -> None:
    def before(emit, x):
        y = emit(op.minimum(emit(op.maximum(x, vector(float("-inf")))), vector(3.4028234663852886e38)))
        return op.nn.relu(y)

    assert_rewritten(CanonicalizeActivations(), build(before, x=(2, 3)), build(lambda emit, x: op.nn.relu(x), x=(2, 3)))


def test_inner_call_with_another_reader_stays_for_it() -> None:
    def before(emit, x):
        relu = emit(op.nn.relu(x))
        return [emit(op.minimum(relu, scalar(6))), relu]

    def expected(emit, x):
        relu = emit(op.nn.relu(x))
        return [emit(op.clip(x, 0, 6)), relu]

    assert_rewritten(CanonicalizeActivations(), build(before, x=(2, 3)), build(expected, x=(2, 3)))


@pytest.mark.parametrize(
    "body",
    [
        lambda emit, x: op.multiply(x, emit(op.clip(emit(op.add(x, scalar(3))), 0, 6))),
        lambda emit, x: op.clip(emit(op.add(emit(op.multiply(x, scalar(0.2))), scalar(0.5))), 0, 1),
        lambda emit, x: op.multiply(emit(op.nn.relu(x)), emit(op.sigmoid(x))),
        lambda emit, x: op.maximum(x, relax.const([[0.0, 1.0, 2.0]], "float32")),
    ],
    ids=["no-sixth", "slope-of-keras", "gate-of-another", "bound-by-channel"],
)
def test_likes_of_activations_stay(body) -> None:
    assert_left_alone(CanonicalizeActivations(), build(body, x=(2, 3)))
