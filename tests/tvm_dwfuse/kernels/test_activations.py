from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from tests.reference import ACTIVATIONS
from tvm_dwfuse import blocks
from tvm_dwfuse.kernels.activations import APPLY, exp
from tvm_dwfuse.targets import host_target


def apply(function, x: np.ndarray) -> np.ndarray:
    source = te.placeholder(x.shape, "float32", name="x")
    func = te.create_prim_func([source, te.compute(x.shape, lambda i: function(source[i]), name="y")])
    library = tvm.compile(tvm.IRModule({"main": func}), target=host_target().tvm_target())
    y = tvm.runtime.tensor(np.empty_like(x))
    library["main"](tvm.runtime.tensor(x), y)
    return y.numpy()


def grid() -> np.ndarray:
    """Values around every kink and far beyond, both signs."""
    near = np.linspace(-8, 8, 4001)
    far = np.array([0.0, 1e-30, 1e-6, 20, 88, 90, 1e3, 1e30])
    return np.concatenate([near, far, -far]).astype(np.float32)


def test_every_activation_of_the_table_is_defined() -> None:
    assert set(APPLY) == set(blocks.ACTIVATIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", APPLY)
def test_activation_agrees_with_float64(name: str) -> None:
    x = grid()
    with np.errstate(over="ignore"):
        expected = ACTIVATIONS[name](x.astype(np.float64))
    actual = apply(APPLY[name], x)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7)


def test_exp_is_within_two_units_in_the_last_place() -> None:
    x = np.linspace(-86, 87, 20001).astype(np.float32)
    expected = np.exp(x.astype(np.float64))
    units = np.abs(apply(exp, x) - expected) / np.spacing(expected.astype(np.float32))
    assert units.max() <= 2


def test_exp_is_clamped_at_both_ends() -> None:
    low, high = apply(exp, np.array([-1000, 1000], np.float32))
    assert 0 < low < 1e-37
    assert 6e37 < high < np.inf


def test_sigmoid_saturates_without_nan() -> None:
    actual = apply(APPLY["sigmoid"], np.array([-np.inf, -200, 200, np.inf], np.float32))
    np.testing.assert_allclose(actual, [0, 0, 1, 1], atol=1e-30)


@pytest.mark.parametrize("name", APPLY)
def test_no_call_to_libm_is_left(name: str) -> None:
    source = te.placeholder((16,), "float32", name="x")
    func = te.create_prim_func([source, te.compute((16,), lambda i: APPLY[name](source[i]), name="y")])
    library = tvm.compile(tvm.IRModule({"main": func}), target=host_target().tvm_target())
    code = library.mod.inspect_source("ll")
    assert "define" in code
    for symbol in ("@exp", "@tanh", "llvm.exp", "@floorf"):
        assert symbol not in code
