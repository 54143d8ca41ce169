"""What no other rule takes: in parallel where there is work, and right."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from schedules import fallback, reduction
from tests.schedules.legalized import TARGETS, legalized, run, values


def group_norm(size: int):
    gamma, beta = relax.const(np.ones(8, "float32")), relax.const(np.zeros(8, "float32"))
    return legalized(
        lambda x: op.nn.group_norm(x, gamma, beta, num_groups=2, channel_axis=1, axes=[2, 3]), (2, 8, size, size)
    )


def test_group_norm_in_parallel():
    func = group_norm(100)
    assert reduction.apply(func, TARGETS[0], 2) is None
    result = fallback.apply(func, TARGETS[0], 2)
    assert result is not None
    assert "T.parallel" in result.script()
    x = values(2, 8, 100, 100)
    groups = x.reshape(2, 2, 4, 100, 100).astype("float64")
    mean, variance = (f(axis=(2, 3, 4), keepdims=True) for f in (groups.mean, groups.var))
    (output,) = run(result, TARGETS[0], x, np.ones(8, "float32"), np.zeros(8, "float32"))
    np.testing.assert_allclose(
        output, ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(("size", "threads"), [(100, 1), (5, 2)])
def test_none_where_threads_bring_nothing(size, threads):
    assert fallback.apply(group_norm(size), TARGETS[0], threads) is None
