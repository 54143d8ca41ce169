from __future__ import annotations

import numpy as np
import pytest

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.artifact import TensorInfo
from tvm_dwfuse.network import Timing, check_inputs, random_inputs

X = TensorInfo("x", (2, 3), "float32")
N = TensorInfo("n", (1,), "int64")


def test_one_input_needs_no_name() -> None:
    (array,) = check_inputs([X], np.ones((3, 2), np.float32).T)
    assert array.shape == (2, 3)
    assert array.flags.c_contiguous


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.ones((3, 2), np.float32), r"input 'x': shape \[3, 2\] given, \[2, 3\] expected"),
        (np.ones((2, 3)), "input 'x': dtype float64 given, float32 expected"),
        ({"y": np.ones(1)}, "input 'y': the network has no such input; it has x"),
        ({}, r"input 'x': missing; expected x float32\[2, 3\]"),
    ],
)
def test_bad_inputs(inputs: object, message: str) -> None:
    with pytest.raises(DwfuseError, match=message):
        check_inputs([X], inputs)


def test_several_inputs_need_names() -> None:
    with pytest.raises(DwfuseError, match="one array given, 2 inputs expected"):
        check_inputs([X, N], np.ones(1))


def test_random_inputs_are_seeded() -> None:
    first, again, other = random_inputs([X, N]), random_inputs([X, N]), random_inputs([X, N], seed=1)
    np.testing.assert_array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])
    assert first["x"].dtype == np.float32
    assert first["n"].tolist() == [0]


def test_timing() -> None:
    timing = Timing((0.003, 0.001, 0.002))
    assert timing.median_ms == pytest.approx(2)
    assert timing.min_ms == pytest.approx(1)
