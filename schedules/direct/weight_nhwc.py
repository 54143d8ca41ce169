"""The weight gradient in NHWC: lanes along channels, strips of rows walked along the width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, For, ForKind

from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets import CpuTarget

from ..lanes import Window, broadcast, ramp, shuffle, zeros
from ..loops import int64, loop, nest, sequence
from ..prefetching import request
from .axis import Piece, cover
from .streaming import LINE_BYTES, streams
from .weight_problem import Problem, StripBody, share, strip_loops
from .weight_sweep import (
    Loads,
    Meetings,
    Operands,
    Positions,
    Sums,
    Sweep,
    Walk,
    get,
    put,
)
from .weight_tile import WeightTile, row_multiplications

#: What runs inside the loop over vectors of channels: everything, one image, or one strip of rows.
_Scope = Literal["batch", "image", "strip"]


def _scope(conv: Depthwise, target: CpuTarget) -> _Scope:
    """The most that leaves the cache lines of a vector in half of the L2 cache for the vectors that share them.

    To have everything inside saves loading and storing the sums.
    """
    (out_h, out_w), lines = conv.out_size, target.l2_bytes // 2 // LINE_BYTES
    pixels = conv.height * conv.width + out_h * out_w
    if conv.batch * pixels <= lines:
        return "batch"
    return "image" if pixels <= lines else "strip"


#: Columns between a load and the request for a later one: their 9 multiplications a row cover the latency of DRAM.
_AHEAD = 8


def _ahead(problem: Problem, lanes: int, target: CpuTarget) -> int:
    """How many columns ahead to prefetch, 0 for not at all.

    It doubles the speed where the operands come from DRAM, and costs a few percent where they come from a cache.
    """
    worth = streams(problem.conv, lanes, target, caches=8) and problem.columns.outputs > 2 * _AHEAD
    return _AHEAD if worth else 0


@dataclass(frozen=True)
class _Strip(Operands):
    """Rows of one vector of channels, ``x`` and ``dy`` being offsets of this vector in the image (or of a strip)."""

    problem: Problem
    lanes: int
    inputs: list[int]
    outputs: range
    x: Expr
    dy: Expr
    ahead: int

    def loads(self, moved: Expr | None, steps: Positions) -> Loads:
        """Loads with constant offsets from ``moved`` columns further; those in a loop ask for later columns, too."""
        conv, x, dy = self.problem.conv, self.x, self.dy
        if moved is not None:
            x = x + moved * int64(conv.stride[1] * conv.channels)
            dy = dy + moved * int64(conv.out_channels)
        ahead = 0 if moved is None else self.ahead
        return _StripLoads(self, Window(self.problem.x, x), Window(self.problem.dy, dy), ahead)


class _StripLoads(Loads):
    """Constant offsets in windows on both operands."""

    def __init__(self, strip: _Strip, x: Window, dy: Window, ahead: int) -> None:
        self._strip = strip
        self._x = x
        self._dy = dy
        self._ahead = ahead
        self._requests: list[tirx.Stmt] = []

    @property
    def statements(self) -> list[tirx.Stmt]:
        return [*self._x.statements, *self._dy.statements, *self._requests]

    def x(self, stream: int, position: int) -> Expr:
        conv, lanes = self._strip.problem.conv, self._strip.lanes
        offset = (self._strip.inputs[stream] * conv.width + position) * conv.channels
        self._request(self._x, offset, conv.stride[1] * conv.channels)
        vector = self._x.load(offset, max(1, lanes // conv.multiplier))
        if conv.multiplier == 1:
            return vector
        if lanes <= conv.multiplier:
            return broadcast(vector, lanes)
        return shuffle([vector], [lane // conv.multiplier for lane in range(lanes)])

    def dy(self, stream: int, position: int) -> Expr:
        problem = self._strip.problem
        pixel = self._strip.outputs[stream] * problem.columns.outputs + position
        offset = pixel * problem.conv.out_channels
        self._request(self._dy, offset, problem.conv.out_channels)
        return self._dy.load(offset, self._strip.lanes)

    def _request(self, window: Window, offset: int, column: int) -> None:
        if self._ahead:
            self._requests.append(request(window.load(offset + self._ahead * column, 1)))


@dataclass(frozen=True)
class _Channels:
    """A vector of channels from ``first`` on, and the sums of a group of rows of the filter."""

    first: Expr
    group: range
    sums: Sums


class PixelLoops:
    """Writes the loops over images, strips of rows and vectors of channels."""

    def __init__(self, problem: Problem, tile: WeightTile, target: CpuTarget, threads: int) -> None:
        self._problem = problem
        self._conv = conv = problem.conv
        self._tile = tile
        self._strips = cover(problem.rows, tile.streams)
        self._walk = Walk(problem.columns)
        self._lanes = tile.lanes
        self._vectors = -(-conv.out_channels // self._lanes)
        self._parallel = threads > 1
        self._shares = share(
            self._vectors,
            conv.batch * sum(strip.count for strip in self._strips),
            threads,
        )
        self._scope: _Scope = _scope(conv, target) if self._vectors > 1 else "batch"
        self._ahead = _ahead(problem, self._lanes, target)
        self._partial = self._partial_sums()

    @property
    def multiplications(self) -> int:
        """Vector multiplications that are written out."""
        return row_multiplications(self._problem.rows, self._problem.columns, self._tile)

    def statements(self) -> list[tirx.Stmt]:
        """The whole kernel."""
        shares = self._shares

        def task(index: list[Expr]) -> tirx.Stmt:
            return self._task(*index)

        work = nest([shares.splits, shares.chunks], self._parallel, task)
        if self._partial is None:
            return [work]
        return [tirx.AllocBuffer(self._partial), work, self._add_up(self._partial)]

    def _partial_sums(self) -> tirx.Buffer | None:
        """Where sums wait for others, (splits, taps and bias, vectors, lanes); None if each is done in one go."""
        if self._scope == "batch" and self._shares.splits == 1:
            return None
        return tirx.decl_buffer(
            [int64(self._shares.splits * self._results * self._vectors * self._lanes)],
            "float32",
            "sums",
            layout=None,
        )

    @property
    def _results(self) -> int:
        return self._problem.taps + (self._problem.db is not None)

    def _task(self, split: Expr, chunk: Expr) -> tirx.Stmt:
        def strips(image: Expr, body: StripBody) -> tirx.Stmt:
            return strip_loops(self._strips, image, split, self._shares.splits, body)

        def each_image(body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
            return loop(self._conv.batch, ForKind.SERIAL, body, "image")

        def each_vector(body: Callable[[_Channels], tirx.Stmt]) -> tirx.Stmt:
            return self._each_vector(split, chunk, body)

        def all_strips(image: Expr, channels: _Channels) -> tirx.Stmt:
            return strips(image, lambda strip, index: self._sweep(strip, index, image, channels))

        def one_strip(image: Expr, strip: Piece, index: Expr) -> tirx.Stmt:
            return each_vector(lambda channels: self._sweep(strip, index, image, channels))

        if self._scope == "batch":
            return each_vector(lambda channels: each_image(lambda image: all_strips(image, channels)))
        clear = self._clear(split, chunk)
        if self._scope == "image":
            work = each_image(lambda image: each_vector(lambda channels: all_strips(image, channels)))
        else:
            work = each_image(lambda image: strips(image, lambda strip, index: one_strip(image, strip, index)))
        return sequence([clear, work])

    def _in_chunk(self, chunk: Expr, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
        """``body`` of each vector of a chunk."""
        chunks = self._shares.chunks
        if self._vectors % chunks == 0:
            size = self._vectors // chunks
            return loop(size, ForKind.SERIAL, lambda i: body(chunk * int64(size) + i), "vector")
        begin, end = (tirx.floordiv((chunk + int64(i)) * int64(self._vectors), int64(chunks)) for i in (0, 1))
        var = tirx.Var("vector", "int64")
        return For(var, int64(0), end - begin, ForKind.SERIAL, body(begin + var))

    def _each_vector(self, split: Expr, chunk: Expr, body: Callable[[_Channels], tirx.Stmt]) -> tirx.Stmt:
        def one(vector: Expr) -> tirx.Stmt:
            statements = []
            for group in self._tile.groups:
                taps = [(i, j) for i in group for j in range(self._walk.axis.taps)]
                sums = Sums(taps, self._problem.db is not None and group.start == 0, self._lanes)
                work = body(_Channels(self._first_channel(vector), group, sums))
                statements += [*sums.start(), work, *self._store(split, vector, sums)]
            return sequence(statements)

        return self._in_chunk(chunk, one)

    def _first_channel(self, vector: Expr) -> Expr:
        """The last vector overlaps the one before it where they do not come out even."""
        start, channels = vector * int64(self._lanes), self._conv.out_channels
        return start if channels % self._lanes == 0 else tirx.min(start, int64(channels - self._lanes))

    def _sweep(self, strip: Piece, index: Expr, image: Expr, channels: _Channels) -> tirx.Stmt:
        conv, rows, columns, channel = (
            self._conv,
            self._problem.rows,
            self._problem.columns,
            channels.first,
        )
        inputs, meetings = self._meetings(strip, channels.group)
        in_row, out_row = (
            conv.width * conv.channels,
            columns.outputs * conv.out_channels,
        )
        row = index * int64(strip.size)
        x = image * int64(conv.height * in_row) + row * int64(rows.in_step * in_row)
        x += tirx.floordiv(channel, int64(conv.multiplier)) if conv.multiplier > 1 else channel
        dy = (image * int64(rows.outputs) + row) * int64(out_row) + channel
        outputs = range(strip.first, strip.first + strip.size)
        operands = _Strip(self._problem, self._lanes, inputs, outputs, x, dy, self._ahead)
        return Sweep(self._walk, strip.size, meetings, operands, channels.sums).statement()

    def _meetings(self, strip: Piece, group: range) -> tuple[list[int], Meetings]:
        """The input rows of the first of these strips, and the gradients that each meets."""
        met: dict[int, list[tuple[int, int]]] = {}
        for number in range(strip.size):
            for tap, source in self._problem.rows.reads(strip.first + number):
                if tap in group:
                    met.setdefault(source, []).append((number, tap))
        inputs = sorted(met)
        return inputs, [met[source] for source in inputs]

    def _places(self, sums: Sums) -> list[tuple[int, tirx.Buffer]]:
        """The number of each sum in a filter, the bias behind the last tap."""
        columns = self._walk.axis.taps
        places = [(i * columns + j, vector) for (i, j), vector in sums.taps.items()]
        return [
            *places,
            *([(self._problem.taps, sums.bias)] if sums.bias is not None else []),
        ]

    def _store(self, split: Expr, vector: Expr, sums: Sums) -> list[tirx.Stmt]:
        if self._partial is None:
            return [self._put_result(number, vector, get(total)) for number, total in self._places(sums)]
        statements: list[tirx.Stmt] = []
        for number, total in self._places(sums):
            at = [self._partial_at(split, int64(number), vector)]
            before = tirx.BufferLoad(self._partial, at)
            value = get(total) if self._scope == "batch" else before + get(total)
            statements.append(BufferStore(self._partial, value, at))
        return statements

    def _partial_at(self, split: Expr, number: Expr, vector: Expr) -> Expr:
        first = (split * int64(self._results) + number) * int64(self._vectors) + vector
        return ramp(first * int64(self._lanes), self._lanes)

    def _put_result(self, number: Expr | int, vector: Expr, value: Expr) -> tirx.Stmt:
        channel = self._first_channel(vector)
        if isinstance(number, int) and number == self._problem.taps:
            return BufferStore(self._problem.db, value, [ramp(channel, self._lanes)])
        at = number * int64(self._conv.out_channels) + channel
        return BufferStore(self._problem.dw, value, [ramp(at, self._lanes)])

    def _clear(self, split: Expr, chunk: Expr) -> tirx.Stmt:
        def one(vector: Expr) -> tirx.Stmt:
            return loop(
                self._results,
                ForKind.SERIAL,
                lambda number: BufferStore(
                    self._partial,
                    zeros(self._lanes),
                    [self._partial_at(split, number, vector)],
                ),
                "result",
            )

        return self._in_chunk(chunk, one)

    def _add_up(self, partial: tirx.Buffer) -> tirx.Stmt:
        """The results from the partial sums of all splits."""

        def one(number: Expr | int, vector: Expr) -> tirx.Stmt:
            at = int64(number) if isinstance(number, int) else number
            sums = Sums([(0, 0)], False, self._lanes)
            total = sums.taps[0, 0]

            def add(split: Expr) -> tirx.Stmt:
                return put(
                    total,
                    get(total) + tirx.BufferLoad(partial, [self._partial_at(split, at, vector)]),
                )

            splits = loop(self._shares.splits, ForKind.SERIAL, add, "split")
            return sequence([*sums.start(), splits, self._put_result(number, vector, get(total))])

        def each_vector(number: Expr | int) -> tirx.Stmt:
            return loop(
                self._vectors,
                ForKind.SERIAL,
                lambda vector: one(number, vector),
                "vector",
            )

        taps = loop(self._problem.taps, ForKind.SERIAL, each_vector, "tap")
        return sequence(
            [
                taps,
                *([each_vector(self._problem.taps)] if self._problem.db is not None else []),
            ]
        )
