"""What the indices of a block come to, evaluated by numpy over its whole iteration space."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.ir import Call, Expr, TensorLoad

from .analysis import writes_whole_output

#: Largest output whose indices are evaluated: a few int64 arrays of this many elements are held at once.
_MAX_ELEMENTS = 1 << 23

_BINARY: dict[type, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    tirx.Add: operator.add,
    tirx.Sub: operator.sub,
    tirx.Mul: operator.mul,
    tirx.FloorDiv: operator.floordiv,
    tirx.FloorMod: operator.mod,
    tirx.Min: np.minimum,
    tirx.Max: np.maximum,
    tirx.LT: operator.lt,
    tirx.LE: operator.le,
    tirx.GT: operator.gt,
    tirx.GE: operator.ge,
    tirx.EQ: operator.eq,
    tirx.NE: operator.ne,
    tirx.And: np.logical_and,
    tirx.Or: np.logical_or,
}


class NotAnIndex(Exception):
    """An expression that is no integer function of the loops."""


@dataclass(frozen=True)
class Sources:
    """``out[i..] = buffers[which[i..]]``, read at the flat ``offset[i..]``; both arrays have ``shape``."""

    out: tirx.Buffer
    shape: tuple[int, ...]
    buffers: tuple[tirx.Buffer, ...]
    which: np.ndarray
    offset: np.ndarray


def copied_from(block: s_tir.SBlock) -> Sources | None:
    """Where each element that ``block`` stores is copied from; None if it is not a copy, or not of a whole output."""
    store = block.body
    if not isinstance(store, tirx.BufferStore) or not writes_whole_output(block, store):
        return None
    shape = tuple(int(var.dom.extent) for var in block.iter_vars)
    if np.prod(shape) > _MAX_ELEMENTS:
        return None
    axes = np.indices(shape, dtype=np.int64, sparse=True)
    env = {var.var: axis for var, axis in zip(block.iter_vars, axes, strict=True)}
    buffers: dict[tirx.Buffer, int] = {}
    try:
        which, offset = _trace(store.value, env, buffers)
    except NotAnIndex:
        return None
    if any(buffer.dtype != store.buffer.dtype for buffer in buffers):
        return None
    return Sources(store.buffer, shape, tuple(buffers), np.broadcast_to(which, shape), np.broadcast_to(offset, shape))


def evaluate(expr: Expr, env: Mapping[tirx.Var, np.ndarray]) -> np.ndarray:
    """The value of an integer or boolean expression at every point of ``env``.

    Raises:
        NotAnIndex: it reads a buffer, or calls a function.
    """
    if isinstance(expr, tirx.IntImm):
        return np.int64(int(expr))
    if isinstance(expr, tirx.Var) and expr in env:
        return env[expr]
    if isinstance(expr, tirx.Cast):
        return evaluate(expr.value, env)
    if isinstance(expr, tirx.Not):
        return np.logical_not(evaluate(expr.a, env))
    if type(expr) in _BINARY:
        return _BINARY[type(expr)](evaluate(expr.a, env), evaluate(expr.b, env))
    raise NotAnIndex(str(expr))


def _trace(
    value: Expr, env: Mapping[tirx.Var, np.ndarray], buffers: dict[tirx.Buffer, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(number of the buffer, flat offset in it) that ``value`` reads at every point."""
    if isinstance(value, TensorLoad):
        number = buffers.setdefault(value.source, len(buffers))
        return np.int64(number), _flat_offset(value, env)
    condition, yes, no = _choice(value)
    chosen = evaluate(condition, env)
    (which_yes, offset_yes), (which_no, offset_no) = _trace(yes, env, buffers), _trace(no, env, buffers)
    return np.where(chosen, which_yes, which_no), np.where(chosen, offset_yes, offset_no)


def _choice(value: Expr) -> tuple[Expr, Expr, Expr]:
    if isinstance(value, Call) and getattr(value.op, "name", None) == "prim.if_then_else":
        return tuple(value.args)
    if isinstance(value, tirx.Select):
        return value.condition, value.true_value, value.false_value
    raise NotAnIndex(str(value))


def _flat_offset(load: TensorLoad, env: Mapping[tirx.Var, np.ndarray]) -> np.ndarray:
    offset = np.int64(0)
    for index, extent in zip(load.indices, load.source.shape, strict=True):
        offset = offset * int(extent) + evaluate(index, env)
    return offset
