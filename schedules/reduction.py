"""Functions that reduce: pooling, means, softmax, and any other sum or maximum that has no kernel of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.tirx import BufferStore, ForKind, IterVar

from tvm_dwfuse.targets import CpuTarget

from .analysis import (
    has_only,
    is_worth_threads,
    leaf_blocks,
    loads,
    reads_element_stored,
    schedule_of,
    substitute,
    variables,
)
from .elementwise import map_block
from .loops import FlatViews, int64, loop, nest, sequence, vectors, with_statements

#: Vectors of accumulators per step: independent chains that hide the latency of an addition (4 cycles, Fog 2024).
_CHAINS = 4

#: Taps up to which a window is unrolled: 5 x 5.
_MAX_TAPS = 25

#: How partial results combine, and the value to start each from; None for any, as one more of it changes nothing.
_IDENTITY: dict[type, int | None] = {tirx.Add: 0, tirx.Mul: 1, tirx.Max: None, tirx.Min: None}


def apply(func: tirx.PrimFunc, target: CpuTarget, threads: int) -> tirx.PrimFunc | None:
    """``func`` block by block, sums held in vector registers; None if a block of it is of another form.

    A reduction is written along with the element-wise block behind it. Its vectors run along the last axis of its
    result, or, where that is not the one adjacent in memory (softmax), along the reduced axis.
    """
    sch = schedule_of(func, IterVar.DataPar, IterVar.CommReduce)
    if sch is None:
        return None
    _inline_cheap_blocks(sch)
    blocks = [sch.get(block) for block in leaf_blocks(sch)]
    if not all(has_only(block, IterVar.DataPar) or _Reduction.of(block).has_vector_axis for block in blocks):
        return None
    writer = _Writer(target.lanes, threads)
    statements = writer.stages(blocks)
    kept = sch.get(sch.get_sblock("root")).alloc_buffers
    used = [buffer for buffer in kept if buffer not in writer.in_registers]
    return with_statements(func, [*writer.flat.declarations(), *statements], used)


def _inline_cheap_blocks(sch: s_tir.Schedule) -> None:
    """Inline blocks without reduction, unless that would compute something costly again and again."""
    outputs = {sch.get(block).name_hint for block in sch.get_output_blocks(sch.get_sblock("root"))}
    for block in leaf_blocks(sch):
        node = sch.get(block)
        if node.name_hint in outputs or not has_only(node, IterVar.DataPar):
            continue
        readers = [sch.get(reader) for reader in sch.get_consumers(block)]
        if _is_cheap(node) or (len(readers) == 1 and has_only(readers[0], IterVar.DataPar)):
            sch.compute_inline(block)


def _is_cheap(block: s_tir.SBlock) -> bool:
    calls: list[str] = []
    tvm_ffi.structural_walk(block.body, (Call, lambda call: calls.append(getattr(call.op, "name", ""))))
    return all(name == "prim.if_then_else" for name in calls)


@dataclass(frozen=True)
class _Reduction:
    """``buffer[spatial] = value`` from ``init`` on, over all ``reduced``; ``value`` reads the buffer itself."""

    buffer: tirx.Buffer
    spatial: list[tirx.Var]
    reduced: list[tirx.Var]
    extents: dict[tirx.Var, int]
    init: Expr
    value: Expr

    @staticmethod
    def of(block: s_tir.SBlock) -> _Reduction:
        spatial = [var.var for var in block.iter_vars if var.iter_type == IterVar.DataPar]
        reduced = [var.var for var in block.iter_vars if var.iter_type == IterVar.CommReduce]
        extents = {var.var: int(var.dom.extent) for var in block.iter_vars}
        return _Reduction(block.body.buffer, spatial, reduced, extents, block.init.value, block.body.value)

    @property
    def shape(self) -> list[int]:
        return [self.extents[var] for var in self.spatial]

    @property
    def window(self) -> list[int]:
        return [self.extents[var] for var in self.reduced]

    @property
    def runs_along_memory(self) -> bool:
        """Whether vectors should run along the last reduced axis: it alone is adjacent in memory in what is read.

        Each lane then holds a part of the result, so the parts must be independent of ``init``.
        """
        last = self.reduced[-1]
        adjacent = [
            variables(load.indices[-1]) if load.indices else set()
            for load in loads(self.value)
            if not load.source.same_as(self.buffer)
        ]
        return self._combines_parts() and all(last in index and not index & set(self.spatial) for index in adjacent)

    def _combines_parts(self) -> bool:
        if type(self.value) not in _IDENTITY or not isinstance(self.init, (tirx.FloatImm, tirx.IntImm)):
            return False
        running, identity = self.value.a, _IDENTITY[type(self.value)]
        return (
            isinstance(running, TensorLoad)
            and running.source.same_as(self.buffer)
            and (identity is None or self.init.value == identity)
        )

    @property
    def has_vector_axis(self) -> bool:
        """Whether there is an axis for vectors to run along."""
        return bool(self.spatial) or self.runs_along_memory

    def step(self, at: dict[tirx.Var, Expr], accumulator: Expr) -> Expr:
        """``value`` at a point, the running result being ``accumulator``."""
        return _replace(self.value, at, self.buffer, accumulator)


class _Writer:
    """Writes the statements of the blocks of one function."""

    def __init__(self, lanes: int, threads: int) -> None:
        self._lanes = lanes
        self._threads = threads
        self.flat = FlatViews()
        self.in_registers: list[tirx.Buffer] = []

    def stages(self, blocks: list[s_tir.SBlock]) -> list[tirx.Stmt]:
        statements: list[tirx.Stmt] = []
        index = 0
        while index < len(blocks):
            block = blocks[index]
            index += 1
            if has_only(block, IterVar.DataPar):
                statements.append(map_block(block, self.flat, self._lanes, self._threads))
                continue
            reduction = _Reduction.of(block)
            epilogue = _epilogue(reduction, blocks[index:])
            if epilogue is not None:
                self.in_registers.append(reduction.buffer)
                index += 1
            statements.append(self._reduce(reduction, epilogue))
        return statements

    def _reduce(self, reduction: _Reduction, epilogue: s_tir.SBlock | None) -> tirx.Stmt:
        store = _store(reduction, epilogue)
        if reduction.runs_along_memory:
            return self._along_reduced_axis(reduction, store)
        return self._along_last_axis(reduction, store)

    def _is_parallel(self, reduction: _Reduction) -> bool:
        return is_worth_threads(math.prod(reduction.extents.values()), self._threads)

    def _along_last_axis(self, reduction: _Reduction, store: Store) -> tirx.Stmt:
        *outer, last = reduction.shape
        full, rest = divmod(last, self._lanes)
        parallel = self._is_parallel(reduction)
        alone = math.prod(outer) == 1
        chains = max(1, min(_CHAINS, full // self._threads if parallel and alone else full))
        groups, single = divmod(full, chains)

        def chunk(index: list[Expr], first: Expr, width: int, count: int) -> tirx.Stmt:
            return self._accumulate(reduction, store, index, first, width, count)

        def group(index: list[Expr]) -> tirx.Stmt:
            return chunk(index[:-1], index[-1] * int64(chains * self._lanes), self._lanes, chains)

        def tail(index: list[Expr]) -> list[tirx.Stmt]:
            first = groups * chains * self._lanes
            statements = [chunk(index, int64(first), self._lanes, single)] if single else []
            return [*statements, chunk(index, int64(full * self._lanes), rest, 1)] if rest else statements

        if alone:
            zero = [int64(0)] * len(outer)
            head = [nest([groups], parallel, lambda i: group([*zero, *i]))] if groups else []
            return sequence([*head, *tail(zero)])

        def pixel(index: list[Expr]) -> tirx.Stmt:
            head = [nest([groups], False, lambda i: group([*index, *i]))] if groups else []
            return sequence([*head, *tail(index)])

        return nest(outer, parallel, pixel)

    def _accumulate(
        self, reduction: _Reduction, store: Store, outer: list[Expr], first: Expr, width: int, count: int
    ) -> tirx.Stmt:
        """``count`` vectors of ``width`` results from ``first`` on, reduced in registers."""
        acc = _registers(reduction.buffer, width * count)

        def each(body: Callable[[Expr, Expr], tirx.Stmt]) -> tirx.Stmt:
            def vector(j: Expr) -> tirx.Stmt:
                base = j * int64(width)
                return loop(width, ForKind.VECTORIZED, lambda lane: body(base + lane, first + base + lane), "lane")

            return loop(count, ForKind.UNROLLED, vector, "chain")

        def tap(window: list[Expr]) -> tirx.Stmt:
            def update(slot: Expr, channel: Expr) -> tirx.Stmt:
                at = dict(zip([*reduction.spatial, *reduction.reduced], [*outer, channel, *window], strict=True))
                return BufferStore(acc, reduction.step(at, tirx.BufferLoad(acc, [slot])), [slot])

            return each(update)

        kind = ForKind.UNROLLED if math.prod(reduction.window) <= _MAX_TAPS else ForKind.SERIAL
        return sequence(
            [
                tirx.AllocBuffer(acc),
                each(lambda slot, _: BufferStore(acc, reduction.init, [slot])),
                nest(reduction.window, False, tap, kind),
                each(lambda slot, channel: store([*outer, channel], tirx.BufferLoad(acc, [slot]))),
            ]
        )

    def _along_reduced_axis(self, reduction: _Reduction, store: Store) -> tirx.Stmt:
        lanes = min(self._lanes, reduction.window[-1])
        combine = type(reduction.value)

        def row(index: list[Expr]) -> tirx.Stmt:
            acc, total = _registers(reduction.buffer, lanes), _registers(reduction.buffer, 1)
            zero = int64(0)

            def taps(window: list[Expr]) -> tirx.Stmt:
                def update(k: Expr, lane: Expr) -> tirx.Stmt:
                    at = dict(zip([*reduction.spatial, *reduction.reduced], [*index, *window, k], strict=True))
                    return BufferStore(acc, reduction.step(at, tirx.BufferLoad(acc, [lane])), [lane])

                return sequence(vectors(0, reduction.window[-1], lanes, update))

            def fold(lane: Expr) -> tirx.Stmt:
                return BufferStore(total, combine(tirx.BufferLoad(total, [zero]), tirx.BufferLoad(acc, [lane])), [zero])

            return sequence(
                [
                    tirx.AllocBuffer(acc),
                    tirx.AllocBuffer(total),
                    loop(lanes, ForKind.VECTORIZED, lambda lane: BufferStore(acc, reduction.init, [lane]), "lane"),
                    nest(reduction.window[:-1], False, taps),
                    BufferStore(total, reduction.init, [zero]),
                    loop(lanes, ForKind.SERIAL, fold, "lane"),
                    store(index, tirx.BufferLoad(total, [zero])),
                ]
            )

        return nest(reduction.shape, self._is_parallel(reduction), row)


#: Writes a reduced value to its place.
Store = Callable[[list[Expr], Expr], tirx.Stmt]


def _epilogue(reduction: _Reduction, rest: list[s_tir.SBlock]) -> s_tir.SBlock | None:
    """The next block, if it is the only reader of the reduction and reads it element by element."""
    readers = [block for block in rest if any(load.source.same_as(reduction.buffer) for load in loads(block.body))]
    if len(readers) != 1 or readers[0] is not rest[0] or not has_only(rest[0], IterVar.DataPar):
        return None
    block = rest[0]
    shape = [int(extent) for extent in block.body.buffer.shape]
    if shape != reduction.shape:
        return None
    for load in loads(block.body):
        if load.source.same_as(reduction.buffer) and not reads_element_stored(load, block):
            return None
    return block


def _store(reduction: _Reduction, epilogue: s_tir.SBlock | None) -> Store:
    if epilogue is None:
        return lambda index, value: BufferStore(reduction.buffer, value, index)
    iterators = [var.var for var in epilogue.iter_vars]

    def store(index: list[Expr], value: Expr) -> tirx.Stmt:
        at = dict(zip(iterators, index, strict=True))
        return BufferStore(epilogue.body.buffer, _replace(epilogue.body.value, at, reduction.buffer, value), index)

    return store


def _replace(expr: Expr, at: dict[tirx.Var, Expr], buffer: tirx.Buffer, value: Expr) -> Expr:
    """``expr`` at a point, with ``value`` in place of what it reads from ``buffer``."""
    moved = substitute(expr, at)
    return tvm_ffi.structural_map(moved, (TensorLoad, lambda load: value if load.source.same_as(buffer) else load))


def _registers(buffer: tirx.Buffer, size: int) -> tirx.Buffer:
    # Small buffers of global scope go on the stack, from where LLVM takes them into registers; TVM asks the runtime
    # for those of local scope, at every step.
    return tirx.decl_buffer([int64(size)], buffer.dtype, f"{buffer.name}_acc", layout=None)
