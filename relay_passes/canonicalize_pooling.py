"""CanonicalizePooling: every spelling of global average pooling becomes one mean over the pixels."""

from __future__ import annotations

import tvm
from tvm import relax

from .dataflow import static_shape
from .rewrite import Rewrite, op_name, rewrite_function

_SPATIAL_AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}


@relax.transform.function_pass(opt_level=0, name="CanonicalizePooling")
class CanonicalizePooling:
    """Turns global average pooling into ``mean(x, axis=spatial, keepdims=True)``.

    Known spellings: ``nn.avg_pool2d`` with a window of the whole image, ``nn.adaptive_avg_pool2d`` to 1x1, and
    ``mean`` with axes in any order or sign. A mean of an image that drops the axes is followed by a ``reshape``.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` with one form of global average pooling."""
        return rewrite_function(func, mod, _canonicalize)


def _canonicalize(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    name = op_name(expr)
    if name == "relax.nn.avg_pool2d" and _is_global(expr):
        return _global_mean(expr)
    if name == "relax.nn.adaptive_avg_pool2d" and _ints(expr.attrs.output_size or ()) == [1, 1]:
        return _global_mean(expr)
    if name == "relax.mean":
        return _canonicalize_mean(expr, rewrite)
    return None


def _is_global(pool: relax.Call) -> bool:
    shape, layout = static_shape(pool.args[0]), str(pool.attrs.layout)
    if shape is None or layout not in _SPATIAL_AXES:
        return False
    image = [shape[axis] for axis in _SPATIAL_AXES[layout]]
    return (
        _ints(pool.attrs.pool_size) == image
        and not any(_ints(pool.attrs.padding))
        and _ints(pool.attrs.dilation) == [1, 1]
    )


def _global_mean(pool: relax.Call) -> relax.Expr | None:
    layout = str(pool.attrs.layout)
    if layout not in _SPATIAL_AXES or str(pool.attrs.out_layout) != layout:
        return None
    return relax.op.mean(pool.args[0], list(_SPATIAL_AXES[layout]), keepdims=True)


def _canonicalize_mean(call: relax.Call, rewrite: Rewrite) -> relax.Expr | None:
    rank = call.args[0].ty.ndim
    shape = static_shape(call)
    if rank != 4 or shape is None or call.attrs.axis is None:
        return None
    axes = [int(axis) % rank for axis in call.attrs.axis]
    if sorted(axes) not in ([1, 2], [2, 3]) or (_ints(call.attrs.axis) == sorted(axes) and call.attrs.keepdims):
        return None
    mean = relax.op.mean(call.args[0], sorted(axes), keepdims=True)
    return mean if call.attrs.keepdims else relax.op.reshape(rewrite.emit(mean), shape)


def _ints(values: object) -> list[int]:
    return [int(value) for value in values]  # type: ignore[attr-defined]
