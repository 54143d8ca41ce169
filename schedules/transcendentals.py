"""Calls to libm replaced by expressions that vectorise: a call in a vector loop is made lane by lane."""

from __future__ import annotations

from collections.abc import Callable

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr

from tvm_dwfuse.kernels import activations


def inline_transcendentals(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """``func`` with exp, sigmoid, tanh and erf of float32 as arithmetic, to a few units in the last place of 1."""

    def replace(call: Call) -> Expr:
        body = _INLINE.get(getattr(call.op, "name", ""))
        return call if body is None or call.ty.dtype != "float32" else body(call.args[0])

    return func.with_body(tvm_ffi.structural_map(func.body, (Call, replace)))


def _exp(x: Expr) -> Expr:
    """(e^(x/2))^2: ``activations.exp`` saturates at e^+-87, its square over- and underflows as exp does."""
    return _let(activations.exp(x * 0.5), lambda root: root * root)


def _tanh(x: Expr) -> Expr:
    """2 sigmoid(2x) - 1."""
    return 2.0 * activations.sigmoid(x * 2.0) - 1.0


def _erf(x: Expr) -> Expr:
    """Abramowitz and Stegun 1964, formula 7.1.26, for |x|; erf is odd. Its error is below 1.5e-7."""
    coefficients = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)

    def polynomial(t: Expr) -> Expr:
        total: Expr = tirx.const(0.0, "float32")
        for coefficient in coefficients:
            total = (total + coefficient) * t
        return total

    def of_magnitude(a: Expr) -> Expr:
        return 1.0 - _let(1.0 / (a * 0.3275911 + 1.0), polynomial) * activations.exp(0.0 - a * a)

    def odd(v: Expr) -> Expr:
        magnitude = _let(tirx.max(v, 0.0 - v), of_magnitude)
        return _let(magnitude, lambda m: tirx.Select(v < 0.0, 0.0 - m, m))

    return _let(x, odd)


def _let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    var = tirx.Var("t", "float32")
    return tirx.Let(var, value, body(var))


_INLINE: dict[str, Callable[[Expr], Expr]] = {
    "tirx.exp": _exp,
    "tirx.sigmoid": activations.sigmoid,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
}
