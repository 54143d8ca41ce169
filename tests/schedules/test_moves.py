"""Concat, split, slices, shuffles and transposes against numpy: bit for bit, at sizes that fill no vector."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm.relax import op

from schedules import moves
from tests.schedules.legalized import TARGETS, assert_vectorized, legalized, run, values
from tvm_dwfuse.targets import CpuTarget

targets = st.sampled_from(TARGETS)
channels = st.integers(1, 70)


def scheduled(func: tvm.tirx.PrimFunc, target: CpuTarget, threads: int = 1) -> tvm.tirx.PrimFunc:
    result = moves.apply(func, target, threads)
    assert result is not None
    return result


def shuffled(a, b):
    """Concat and channel shuffle in NHWC, as ShuffleNetV2 has them."""
    n, h, w, c = (int(extent) for extent in a.ty.shape)
    grouped = op.reshape(op.concat([a, b], axis=-1), (n, h, w, 2, c))
    return op.reshape(op.permute_dims(grouped, [0, 1, 2, 4, 3]), (n, h, w, 2 * c))


def shuffled_in_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([a, b], axis=-1).reshape(*a.shape[:-1], -1)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 2), st.integers(1, 5), st.integers(1, 20), channels, channels, targets)
def test_concat_along_channels(n, h, w, c0, c1, target):
    func = legalized(lambda a, b: op.concat([a, b], axis=-1), (n, h, w, c0), (n, h, w, c1))
    a, b = values(n, h, w, c0, seed=0), values(n, h, w, c1, seed=1)
    (result,) = run(scheduled(func, target), target, a, b)
    np.testing.assert_array_equal(result, np.concatenate([a, b], axis=-1))


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 40), st.integers(2, 19), targets)
def test_channels_to_the_end(n, h, w, c, target):
    func = legalized(lambda x: op.permute_dims(x, [0, 2, 3, 1]), (n, c, h, w))
    x = values(n, c, h, w)
    (result,) = run(scheduled(func, target), target, x)
    np.testing.assert_array_equal(result, x.transpose(0, 2, 3, 1))


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(2, 20), st.integers(2, 33), targets)
def test_channels_to_the_front(h, w, c, target):
    func = legalized(lambda x: op.permute_dims(x, [0, 3, 1, 2]), (2, h, w, c))
    x = values(2, h, w, c)
    (result,) = run(scheduled(func, target), target, x)
    np.testing.assert_array_equal(result, x.transpose(0, 3, 1, 2))


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 2), st.integers(1, 6), channels, targets)
def test_channel_shuffle(n, size, c, target):
    func = legalized(shuffled, (n, size, size, c), (n, size, size, c))
    a, b = values(n, size, size, c, seed=0), values(n, size, size, c, seed=1)
    (result,) = run(scheduled(func, target), target, a, b)
    np.testing.assert_array_equal(result, shuffled_in_numpy(a, b))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"lanes{target.lanes}")
@pytest.mark.parametrize("c", [24, 58, 488])
def test_concat_shuffle_split_is_one_function(c, target):
    func = legalized(lambda a, b: op.split(shuffled(a, b), 2, axis=-1), (1, 4, 4, c), (1, 4, 4, c))
    a, b = values(1, 4, 4, c, seed=0), values(1, 4, 4, c, seed=1)
    result = scheduled(func, target)
    assert_vectorized(result, target)
    for half, expected in zip(run(result, target, a, b), np.split(shuffled_in_numpy(a, b), 2, axis=-1), strict=True):
        np.testing.assert_array_equal(half, expected)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.integers(2, 40), st.integers(1, 3), targets)
def test_slices(data, c, step, target):
    begin = data.draw(st.integers(0, c - 1))
    end = data.draw(st.integers(begin + 1, c))
    func = legalized(
        lambda x: op.strided_slice(x, axes=[2, 3], begin=[1, begin], end=[6, end], strides=[1, step]), (2, 3, 7, c)
    )
    x = values(2, 3, 7, c)
    (result,) = run(scheduled(func, target), target, x)
    np.testing.assert_array_equal(result, x[:, :, 1:6, begin:end:step])


@pytest.mark.parametrize("dtype", ["int8", "float16", "float64", "int64"])
def test_every_dtype(dtype):
    func = legalized(lambda x: op.flip(op.permute_dims(x, [0, 2, 1]), 2), (2, 3, 37), dtype=dtype)
    x = np.arange(2 * 3 * 37).reshape(2, 3, 37).astype(dtype)
    (result,) = run(scheduled(func, TARGETS[0]), TARGETS[0], x)
    np.testing.assert_array_equal(result, x.transpose(0, 2, 1)[..., ::-1])


def test_long_axis_is_cut_in_pieces():
    func = legalized(lambda x: op.strided_slice(x, axes=[0], begin=[1], end=[3]), (4, 3000))
    x = values(4, 3000)
    result = scheduled(func, TARGETS[0])
    (output,) = run(result, TARGETS[0], x)
    np.testing.assert_array_equal(output, x[1:3])
    assert len(result.script().splitlines()) < 200


@pytest.mark.parametrize(("size", "parallel"), [(16, False), (160, True)])
def test_threads_are_used_where_there_is_work(size, parallel):
    func = legalized(lambda x: op.permute_dims(x, [0, 2, 3, 1]), (2, 3, size, size))
    result = scheduled(func, TARGETS[0], threads=2)
    assert ("T.parallel" in result.script()) == parallel
    x = values(2, 3, size, size)
    np.testing.assert_array_equal(run(result, TARGETS[0], x)[0], x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "build",
    [
        op.nn.relu,
        lambda x: op.mean(x, axis=[1]),
        lambda x: op.nn.pad(x, (0, 0, 1, 1)),
        lambda x: op.broadcast_to(op.expand_dims(x, -1), (4, 33, 5)),
    ],
    ids=["relu", "mean", "pad", "broadcast"],
)
def test_what_computes_is_not_a_move(build):
    assert moves.apply(legalized(build, (4, 33)), TARGETS[0], 1) is None


def test_dynamic_shapes_are_not_its_own():
    n = tvm.tirx.Var("n", "int64")
    func = legalized(lambda x: op.permute_dims(x, [1, 0]), (n, 3))
    assert moves.apply(func, TARGETS[0], 1) is None
