"""A depthwise stage that leaves its outputs packed for the products behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind

from tvm_dwfuse.kernels.depthwise import Depthwise

from ..depthwise_forward import axes
from ..direct.axis import Axis, Piece
from ..direct.gather import Column, Gather, Place, Places, pixel, tile_statement
from ..direct.gather_nhwc import in_piece
from ..lanes import vector_at, zeros
from ..loops import bind, int64, loop, sequence
from .packing import Packing, store_square
from .stages import Stage
from .strips import Strips, pieces

#: Where a source row begins, in elements: from the number of the row.
RowPlace = Callable[[Expr], Expr]


@dataclass(frozen=True)
class PackedDepthwise:
    """Depthwise ``stage`` from ``source`` (NHWC, rows wherever ``row_place`` says) into ``packed``."""

    stage: Stage
    height: int
    width: int
    source: tirx.Buffer
    packed: tirx.Buffer
    packing: Packing

    @property
    def conv(self) -> Depthwise:
        """The stage's geometry."""
        conv = self.stage.conv
        return Depthwise(
            conv.in_channels, self.height, self.width, conv.kernel, conv.strides, conv.padding, conv.dilation
        )

    @property
    def rows(self) -> Axis:
        """What each row of the output reads."""
        return axes(self.conv)[0]

    @property
    def columns(self) -> Axis:
        """What each column of the output reads."""
        return axes(self.conv)[1]

    def step(self, tiles: Sequence[Piece], number: Expr, row_place: RowPlace, parallel: bool = False) -> tirx.Stmt:
        """The rows of tile ``number``, counted through ``tiles``, which all have the same number of rows."""
        return in_piece(tiles, number, lambda piece, at: self._rows(piece, at, row_place, parallel))

    def _rows(self, rows: Piece, number: Expr, row_place: RowPlace, parallel: bool) -> tirx.Stmt:
        """Channels outermost: the taps of a vector of channels then stay in registers for all columns."""
        strips = Strips(
            rows.size,
            self.columns.outputs,
            self.packing.groups,
            self.packing.lanes,
            self.stage.tile.pixels >= self.packing.lanes,
        )
        source_row = number * int64(rows.size * self.rows.in_step)

        def channels(block: Expr) -> tirx.Stmt:
            taps = _taps(self.stage, block)
            return sequence([*taps.statements, *(columns(block, piece, taps) for piece in spans)])

        def columns(block: Expr, piece: Piece, taps: _Taps) -> tirx.Stmt:
            return loop(piece.count, ForKind.SERIAL, lambda i: tile(block, piece, i, taps), "columns")

        def tile(block: Expr, piece: Piece, i: Expr, taps: _Taps) -> tirx.Stmt:
            place = _PackedPlace(self, strips, rows, piece, (source_row, i, block), row_place, taps)
            group = [pixel(self.columns, piece.first + column) for column in range(piece.size)]
            return tile_statement(problem, rows, group, place)

        problem = self._problem()
        whole_groups = -(-self.stage.tile.pixels // strips.group_columns) * strips.group_columns
        spans = pieces(self.columns, whole_groups)
        kind = ForKind.PARALLEL if parallel else ForKind.SERIAL
        return loop(self.packing.channels // self.packing.lanes, kind, channels, "block")

    def _problem(self) -> Gather:
        return Gather(self.conv, self.source, self.stage.weight, None, self.packed, self.rows, self.columns)


@dataclass(frozen=True)
class _Taps:
    vectors: list[Expr]
    statements: list[tirx.Stmt]


#: Taps of a vector of channels that are held in registers; more leave too few of 32 for the sums.
_HELD_TAPS = 9


def _taps(stage: Stage, block: Expr) -> _Taps:
    kernel_h, kernel_w = stage.conv.kernel
    channel = block * int64(stage.lanes)
    loads = [
        vector_at(stage.weight, channel + int64(tap * stage.conv.out_channels), stage.lanes)
        for tap in range(kernel_h * kernel_w)
    ]
    if len(loads) > _HELD_TAPS:
        return _Taps(loads, [])
    statements: list[tirx.Stmt] = []
    return _Taps([bind(statements, load, "tap") for load in loads], statements)


class _PackedPlace(Place):
    """A tile of pixels at one vector of channels; ``at`` is (source row, column tile, block of channels)."""

    def __init__(
        self,
        problem: PackedDepthwise,
        strips: Strips,
        rows: Piece,
        columns: Piece,
        at: tuple[Expr, Expr, Expr],
        row_place: RowPlace,
        taps: _Taps,
    ) -> None:
        self._problem, self._strips, self._rows, self._columns, self._taps = problem, strips, rows, columns, taps
        self._source_row, self._tile, self._block = at
        self._row_place = row_place
        self._row_starts: dict[int, Expr] = {}
        self._bound: list[tirx.Stmt] = []
        self._waiting: dict[tuple[int, int], dict[int, Expr]] = {}

    def statements(self) -> list[tirx.Stmt]:
        return self._bound

    def source(self, row: int, places: Places, part: int) -> Expr:
        (column,) = places
        assert column is not None
        if row not in self._row_starts:
            start = self._row_place(self._source_row + int64(row))
            in_step = self._problem.columns.in_step
            channels = self._problem.packing.channels
            moved = self._tile * int64(self._columns.size * in_step * channels) + self._block * int64(self._lanes)
            self._row_starts[row] = bind(self._bound, start + moved, "row")
        at = self._row_starts[row] + int64(column * self._problem.packing.channels)
        return vector_at(self._problem.source, at, self._lanes)

    def weight(self, row: int, column: int, part: int) -> Expr:
        return self._taps.vectors[row * self._problem.stage.conv.kernel[1] + column]

    def bias(self) -> Expr | None:
        return None

    def zero(self) -> Expr:
        return zeros(self._lanes)

    def store(self, row: int, column: Column, values: list[Expr]) -> list[tirx.Stmt]:
        """Keep the value until its group is complete."""
        stage = self._problem.stage
        row -= self._rows.first
        statements: list[tirx.Stmt] = []
        finished = stage.epilogue(values[0], stage.bias, self._block * int64(self._lanes), int64(0))
        value = bind(statements, finished, "value")
        strips = self._strips
        strip, group = row // strips.group_rows, (column.first - self._columns.first) // strips.group_columns
        waiting = self._waiting.setdefault((strip, group), {})
        waiting[strips.slot(row, column.first - self._columns.first, self._columns.size)] = value
        first = group * strips.group_columns
        present = min(strips.group_columns, self._columns.size - first) * strips.group_rows
        if len(waiting) == present:
            statements.append(self._store_group(strip, group, waiting))
        return statements

    def _store_group(self, strip: int, group: int, pixels: dict[int, Expr]) -> tirx.Stmt:
        strips, packing = self._strips, self._problem.packing
        column = self._columns.first // strips.group_columns + group
        number = self._tile * int64(self._columns.size // strips.group_columns) + int64(column)
        tile = tirx.floordiv(number, int64(packing.groups)) + int64(strip * strips.tiles_in_strip)
        at = packing.square(tile, self._block, tirx.floormod(number, int64(packing.groups)))
        return store_square(
            self._problem.packed, at, [pixels.get(slot) for slot in range(packing.lanes)], packing.lanes
        )

    @property
    def _lanes(self) -> int:
        return self._problem.packing.lanes
