"""Element-wise activations as TIR expressions, of scalars or vectors, that vectorise: no call to libm."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import te, tirx
from tvm.ir import Expr as PrimExpr
from tvm_ffi import ObjectConvertible


def relu(x: PrimExpr) -> PrimExpr:
    """max(x, 0)."""
    return te.max(x, 0.0)


def relu6(x: PrimExpr) -> PrimExpr:
    """min(max(x, 0), 6)."""
    return te.min(te.max(x, 0.0), 6.0)


def hardsigmoid(x: PrimExpr) -> PrimExpr:
    """clip(x / 6 + 1/2, 0, 1), the form of MobileNetV3 (Howard et al. 2019, section 5.2)."""
    return te.min(te.max(x * (1.0 / 6.0) + 0.5, 0.0), 1.0)


def hardswish(x: PrimExpr) -> PrimExpr:
    """x hardsigmoid(x) (Howard et al. 2019, section 5.2)."""
    return _let(x, lambda v: v * hardsigmoid(v))


def _let(value: PrimExpr, body: Callable[[PrimExpr], PrimExpr]) -> PrimExpr:
    """``body(value)`` with ``value`` evaluated once: expressions are trees, and reuse would double them."""
    value = _expression(value)
    var = tirx.Var("v", value.ty)
    return tirx.Let(var, value, body(var))


def _expression(value: PrimExpr) -> PrimExpr:
    """``value`` itself; an element of a ``te`` tensor becomes an expression, which has a type."""
    return value.asobject() if isinstance(value, ObjectConvertible) else value


def _with_lanes(dtype: str, x: PrimExpr) -> str:
    lanes = x.ty.dtype.lanes
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def exp(x: PrimExpr) -> PrimExpr:
    """e^x for float32 to about 2 ulp, clamped to +-87: range reduction by ln 2, then a polynomial of degree 5.

    The split of ln 2 and the coefficients are those of Cephes' ``expf`` (Moshier, netlib).
    """

    x = _expression(x)

    def power_of_two(n: PrimExpr) -> PrimExpr:
        return tirx.reinterpret(x.ty, (n.astype(_with_lanes("int32", x)) + 127) << 23)

    def polynomial(r: PrimExpr) -> PrimExpr:
        poly: PrimExpr = tirx.const(1.9875691500e-4, "float32")
        for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5):
            poly = poly * r + coefficient
        return poly * r * r + r + 1.0

    def reduced(x: PrimExpr) -> PrimExpr:
        return _let(
            tirx.floor(x * (1.0 / math.log(2.0)) + 0.5),
            lambda n: _let(x - n * 0.693359375 - n * -2.12194440e-4, polynomial) * power_of_two(n),
        )

    return _let(te.min(te.max(x, -87.0), 87.0), reduced)


def sigmoid(x: PrimExpr) -> PrimExpr:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(0.0 - x))


def silu(x: PrimExpr) -> PrimExpr:
    """x sigmoid(x), also called Swish."""
    return _let(x, lambda v: v / (1.0 + exp(0.0 - v)))


#: By the names of :data:`tvm_dwfuse.blocks.ACTIVATIONS`.
APPLY: dict[str, Callable[[PrimExpr], PrimExpr]] = {
    "relu": relu,
    "relu6": relu6,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "sigmoid": sigmoid,
    "silu": silu,
}
