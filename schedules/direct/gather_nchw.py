"""Gathering procedures in NCHW: vectors run along the width of one plane, planes run in parallel."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind

from ..lanes import Span, Window, broadcast, gather, ramp, shuffle, zeros
from ..loops import bind, int64, loop, nest, sequence
from .axis import Axis, Piece, cover
from .gather import Column, Gather, GatherTile, Place, Places, tile_statement

#: Vectors from a pointer that ``ldp`` and ``stp`` reach, which take two at once (Arm ARM C6.2, LDP).
_PAIR_REACH = 64


def plane_loops(problem: Gather, tile: GatherTile, parallel: bool) -> tirx.Stmt:
    """All planes of all images: tiles of rows, in these tiles of columns."""
    columns = _column_pieces(problem.columns, tile)
    planes = problem.conv.batch * problem.out_channels

    def plane(index: list[Expr]) -> tirx.Stmt:
        filter_ = _Filter(problem, index[0], tile.lanes)
        tiles = [_rows(problem, filter_, piece, columns) for piece in cover(problem.rows, tile.rows)]
        return sequence([*filter_.statements, *tiles])

    return nest([planes], parallel, plane)


@dataclass(frozen=True)
class _Columns:
    """``count`` tiles of the same columns, each ``step`` output columns further."""

    columns: list[Column]
    step: int
    count: int


class _Filter:
    """The taps and the bias of one plane, in registers, each in every lane."""

    def __init__(self, problem: Gather, plane: Expr, lanes: int) -> None:
        self.plane = plane
        self.lanes = lanes
        self.unit = lanes if problem.by_lane else 1
        self.statements: list[tirx.Stmt] = []
        kernel_h, kernel_w = problem.conv.kernel
        self._kernel_w, self._sources = kernel_w, problem.sources
        channel = tirx.floormod(plane, int64(problem.out_channels))
        size = kernel_h * kernel_w
        first = channel * int64(problem.sources * size)
        count = size * problem.sources
        if problem.by_lane:
            self._taps = self._by_lane(problem.weight, first, count)
        else:
            scalars = [tirx.BufferLoad(problem.weight, [first + int64(tap)]) for tap in range(count)]
            self._taps = [self._bind(broadcast(scalar, lanes), "tap") for scalar in scalars]
        self.bias: Expr | None = None
        if problem.bias is not None:
            self.bias = self._bind(broadcast(tirx.BufferLoad(problem.bias, [channel]), lanes), "bias")
        self._size = size

    def tap(self, row: int, column: int, part: int) -> Expr:
        """The vector to multiply with."""
        return self._taps[part * self._size + row * self._kernel_w + column]

    def _by_lane(self, weight: tirx.Buffer, first: Expr, count: int) -> list[Expr]:
        """Several taps share a register, and multiplications name the lane that they take."""
        taps: list[Expr] = []
        for start in range(0, count, self.lanes):
            width = min(self.lanes, count - start)
            width = 1 << (width.bit_length() - 1)
            taps += self._lanes_of(weight, first + int64(start), width)
            if start + width < count and width < self.lanes:
                taps += [
                    self._bind(broadcast(tirx.BufferLoad(weight, [first + int64(tap)]), self.lanes), "tap")
                    for tap in range(start + width, min(start + self.lanes, count))
                ]
        return taps

    def _lanes_of(self, weight: tirx.Buffer, first: Expr, width: int) -> list[Expr]:
        vector = self._bind(tirx.BufferLoad(weight, [ramp(first, width)]), "taps")
        if width == 1:
            return [broadcast(vector, self.lanes)]
        return [broadcast(shuffle([vector], [lane]), self.lanes) for lane in range(width)]

    def _bind(self, value: Expr, name: str) -> Expr:
        return bind(self.statements, value, name)


def _rows(problem: Gather, filter_: _Filter, rows: Piece, columns: list[_Columns]) -> tirx.Stmt:
    def tiles(t: Expr) -> tirx.Stmt:
        return sequence([_columns(problem, filter_, rows, piece, t) for piece in columns])

    return loop(rows.count, ForKind.SERIAL, tiles, "row_tile")


def _columns(problem: Gather, filter_: _Filter, rows: Piece, piece: _Columns, row_tile: Expr) -> tirx.Stmt:
    def tile(t: Expr) -> tirx.Stmt:
        place = _PlanePlace(problem, filter_, rows, piece, row_tile, t)
        return tile_statement(problem, rows, piece.columns, place)

    return loop(piece.count, ForKind.SERIAL, tile, "column_tile")


def _column_pieces(axis: Axis, tile: GatherTile) -> list[_Columns]:
    """Vectors that cover a row, in tiles; the last vector overlaps the one before it instead of being cut."""
    width = tile.lanes * axis.out_step
    firsts = list(range(0, axis.outputs - width + 1, width)) or [0]
    if firsts[-1] + width < axis.outputs:
        firsts.append(axis.outputs - width)
    columns = [_column(axis, first, min(width, axis.outputs), tile.lanes) for first in firsts]
    pieces: list[_Columns] = []
    for start in range(0, len(columns), tile.columns):
        group = columns[start : start + tile.columns]
        last = pieces[-1] if pieces else None
        if last and _is_shifted(axis, last, group):
            pieces[-1] = _Columns(last.columns, last.step, last.count + 1)
        else:
            pieces.append(_Columns(group, width * tile.columns, 1))
    return pieces


def _is_shifted(axis: Axis, last: _Columns, group: list[Column]) -> bool:
    """Whether ``group`` is what comes after the tiles of ``last``, and neither touches a border."""
    if len(group) != len(last.columns):
        return False
    firsts = [column.first + last.step * last.count for column in last.columns]
    return [column.first for column in group] == firsts and all(
        axis.is_interior(column.first + i) for column in (*last.columns, *group) for i in range(column.size)
    )


def _column(axis: Axis, first: int, size: int, lanes: int) -> Column:
    phases = []
    for phase in range(axis.out_step):
        reads = []
        for tap in range(axis.taps):
            source = axis.source(first + phase, tap)
            if source is None:
                continue
            lane_sources = [source + lane * axis.in_step for lane in range(lanes)]
            places = tuple(at if axis.has(at) else None for at in lane_sources)
            if any(at is not None for at in places):
                reads.append((tap, places))
        phases.append(tuple(reads))
    return Column(first, size, tuple(phases))


class _PlanePlace(Place):
    """A tile of one plane: ``row_tile`` and ``column_tile`` count its way from the first one of ``rows``, ``piece``."""

    def __init__(
        self, problem: Gather, filter_: _Filter, rows: Piece, piece: _Columns, row_tile: Expr, column_tile: Expr
    ) -> None:
        self._problem = problem
        self._filter = filter_
        self._lanes = filter_.lanes
        y, x = problem.rows, problem.columns
        source_row = rows.size // y.out_step * y.in_step * x.inputs
        source_column = piece.step // x.out_step * x.in_step
        source_shift = row_tile * int64(source_row) + column_tile * int64(source_column)
        out_shift = row_tile * int64(rows.size * x.outputs) + column_tile * int64(piece.step)
        farthest = (rows.count - 1) * source_row + (piece.count - 1) * source_column
        self._span = Span(0, y.inputs * x.inputs - farthest)
        self._out = Window(
            problem.out, filter_.plane * int64(y.outputs * x.outputs) + out_shift, filter_.unit, _PAIR_REACH
        )
        self._sources = [
            Window(
                problem.source,
                self._source_plane(part) * int64(y.inputs * x.inputs) + source_shift,
                filter_.unit,
                _PAIR_REACH,
            )
            for part in range(problem.sources)
        ]

    def statements(self) -> list[tirx.Stmt]:
        return [statement for window in (*self._sources, self._out) for statement in window.statements]

    def source(self, row: int, places: Places, part: int) -> Expr:
        start = row * self._problem.columns.inputs
        moved = [None if at is None else start + at for at in places]
        return gather(self._sources[part], moved, self._span, origin=start)

    def weight(self, row: int, column: int, part: int) -> Expr:
        return self._filter.tap(row, column, part)

    def bias(self) -> Expr | None:
        return self._filter.bias

    def zero(self) -> Expr:
        return zeros(self._lanes)

    def store(self, row: int, column: Column, values: list[Expr]) -> list[tirx.Stmt]:
        first = row * self._problem.columns.outputs + column.first
        value = interleave(values, self._lanes)
        width = self._lanes * len(values)
        if column.size == width:
            return [self._out.store(first, width, value)]
        return [self._out.store(first + i, 1, shuffle([value], [i])) for i in range(column.size)]

    def _source_plane(self, part: int) -> Expr:
        if self._problem.repeat > 1:
            return tirx.floordiv(self._filter.plane, int64(self._problem.repeat))
        return self._filter.plane * int64(self._problem.sources) + int64(part)


def interleave(vectors: list[Expr], lanes: int) -> Expr:
    """Lane 0 of every vector, then lane 1 of every vector, and so on."""
    if len(vectors) == 1:
        return vectors[0]
    if lanes == 1:
        return shuffle([broadcast(vector, 2) for vector in vectors], [2 * i for i in range(len(vectors))])
    return shuffle(vectors, [v * lanes + lane for lane in range(lanes) for v in range(len(vectors))])
