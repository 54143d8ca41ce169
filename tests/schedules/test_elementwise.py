"""Element-wise functions against numpy, over sizes that fill no vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm.relax import op

from schedules import elementwise
from tests.schedules.legalized import TARGETS, assert_vectorized, legalized, run, values

targets = st.sampled_from(TARGETS)


def scheduled(func, target, threads=1):
    result = elementwise.apply(func, target, threads)
    assert result is not None
    return result


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 19), min_size=1, max_size=4), targets)
def test_equal_shapes_are_one_axis(shape, target):
    func = legalized(lambda a, b: op.nn.relu(op.add(a, b)), tuple(shape), tuple(shape))
    a, b = values(*shape, seed=0), values(*shape, seed=1)
    (result,) = run(scheduled(func, target), target, a, b)
    np.testing.assert_array_equal(result, np.maximum(a + b, 0))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 70), targets)
def test_scale_by_channel(n, size, c, target):
    func = legalized(op.multiply, (n, size, size, c), (n, 1, 1, c))
    x, scale = values(n, size, size, c, seed=0), values(n, 1, 1, c, seed=1)
    (result,) = run(scheduled(func, target), target, x, scale)
    np.testing.assert_array_equal(result, x * scale)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), targets)
def test_concat_with_arithmetic(c0, c1, target):
    func = legalized(lambda a, b: op.nn.relu(op.concat([a, b], axis=-1)), (1, 3, 5, c0), (1, 3, 5, c1))
    a, b = values(1, 3, 5, c0, seed=0), values(1, 3, 5, c1, seed=1)
    (result,) = run(scheduled(func, target), target, a, b)
    np.testing.assert_array_equal(result, np.maximum(np.concatenate([a, b], axis=-1), 0))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.integers(1, 20), targets)
def test_pad(widths, c, target):
    func = legalized(lambda x: op.nn.pad(x, [0, 0, *widths], pad_value=2.5), (2, 3, 4, c))
    x = values(2, 3, 4, c)
    (result,) = run(scheduled(func, target), target, x)
    pairs = [(0, 0), *zip(widths[::2], widths[1::2], strict=True)]
    np.testing.assert_array_equal(result, np.pad(x, pairs, constant_values=2.5))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"lanes{target.lanes}")
@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (op.add, [(1, 5, 5, 25), (1, 5, 5, 25)]),
        (op.multiply, [(1, 5, 5, 25), (1, 1, 1, 25)]),
        (lambda a, b: op.nn.relu(op.concat([a, b], axis=-1)), [(1, 5, 5, 58), (1, 5, 5, 31)]),
        (lambda x: op.nn.pad(x, (0, 0, 1, 1, 1, 1, 0, 0)), [(1, 5, 5, 25)]),
    ],
    ids=["add", "scale", "concat", "pad"],
)
def test_vectors_have_no_predicates(build, shapes, target):
    assert_vectorized(scheduled(legalized(build, *shapes), target), target)


@pytest.mark.parametrize(("rows", "parallel"), [(8, False), (4096, True)])
def test_threads_are_used_where_there_is_work(rows, parallel):
    func = legalized(op.add, (rows, 64), (rows, 64))
    assert ("T.parallel" in scheduled(func, TARGETS[0], threads=2).script()) == parallel


def test_threads_change_no_result():
    func = legalized(op.multiply, (2, 40, 40, 50), (2, 1, 1, 50))
    x, scale = values(2, 40, 40, 50, seed=0), values(2, 1, 1, 50, seed=1)
    result = scheduled(func, TARGETS[0], threads=2)
    assert "T.parallel" in result.script()
    np.testing.assert_array_equal(run(result, TARGETS[0], x, scale)[0], x * scale)


def test_conditions_that_change_too_often_stay_scalar():
    def interleaved(a, b):
        pair = op.concat([op.expand_dims(a, -1), op.expand_dims(b, -1)], axis=-1)
        return op.nn.relu(op.reshape(pair, (4, 2 * 33)))

    a, b = values(4, 33, seed=0), values(4, 33, seed=1)
    result = scheduled(legalized(interleaved, (4, 33), (4, 33)), TARGETS[0])
    assert "T.vectorized" not in result.script()
    np.testing.assert_array_equal(
        run(result, TARGETS[0], a, b)[0], np.maximum(np.stack([a, b], axis=-1).reshape(4, -1), 0)
    )


@pytest.mark.parametrize("build", [lambda x: op.sum(x, axis=[1]), op.nn.softmax], ids=["sum", "softmax"])
def test_reductions_are_not_its_own(build):
    assert elementwise.apply(legalized(build, (4, 33)), TARGETS[0], 1) is None
