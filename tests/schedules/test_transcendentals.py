"""Inlined exp, sigmoid, tanh and erf against numpy in float64, over their whole range."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm.ir import Call
from tvm.relax import op

from schedules import elementwise
from schedules.transcendentals import inline_transcendentals
from tests.schedules.legalized import TARGETS, legalized, run

FUNCTIONS = {
    "exp": (op.exp, np.exp, 1e-6, 0.0),
    "sigmoid": (op.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 1e-6, 1e-37),
    "silu": (op.nn.silu, lambda x: x / (1 + np.exp(-x)), 1e-6, 1e-35),
    "tanh": (op.tanh, np.tanh, 0.0, 3e-7),
    "erf": (op.erf, np.vectorize(math.erf), 0.0, 5e-7),
    "gelu": (op.nn.gelu, np.vectorize(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))), 1e-6, 2e-5),
}


def calls(func: tvm.tirx.PrimFunc) -> set[str]:
    found: list[str] = []
    tvm_ffi.structural_walk(func.body, (Call, lambda call: found.append(call.op.name)))
    return set(found)


def scheduled(build, size, dtype="float32"):
    return inline_transcendentals(elementwise.apply(legalized(build, (size,), dtype=dtype), TARGETS[0], 1))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    build, reference, rtol, atol = FUNCTIONS[name]
    x = np.concatenate([np.linspace(-87, 88, 2001), np.linspace(-4, 4, 2001), [0.0, -0.0]]).astype("float32")
    func = scheduled(build, len(x))
    assert not calls(func) & {"tirx.exp", "tirx.sigmoid", "tirx.tanh", "tirx.erf"}
    (result,) = run(func, TARGETS[0], x)
    np.testing.assert_allclose(result, reference(x.astype("float64")), rtol=rtol, atol=atol)


def test_exp_over_and_underflows():
    x = np.array([-1000.0, -110.0, 89.0, 1000.0], dtype="float32")
    (result,) = run(scheduled(op.exp, len(x)), TARGETS[0], x)
    np.testing.assert_array_equal(result, [0.0, 0.0, np.inf, np.inf])


def test_saturation():
    x = np.array([-1e4, 1e4], dtype="float32")
    for build, expected in ((op.tanh, [-1.0, 1.0]), (op.erf, [-1.0, 1.0]), (op.sigmoid, [0.0, 1.0])):
        (result,) = run(scheduled(build, len(x)), TARGETS[0], x)
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_other_dtypes_keep_their_calls():
    assert "tirx.exp" in calls(scheduled(op.exp, 8, "float64"))
