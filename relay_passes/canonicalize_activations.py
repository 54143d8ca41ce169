"""CanonicalizeActivations: one spelling for each activation, whatever the exporter wrote."""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax, tirx

from .rewrite import Rewrite, constant_array, op_name, rewrite_function

_INF = math.inf

#: What exporters write for 1/6, such as 0.1666667, is taken for 1/6 within this.
_SIXTH_TOLERANCE = 1e-6


@relax.transform.function_pass(opt_level=0, name="CanonicalizeActivations")
class CanonicalizeActivations:
    """Rewrites activations to the forms that the patterns know.

    - ``nn.relu(x)`` for a maximum with 0 and for a clip to [0, inf);
    - ``clip(x, low, high)`` for nested maximum, minimum, relu and clip with constant bounds;
    - ``clip(x * 1/6 + 1/2, 0, 1)``, hardsigmoid, for clip(x + 3, 0, 6) / 6 and the like;
    - ``x * hardsigmoid(x)``, hardswish, for x * clip(x + 3, 0, 6) / 6 in any order;
    - ``nn.silu(x)`` for x * sigmoid(x).

    An inner call with another reader is computed for that reader as before.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` with canonical activations."""
        return rewrite_function(func, mod, _canonicalize)


def _canonicalize(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    name = op_name(expr)
    if name in ("relax.maximum", "relax.minimum", "relax.clip", "relax.nn.relu6"):
        return _canonicalize_clip(expr, rewrite)
    if name in ("relax.multiply", "relax.divide"):
        return _canonicalize_product(expr, rewrite)
    return None


def _canonicalize_clip(call: relax.Call, rewrite: Rewrite) -> relax.Expr | None:
    if not _is_float(call):
        return None
    range_ = _clipped(call)
    if range_ is None:
        return None
    data, low, high = range_
    while (inner := _clipped(rewrite.value(data))) is not None:
        data, inner_low, inner_high = inner
        low, high = min(max(inner_low, low), high), max(min(inner_high, high), low)
    affine = _affine(data, rewrite)
    if affine is not None and (low, high) == (0, 1) and _is_hardsigmoid(*affine[1:]):
        return _hardsigmoid(affine[0], rewrite)
    return _clip(data, low, high)


def _clip(data: relax.Expr, low: float, high: float) -> relax.Expr:
    # Some exporters write the largest float for a bound that is not there.
    largest = np.finfo(str(data.ty.dtype)).max
    low, high = -_INF if low <= -largest else low, _INF if high >= largest else high
    if (low, high) == (-_INF, _INF):
        return data
    if (low, high) == (0, _INF):
        return relax.op.nn.relu(data)
    if high == _INF:
        return relax.op.maximum(data, relax.const(low, str(data.ty.dtype)))
    if low == -_INF:
        return relax.op.minimum(data, relax.const(high, str(data.ty.dtype)))
    return relax.op.clip(data, _literal(low), _literal(high))


def _literal(value: float) -> relax.Expr:
    is_small_integer = abs(value) < 2**31 and value == int(value)
    return relax.prim_value(int(value) if is_small_integer else tirx.FloatImm("float64", value))


def _canonicalize_product(call: relax.Call, rewrite: Rewrite) -> relax.Expr | None:
    """x * sigmoid(x); x * clip(x + 3, 0, 6) * 1/6, however it is put in brackets."""
    if not _is_float(call):
        return None
    factors, scale = _factors(call, rewrite)
    if len(factors) == 1:
        gate = _gate(factors[0], rewrite)
        return _hardsigmoid(gate, rewrite) if gate is not None and _is_sixth(scale) else None
    if len(factors) != 2:
        return None
    for data, other in (factors, reversed(factors)):
        sigmoid = rewrite.call(other, "relax.sigmoid")
        if sigmoid is not None and sigmoid.args[0].same_as(data) and scale == 1:
            return relax.op.nn.silu(data)
        gate = _gate(other, rewrite)
        if gate is not None and gate.same_as(data) and _is_sixth(scale):
            return relax.op.multiply(data, rewrite.emit(_hardsigmoid(data, rewrite)))
        if scale == 1 and _is_hardsigmoid_of(data, other, rewrite):
            return relax.op.multiply(data, other)
    return None


def _factors(expr: relax.Expr, rewrite: Rewrite, depth: int = 3) -> tuple[list[relax.Expr], float]:
    """The tensors whose product ``expr`` is, and the constant that multiplies them."""
    call = rewrite.call(expr, "relax.multiply", "relax.divide")
    if call is None or depth == 0:
        return [expr], 1.0
    left, right = call.args
    value = _scalar(right)
    if op_name(call) == "relax.divide":
        if value is None or value == 0:
            return [expr], 1.0
        factors, scale = _factors(left, rewrite, depth - 1)
        return factors, scale / value
    if value is None and _scalar(left) is not None:
        left, value = right, _scalar(left)
    if value is not None:
        factors, scale = _factors(left, rewrite, depth - 1)
        return factors, scale * value
    left_factors, left_scale = _factors(left, rewrite, depth - 1)
    right_factors, right_scale = _factors(right, rewrite, depth - 1)
    return left_factors + right_factors, left_scale * right_scale


def _gate(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    """x, if ``expr`` is clip(x + 3, 0, 6)."""
    clipped = _clipped(rewrite.value(expr))
    affine = _affine(clipped[0], rewrite) if clipped is not None and clipped[1:] == (0, 6) else None
    return affine[0] if affine is not None and affine[1:] == (1, 3) else None


def _hardsigmoid(data: relax.Expr, rewrite: Rewrite) -> relax.Expr:
    dtype = str(data.ty.dtype)
    product = rewrite.emit(relax.op.multiply(data, relax.const(1 / 6, dtype)))
    return relax.op.clip(rewrite.emit(relax.op.add(product, relax.const(0.5, dtype))), _literal(0), _literal(1))


def _is_hardsigmoid_of(data: relax.Expr, expr: relax.Expr, rewrite: Rewrite) -> bool:
    clipped = _clipped(rewrite.value(expr))
    affine = _affine(clipped[0], rewrite) if clipped is not None and clipped[1:] == (0, 1) else None
    return affine is not None and affine[0].same_as(data) and _is_hardsigmoid(*affine[1:])


def _is_hardsigmoid(slope: float, offset: float) -> bool:
    return _is_sixth(slope) and abs(offset - 0.5) <= _SIXTH_TOLERANCE


def _is_sixth(value: float) -> bool:
    return abs(value - 1 / 6) <= _SIXTH_TOLERANCE


def _clipped(expr: relax.Expr) -> tuple[relax.Expr, float, float] | None:
    """(x, low, high), if ``expr`` is x held between those constants; either may be infinite."""
    name = op_name(expr)
    if name == "relax.nn.relu":
        return expr.args[0], 0.0, _INF
    if name == "relax.nn.relu6":
        return expr.args[0], 0.0, 6.0
    if name == "relax.clip":
        low, high = _scalar(expr.args[1]), _scalar(expr.args[2])
        return None if low is None or high is None else (expr.args[0], low, high)
    if name not in ("relax.maximum", "relax.minimum"):
        return None
    for data, bound in (expr.args, reversed(expr.args)):
        value = _scalar(bound)
        if value is not None:
            return (data, value, _INF) if name == "relax.maximum" else (data, -_INF, value)
    return None


def _affine(expr: relax.Expr, rewrite: Rewrite) -> tuple[relax.Expr, float, float] | None:
    """(x, a, b), if ``expr`` is a * x + b for scalar constants, in any spelling; x is no such expression itself."""
    data, slope, offset = expr, 1.0, 0.0
    while (step := _affine_step(rewrite.value(data))) is not None:
        data, inner_slope, inner_offset = step
        slope, offset = slope * inner_slope, slope * inner_offset + offset
    return None if data.same_as(expr) else (data, slope, offset)


def _affine_step(expr: relax.Expr) -> tuple[relax.Expr, float, float] | None:
    name = op_name(expr)
    if name not in ("relax.add", "relax.subtract", "relax.multiply", "relax.divide"):
        return None
    data, value = expr.args[0], _scalar(expr.args[1])
    if value is None and name in ("relax.add", "relax.multiply"):
        data, value = expr.args[1], _scalar(expr.args[0])
    if value is None or (name == "relax.divide" and value == 0):
        return None
    steps = {
        "relax.add": (1.0, value),
        "relax.subtract": (1.0, -value),
        "relax.multiply": (value, 0.0),
        "relax.divide": (1 / value if value else 0.0, 0.0),
    }
    return (data, *steps[name])


def _scalar(expr: relax.Expr) -> float | None:
    """The value of a literal or of a constant of one element."""
    if isinstance(expr, (tirx.IntImm, tirx.FloatImm)):
        return float(expr.value)
    array = constant_array(expr)
    return float(array.reshape(())) if array is not None and array.size == 1 and array.ndim <= 1 else None


def _is_float(call: relax.Call) -> bool:
    return str(call.args[0].ty.dtype) in ("float16", "float32", "float64")
