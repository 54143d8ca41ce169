"""Functions without reduction: element-wise arithmetic, broadcasting, padding, and what ``moves`` finds irregular."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.tirx import BufferStore, ForKind, IterVar

from tvm_dwfuse.targets import CpuTarget

from .analysis import (
    inline_into_outputs,
    is_worth_threads,
    leaf_blocks,
    loads,
    reads_element_stored,
    schedule_of,
    substitute,
    variables,
)
from .index_maps import NotAnIndex, evaluate
from .loops import FlatViews, loop, nest, sequence, vectors, with_statements

#: Pieces that the last axis is cut into at most; beyond, a condition changes too often for vectors.
_MAX_PIECES = 8


def apply(func: tirx.PrimFunc, target: CpuTarget, threads: int) -> tirx.PrimFunc | None:
    """``func`` in vectors along its last axis, or along all axes as one; None if one of its blocks reduces.

    A condition on the last axis, such as a concat has, cuts that axis in pieces within which it is constant. Each
    piece has full vectors and one shorter one behind them, so that no vector needs a predicate.
    """
    sch = schedule_of(func, IterVar.DataPar)
    if sch is None:
        return None
    inline_into_outputs(sch)
    blocks = [sch.get(block) for block in leaf_blocks(sch)]
    flat = FlatViews()
    nests = [map_block(block, flat, target.lanes, threads) for block in blocks]
    return with_statements(func, [*flat.declarations(), *nests])


def map_block(block: s_tir.SBlock, flat: FlatViews, lanes: int, threads: int) -> tirx.Stmt:
    """Loops that compute the whole output of a block without reduction."""
    shape = [int(extent) for extent in block.body.buffer.shape]
    parallel = is_worth_threads(math.prod(shape), threads)
    if _is_flat(block):
        return _flat_map(block.body, math.prod(shape), flat, lanes, parallel)
    *outer, last = [var.var for var in block.iter_vars]
    pieces = _pieces(block.body.value, last, shape[-1])

    def row(index: list[Expr]) -> tirx.Stmt:
        def element(i: Expr) -> tirx.Stmt:
            at = {**dict(zip(outer, index, strict=True)), last: i}
            value = substitute(block.body.value, at)
            return BufferStore(block.body.buffer, value, [*index, i])

        if len(pieces) > _MAX_PIECES:
            return loop(shape[-1], ForKind.SERIAL, element)
        return sequence(
            [stmt for first, end in pieces for stmt in vectors(first, end - first, lanes, lambda i, _: element(i))]
        )

    return nest(shape[:-1], parallel, row)


def _flat_map(store: BufferStore, size: int, flat: FlatViews, lanes: int, parallel: bool) -> tirx.Stmt:
    def element(i: Expr) -> tirx.Stmt:
        def read(load: TensorLoad) -> TensorLoad:
            return load if _is_scalar(load) else tirx.BufferLoad(flat.of(load.source), [i])

        value = tvm_ffi.structural_map(store.value, (TensorLoad, read))
        return BufferStore(flat.of(store.buffer), value, [i])

    return sequence(vectors(0, size, lanes, lambda i, _: element(i), ForKind.PARALLEL if parallel else ForKind.SERIAL))


def _pieces(value: Expr, last: tirx.Var, extent: int) -> list[tuple[int, int]]:
    """Ranges of the last axis within which no condition on it changes."""
    index = np.arange(extent)
    changes = np.zeros(extent - 1, dtype=bool)

    def visit(call: Call) -> None:
        if getattr(call.op, "name", None) != "prim.if_then_else":
            return
        for term in _terms(call.args[0]):
            try:
                chosen = np.broadcast_to(evaluate(term, {last: index}), extent)
            except NotAnIndex:
                continue
            changes[:] |= chosen[1:] != chosen[:-1]

    tvm_ffi.structural_walk(value, (Call, visit))
    cuts = [0, *(np.flatnonzero(changes) + 1), extent]
    return [(int(first), int(end)) for first, end in pairwise(cuts)]


def _terms(condition: Expr) -> list[Expr]:
    if isinstance(condition, (tirx.And, tirx.Or)):
        return [*_terms(condition.a), *_terms(condition.b)]
    return [condition]


def _is_flat(block: s_tir.SBlock) -> bool:
    """Whether every access is to the element stored, or to one that is the same everywhere."""
    store = block.body
    arithmetic = tvm_ffi.structural_map(store.value, (TensorLoad, lambda load: tirx.const(0, load.ty.dtype)))
    if variables(arithmetic) & {var.var for var in block.iter_vars}:
        return False
    return all(_is_scalar(load) or reads_element_stored(load, block) for load in loads(store.value))


def _is_scalar(load: TensorLoad) -> bool:
    return all(isinstance(index, tirx.IntImm) for index in load.indices)
