"""Carry rows of an intermediate from one step to the next, so that none is computed twice.

A schedule that steps over rows recomputes, in each step, the rows that the previous one has already made. It marks
the loops concerned, and :func:`roll_rows` then keeps the intermediate in a ring of rows and skips those already there.
TVM's ``rolling_buffer`` primitive takes neither implicit padding nor rows split among threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr, Range, TensorLoad, TensorRegion
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import BufferLoad, BufferStore, For, IfThenElse, IterVar

_STEP, _CHUNK, _CARRY, _RING = "dwfuse.step", "dwfuse.chunk", "dwfuse.carry", "dwfuse.ring"


@dataclass(frozen=True)
class Ring:
    """``depth`` rows of an intermediate for each of ``chunks`` concurrent walks; ``axis`` is that of the rows."""

    axis: int
    depth: int
    chunks: int


def mark_ring(
    sch: s_tir.Schedule,
    block: s_tir.schedule.SBlockRV,
    rows: s_tir.schedule.LoopRV,
    step: s_tir.schedule.LoopRV,
    chunk: s_tir.schedule.LoopRV,
    ring: Ring,
    carried: int,
) -> None:
    """Mark ``block``'s output as a ring; loop ``rows`` covers one step's window, ``carried`` rows of it known already.

    ``step`` is the loop over steps of one walk and ``chunk`` the loop over (image, walk), walks innermost.
    """
    sch.annotate(step, _STEP, 1)
    sch.annotate(chunk, _CHUNK, ring.chunks)
    sch.annotate(rows, _CARRY, carried)
    sch.annotate(block, _RING, [ring.axis, ring.depth, ring.chunks])


def roll_rows(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Carry out what :func:`mark_ring` marked; a function without marks is returned as it is."""
    marked = _find_ring(func)
    if marked is None:
        return func
    buffer, ring = marked
    shape = list(buffer.shape)
    shape[ring.axis] = ring.depth * ring.chunks
    rolled = tirx.decl_buffer(shape, buffer.dtype, buffer.name, scope=buffer.scope())
    rewrite = _Rewrite(buffer, rolled, ring)
    return func.with_body(
        tvm_ffi.structural_mutate(
            func.body,
            (
                (For, rewrite.loop),
                (SBlockRealize, rewrite.realize),
                (SBlock, rewrite.block),
                (TensorLoad, rewrite.load),
                (BufferStore, rewrite.store),
            ),
        )
    )


def _find_ring(func: tirx.PrimFunc) -> tuple[tirx.Buffer, Ring] | None:
    found: list[tuple[tirx.Buffer, Ring]] = []

    def visit(block: SBlock) -> None:
        if _RING in block.annotations:
            found.append((block.writes[0].source, Ring(*(int(value) for value in block.annotations[_RING]))))

    tvm_ffi.structural_walk(func.body, (SBlock, visit))
    return found[0] if found else None


class _Rewrite:
    def __init__(self, buffer: tirx.Buffer, rolled: tirx.Buffer, ring: Ring) -> None:
        self._buffer = buffer
        self._rolled = rolled
        self._ring = ring
        self._step: tirx.Var | None = None
        self._written_row: tirx.Var | None = None
        self._walk: Expr = tirx.IntImm("int32", 0)

    def loop(self, loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        annotations = dict(loop.annotations)
        carried = annotations.pop(_CARRY, None)
        if annotations.pop(_STEP, None) is not None:
            self._step = loop.loop_var
        if annotations.pop(_CHUNK, None) is not None and self._ring.chunks > 1:
            self._walk = loop.loop_var % self._ring.chunks
        body = loop.body
        if carried is not None:
            body = IfThenElse(tirx.any(self._step == 0, loop.loop_var >= carried), body, None)
        loop = For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, annotations)
        return mutator.default_mutate(loop)

    def realize(self, realize: SBlockRealize, mutator: tvm_ffi.structural.StructuralMutator) -> SBlockRealize:
        """Give the producing block an iterator of its own for the row that it writes.

        TVM allocates a buffer outside of all loops that an opaque iterator in its index depends on: the ring has to
        outlive a step. What the block reads must not be indexed by that iterator, or it would outlive the step too.
        """
        if _RING not in realize.block.annotations:
            return mutator.default_mutate(realize)
        block, axis = realize.block, self._ring.axis
        row = block.iter_vars[axis]
        carried = IterVar(row.dom, tirx.Var("v_ring", row.var.ty), IterVar.Opaque)
        self._written_row = carried.var
        block = mutator.mutate(block)
        self._written_row = None
        iter_vars = [*block.iter_vars, carried]
        block = _with(block, iter_vars=iter_vars)
        return SBlockRealize([*realize.iter_values, realize.iter_values[axis]], realize.predicate, block)

    def block(self, block: SBlock, mutator: tvm_ffi.structural.StructuralMutator) -> SBlock:
        block = mutator.default_mutate(block)
        return _with(
            block,
            reads=[self._region(region) for region in block.reads],
            writes=[self._region(region) for region in block.writes],
            alloc_buffers=[self._rolled if buffer.same_as(self._buffer) else buffer for buffer in block.alloc_buffers],
            annotations={key: value for key, value in block.annotations.items() if key != _RING},
        )

    def load(self, load: TensorLoad, mutator: tvm_ffi.structural.StructuralMutator) -> TensorLoad:
        load = mutator.default_mutate(load)
        if not load.source.same_as(self._buffer):
            return load
        return BufferLoad(self._rolled, self._indices(load.indices))

    def store(self, store: BufferStore, mutator: tvm_ffi.structural.StructuralMutator) -> BufferStore:
        store = mutator.default_mutate(store)
        if not store.buffer.same_as(self._buffer):
            return store
        indices = list(store.indices)
        indices[self._ring.axis] = self._written_row
        return BufferStore(self._rolled, store.value, self._indices(indices))

    def _indices(self, indices: list[Expr]) -> list[Expr]:
        rolled = list(indices)
        row = rolled[self._ring.axis]
        rolled[self._ring.axis] = self._walk * self._ring.depth + tirx.floormod(row, self._ring.depth)
        return rolled

    def _region(self, region: TensorRegion) -> TensorRegion:
        if not region.source.same_as(self._buffer):
            return region
        ranges = list(region.region)
        if self._written_row is None:
            ranges[self._ring.axis] = Range.from_min_extent(0, self._ring.depth * self._ring.chunks)
        else:
            indices = [self._written_row] * len(ranges)
            ranges[self._ring.axis] = Range.from_min_extent(self._indices(indices)[self._ring.axis], 1)
        return tirx.BufferRegion(self._rolled, ranges)


def _with(block: SBlock, **changes: object) -> SBlock:
    """The block with some of its fields replaced."""
    names = (
        "iter_vars",
        "reads",
        "writes",
        "name_hint",
        "body",
        "init",
        "alloc_buffers",
        "match_buffers",
        "annotations",
    )
    return SBlock(**{name: changes.get(name, getattr(block, name)) for name in names})
