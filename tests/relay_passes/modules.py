"""Relax modules written as Python expressions, for Before/Expected tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

Emit = Callable[[relax.Expr], relax.Var]
Body = Callable[..., "relax.Expr | list[relax.Expr]"]


def build(body: Body, **shapes: tuple[int, ...]) -> tvm.IRModule:
    """The module whose ``main`` binds what ``body(emit, *parameters)`` emits and returns what it returns."""
    builder = relax.BlockBuilder()
    params = [relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in shapes.items()]
    with builder.function("main", params):
        with builder.dataflow():
            result = body(builder.emit, *params)
            if isinstance(result, list):
                result = relax.Tuple(result)
            output = builder.emit_output(result)
        builder.emit_func_output(output)
    return builder.get()


def const(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> relax.Expr:
    """A seeded constant of that shape."""
    return relax.const(array(*shape, seed=seed, low=low, high=high))


def array(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """The value of :func:`const`."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype("float32")


def assert_rewritten(passed: tvm.ir.transform.Pass, before: tvm.IRModule, expected: tvm.IRModule) -> None:
    """``passed`` makes ``expected`` of ``before``, and of ``expected`` itself."""
    untouched = before.script()
    tvm.ir.assert_structural_equal(passed(before), expected)
    tvm.ir.assert_structural_equal(passed(expected), expected)
    assert before.script() == untouched


def assert_left_alone(passed: tvm.ir.transform.Pass, module: tvm.IRModule) -> None:
    """``passed`` changes nothing."""
    tvm.ir.assert_structural_equal(passed(module), module)
