"""Pooling, means and softmax against numpy, over sizes that fill no vector."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from tvm.relax import op

from schedules import reduction
from tests.schedules.legalized import TARGETS, assert_vectorized, legalized, run, values

targets = st.sampled_from(TARGETS)


def scheduled(func, target, threads=1):
    result = reduction.apply(func, target, threads)
    assert result is not None
    return result


def windows(x, padding, kernel, stride, fill):
    """(N, H, W, C, kernel, kernel) of an NHWC image, padded on all sides."""
    padded = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)], constant_values=fill)
    return sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 2), st.integers(1, 9), st.integers(1, 150), targets, st.sampled_from([1, 2]))
def test_global_average(n, size, c, target, threads):
    func = legalized(lambda x: op.mean(x, axis=[1, 2], keepdims=True), (n, size, size, c))
    x = values(n, size, size, c)
    (result,) = run(scheduled(func, target, threads), target, x)
    np.testing.assert_allclose(result, x.mean(axis=(1, 2), keepdims=True, dtype="float64"), rtol=1e-5, atol=1e-6)


pools = st.tuples(st.integers(3, 9), st.integers(1, 40), st.integers(2, 3), st.integers(1, 2), st.integers(0, 1))


@settings(max_examples=10, deadline=None)
@given(pools, targets)
def test_max_pool(sizes, target):
    size, c, kernel, stride, padding = sizes
    func = legalized(
        lambda x: op.nn.max_pool2d(x, [kernel] * 2, [stride] * 2, [padding] * 4, layout="NHWC"), (2, size, size + 1, c)
    )
    x = values(2, size, size + 1, c)
    (result,) = run(scheduled(func, target), target, x)
    np.testing.assert_array_equal(result, windows(x, padding, kernel, stride, -np.inf).max(axis=(-2, -1)))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"lanes{target.lanes}")
def test_max_pool_channels_first(target):
    func = legalized(lambda x: op.nn.max_pool2d(x, [3, 3], [2, 2], [1, 1, 1, 1]), (1, 5, 8, 37))
    x = values(1, 5, 8, 37)
    (result,) = run(scheduled(func, target), target, x)
    expected = windows(x.transpose(0, 2, 3, 1), 1, 3, 2, -np.inf).max(axis=(-2, -1))
    np.testing.assert_array_equal(result, expected.transpose(0, 3, 1, 2))


@settings(max_examples=10, deadline=None)
@given(pools, st.booleans(), targets)
def test_average_pool(sizes, count_padding, target):
    size, c, kernel, stride, padding = sizes
    func = legalized(
        lambda x: op.nn.avg_pool2d(
            x, [kernel] * 2, [stride] * 2, [padding] * 4, layout="NHWC", count_include_pad=count_padding
        ),
        (2, size, size + 1, c),
    )
    x = values(2, size, size + 1, c)
    (result,) = run(scheduled(func, target), target, x)
    ones = np.ones_like(x)
    count = windows(ones, padding, kernel, stride, float(count_padding)).sum(axis=(-2, -1))
    np.testing.assert_allclose(
        result, windows(x, padding, kernel, stride, 0.0).sum(axis=(-2, -1)) / count, rtol=1e-5, atol=1e-6
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([0, 1]), targets)
def test_softmax(rows, columns, axis, target):
    func = legalized(lambda x: op.nn.softmax(x, axis=axis), (rows, columns))
    x = 4 * values(rows, columns)
    (result,) = run(scheduled(func, target), target, x)
    exponential = np.exp(x.astype("float64") - x.max(axis=axis, keepdims=True))
    np.testing.assert_allclose(result, exponential / exponential.sum(axis=axis, keepdims=True), rtol=1e-5)


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 40)),
    st.sampled_from([(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]),
    st.sampled_from([("sum", np.sum), ("max", np.max), ("min", np.min), ("prod", np.prod)]),
    targets,
)
def test_any_axes(shape, axes, kind, target):
    name, reference = kind
    func = legalized(lambda x: getattr(op, name)(x, axis=list(axes)), shape)
    x = values(*shape)
    (result,) = run(scheduled(func, target), target, x)
    np.testing.assert_allclose(result, reference(x, axis=axes), rtol=1e-4, atol=1e-5)


def test_grouped_convolution_that_no_kernel_takes():
    func = legalized(lambda x, w: op.nn.conv2d(x, w, padding=1, groups=2), (2, 4, 9, 7), (6, 2, 3, 3))
    x, w = values(2, 4, 9, 7, seed=0), values(6, 2, 3, 3, seed=1)
    (result,) = run(scheduled(func, TARGETS[0]), TARGETS[0], x, w)
    taps = sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), axis=(2, 3))
    expected = np.einsum("ngchwij,gocij->ngohw", taps.reshape(2, 2, 2, 9, 7, 3, 3), w.reshape(2, 3, 2, 3, 3))
    np.testing.assert_allclose(result, expected.reshape(2, 6, 9, 7), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"lanes{target.lanes}")
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda x: op.mean(x, axis=[1, 2], keepdims=True), (1, 7, 7, 90)),
        (lambda x: op.nn.max_pool2d(x, [3, 3], [2, 2], [1, 1, 1, 1], layout="NHWC"), (1, 9, 9, 90)),
        (op.nn.softmax, (1, 90)),
    ],
    ids=["mean", "max_pool", "softmax"],
)
def test_vectors_have_no_predicates(build, shape, target):
    assert_vectorized(scheduled(legalized(build, shape), target), target)


def test_sums_stay_in_registers():
    """The sum that a mean divides has no buffer in memory."""
    func = legalized(lambda x: op.mean(x, axis=[1, 2], keepdims=True), (1, 7, 7, 90))
    assert "sblock_alloc_buffer" in func.script()
    assert "sblock_alloc_buffer" not in scheduled(func, TARGETS[0]).script()


@pytest.mark.parametrize(("size", "parallel"), [(7, False), (56, True)])
def test_threads_are_used_where_there_is_work(size, parallel):
    func = legalized(lambda x: op.mean(x, axis=[1, 2], keepdims=True), (1, size, size, 96))
    assert ("T.parallel" in scheduled(func, TARGETS[0], threads=2).script()) == parallel


def test_small_kernels_ask_the_runtime_for_no_memory():
    func = scheduled(legalized(lambda x: op.mean(x, axis=[1, 2], keepdims=True), (1, 7, 7, 90)), TARGETS[0])
    code = tvm.compile(func.with_attr("global_symbol", "main"), TARGETS[0].tvm_target()).mod.inspect_source("ll")
    assert "TVMBackendAllocWorkspace" not in code


def test_two_results_at_once_are_not_its_own():
    assert reduction.apply(legalized(lambda x: op.argmax(x, axis=1), (4, 33)), TARGETS[0], 1) is None
