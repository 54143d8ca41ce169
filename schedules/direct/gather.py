"""The loops of depthwise procedures whose outputs gather from inputs: the forward convolution and the data gradient.

Padding is implicit (Hao et al. 2022): a register tile at a border is code of its own, in which taps that fall outside
do not appear, and tiles between the borders test nothing. Inside a tile the inputs stand still: each input vector is
loaded once, multiplied by every tap that needs it, and dropped, so that only as many rows of accumulators are alive as
the kernel is high, however many rows the tile has. Per output vector of a 3x3 kernel at stride 1 a tile of R rows and V
vectors loads

- NHWC, lanes along channels: (R + 2)(V + 2) / (R V) vectors;
- NCHW, lanes along the width: 3 (R + 2) / R, unaligned, which costs less than shifting aligned ones into place: a
  shift takes the pipe that multiplies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from tvm_dwfuse.kernels.depthwise import Depthwise

from ..loops import bind, sequence
from .axis import Axis, Piece


@dataclass(frozen=True)
class GatherTile:
    """Outputs of one register tile: ``rows`` x ``columns`` vectors of ``lanes``.

    A column is a pixel in NHWC, and ``lanes`` adjacent pixels (of each phase of the data gradient) in NCHW. In NHWC a
    tile asks for the inputs of the tile ``ahead`` ones further along the width; 0 is not to.
    """

    rows: int
    columns: int
    lanes: int
    ahead: int = 0


@dataclass(frozen=True)
class Gather:
    """``out[o] = bias + sum over taps of weight[tap] * source[...]`` for every image and channel.

    ``sources`` is the number of source channels that one output channel sums over (the multiplier, in the data
    gradient), ``repeat`` the number of output channels that read one source channel (the multiplier, forward).
    ``by_lane`` says that the target multiplies with one lane of a vector, and reaches addresses as Armv8 does.
    ``holds_taps`` says that an NHWC tile keeps all taps in registers; else each is loaded where it is used. ``ahead``
    is that of the tile.
    ``epilogue`` is applied to each sum (NHWC only): steps of :attr:`tvm_dwfuse.blocks.Conv.epilogue`, its ``"add"``
    that of ``residual``. Without a ``"bias"`` in it sums start from the bias.
    """

    conv: Depthwise
    source: tirx.Buffer
    weight: tirx.Buffer
    bias: tirx.Buffer | None
    out: tirx.Buffer
    rows: Axis
    columns: Axis
    sources: int = 1
    repeat: int = 1
    by_lane: bool = False
    holds_taps: bool = False
    ahead: int = 0
    epilogue: tuple[str, ...] = ()
    residual: tirx.Buffer | None = None

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.conv.channels * self.repeat


#: Where each lane of a vector of source columns lies; None for a lane that reads padding.
Places = tuple[int | None, ...]


@dataclass(frozen=True)
class Column:
    """Adjacent output columns ``first .. first + size`` that a tile holds in one vector for each phase.

    ``phases`` has, for each phase, the (tap, places) pairs that it sums.
    """

    first: int
    size: int
    phases: tuple[tuple[tuple[int, Places], ...], ...]


def pixel(axis: Axis, out: int) -> Column:
    """The column of one pixel, where vectors run along its channels."""
    return Column(out, 1, (tuple((tap, (source,)) for tap, source in axis.reads(out)),))


class Place(ABC):
    """Where a tile lies: how its operands are addressed in a layout."""

    @abstractmethod
    def statements(self) -> list[tirx.Stmt]:
        """What comes before the tile, once all its operands were asked for."""

    @abstractmethod
    def source(self, row: int, places: Places, part: int) -> Expr:
        """The vector of source row ``row``; ``part`` counts the source channels that are summed."""

    @abstractmethod
    def weight(self, row: int, column: int, part: int) -> Expr:
        """The vector that multiplies source vectors at this tap."""

    @abstractmethod
    def bias(self) -> Expr | None:
        """What a sum starts from, None for zero."""

    @abstractmethod
    def zero(self) -> Expr:
        """A vector of zeros."""

    def requests(self, row: int) -> list[tirx.Stmt]:
        """Prefetches that go with the work on source row ``row``."""
        del row
        return []

    @abstractmethod
    def store(self, row: int, column: Column, values: list[Expr]) -> list[tirx.Stmt]:
        """Write a column of output row ``row``: the vector of each phase."""


def tile_statement(gather: Gather, rows: Piece, columns: list[Column], place: Place) -> tirx.Stmt:
    """One register tile, its rows those of the first tile of ``rows``; ``place`` moves it to where it is wanted."""
    outs = range(rows.first, rows.first + rows.size)
    return _TileWriter(gather, columns, place).write(outs)


class _TileWriter:
    """Writes a tile as straight-line code of bound values."""

    def __init__(self, gather: Gather, columns: list[Column], place: Place) -> None:
        self._gather = gather
        self._columns = columns
        self._users = _users(columns)
        self._place = place
        self._statements: list[tirx.Stmt] = []
        self._sums: dict[tuple[int, int, int], Expr] = {}

    def write(self, outs: range) -> tirx.Stmt:
        reads = {out: self._gather.rows.reads(out) for out in outs}
        readers: dict[int, list[tuple[int, int]]] = {}
        for out, pairs in reads.items():
            for tap, source in pairs:
                readers.setdefault(source, []).append((out, tap))
        for source in sorted(readers):
            self._row(source, readers[source])
            for out, _ in readers[source]:
                if max(row for _, row in reads[out]) == source:
                    self._store(out)
        for out in outs:
            if not reads[out]:
                self._store(out)
        return sequence([*self._place.statements(), *self._statements])

    def _row(self, source: int, readers: list[tuple[int, int]]) -> None:
        for part in range(self._gather.sources):
            for places, users in self._users.items():
                vector = self._bind(self._place.source(source, places, part), "x")
                for column, phase, tap in users:
                    for out, row_tap in readers:
                        self._add((out, column, phase), vector * self._place.weight(row_tap, tap, part))
        for key, value in self._sums.items():
            if not isinstance(value, tirx.Var):
                self._sums[key] = self._bind(value, "sum")
        self._statements += self._place.requests(source)

    def _add(self, key: tuple[int, int, int], product: Expr) -> None:
        start = self._sums.get(key, self._place.bias())
        self._sums[key] = product if start is None else start + product

    def _store(self, out: int) -> None:
        for c, column in enumerate(self._columns):
            sums = [self._sums.pop((out, c, p), None) for p in range(len(column.phases))]
            start = self._place.bias()
            empty = self._place.zero() if start is None else start
            self._statements += self._place.store(out, column, [empty if value is None else value for value in sums])

    def _bind(self, value: Expr, name: str) -> Expr:
        return bind(self._statements, value, name)


def _users(columns: list[Column]) -> dict[Places, list[tuple[int, int, int]]]:
    """The (column, phase, tap) that use each vector of a source row, leftmost first."""
    users: dict[Places, list[tuple[int, int, int]]] = {}
    for c, column in enumerate(columns):
        for p, reads in enumerate(column.phases):
            for tap, places in reads:
                users.setdefault(places, []).append((c, p, tap))
    return dict(sorted(users.items(), key=lambda item: min(at for at in item[0] if at is not None)))
