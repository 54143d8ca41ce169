"""SimplifyInference: what does nothing at inference is taken out."""

from __future__ import annotations

import tvm
from tvm import relax

from .dataflow import is_scalar, static_shape
from .rewrite import Rewrite, constant, constant_array, op_name, rewrite_function

_RESHAPES = ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims")


@relax.transform.function_pass(opt_level=0, name="SimplifyInference")
class SimplifyInference:
    """Removes dropout, and reshapes, transposes and casts that change nothing; merges those in a row.

    ``flatten``, ``squeeze`` and ``expand_dims`` become ``reshape``, so does a ``permute_dims`` that only moves
    dimensions of size 1. Pads of nothing, additions of 0 and multiplications by 1 go too. Only static shapes are
    touched.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` simplified."""
        return rewrite_function(func, mod, _simplify)


def _simplify(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    if isinstance(expr, relax.TupleGetItem):
        dropout = rewrite.call(expr.tuple_value, "relax.nn.dropout")
        return dropout.args[0] if dropout is not None and expr.index == 0 else None
    name = op_name(expr)
    if name in _RESHAPES:
        return _simplify_reshape(expr, rewrite)
    if name == "relax.permute_dims":
        return _simplify_permute(expr, rewrite)
    if name == "relax.astype":
        return expr.args[0] if str(expr.args[0].ty.dtype) == str(expr.attrs.dtype) else None
    if name == "relax.nn.pad":
        return None if any(expr.attrs.pad_width) else expr.args[0]
    if name in ("relax.add", "relax.multiply"):
        return _without_neutral_operand(expr, 0 if name == "relax.add" else 1)
    return None


def _simplify_reshape(call: relax.Call, rewrite: Rewrite) -> relax.Expr | None:
    shape = static_shape(call)
    if shape is None:
        return None
    source = call.args[0]
    while (inner := rewrite.call(source, *_RESHAPES)) is not None:
        source = inner.args[0]
    array = constant_array(source)
    if array is not None:
        return constant(array.reshape(shape))
    return source if static_shape(source) == shape else relax.op.reshape(source, shape)


def _simplify_permute(call: relax.Call, rewrite: Rewrite) -> relax.Expr | None:
    shape = static_shape(call)
    if shape is None:
        return None
    source, axes = call.args[0], permutation(call)
    while (inner := rewrite.call(source, "relax.permute_dims")) is not None:
        inner_axes = permutation(inner)
        source, axes = inner.args[0], [inner_axes[axis] for axis in axes]
    array = constant_array(source)
    if array is not None:
        return constant(array.transpose(axes))
    source_shape = static_shape(source)
    if axes == sorted(axes):
        return source
    if source_shape is not None and moves_only_unit_dims(source_shape, axes):
        return relax.op.reshape(source, shape)
    return relax.op.permute_dims(source, axes)


def permutation(call: relax.Call) -> list[int]:
    """The axes of a ``permute_dims`` call, none of them negative."""
    rank = call.args[0].ty.ndim
    if call.attrs.axes is None:
        return list(reversed(range(rank)))
    return [int(axis) % rank for axis in call.attrs.axes]


def moves_only_unit_dims(shape: tuple[int, ...], axes: list[int]) -> bool:
    """Whether a permutation of a tensor of that shape leaves the order of its elements as it is."""
    moved = [axis for axis in axes if shape[axis] != 1]
    return moved == sorted(moved)


def _without_neutral_operand(call: relax.Call, neutral: float) -> relax.Expr | None:
    for kept, other in (call.args, reversed(call.args)):
        if is_scalar(other, neutral) and static_shape(kept) == static_shape(call) is not None:
            return kept
    return None
