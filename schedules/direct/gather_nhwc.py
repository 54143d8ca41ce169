"""Gathering procedures in NHWC: vectors run along the channels of one pixel, so no lane ever hangs over a border."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import For, ForKind, IfThenElse

from tvm_dwfuse.kernels.activations import APPLY

from ..lanes import Window, broadcast, shuffle, vector_at, zeros
from ..loops import bind, int64, loop, nest, sequence
from ..prefetching import request
from .axis import Piece, cover
from .gather import Column, Gather, GatherTile, Place, Places, pixel, tile_statement

#: Channels that share a cache line: threads that write different lines do not disturb each other.
_LINE = 16


def pixel_loops(problem: Gather, tile: GatherTile, threads: int) -> tirx.Stmt:
    """All tiles of all images; inside a tile of pixels, its channels vector by vector, so that memory is streamed.

    ``tile.lanes`` are channels of the source or of the output, whichever has fewer. Threads share images, tiles of rows
    and, where these are too few, chunks of the channels.
    """
    rows = cover(problem.rows, tile.rows)
    tiles = sum(piece.count for piece in rows)
    vectors = _ChannelVectors(problem.conv.channels, tile.lanes)
    chunks = vectors.chunks(problem.conv.batch * tiles, threads)

    def columns(piece: Piece, image: Expr, row_tile: Expr, chunk: Expr) -> tirx.Stmt:
        return _columns(problem, tile, piece, vectors, chunks, (image, row_tile, chunk))

    def task(index: list[Expr]) -> tirx.Stmt:
        image, row, chunk = index
        return in_piece(rows, row, lambda piece, row_tile: columns(piece, image, row_tile, chunk))

    def all_rows(index: list[Expr]) -> tirx.Stmt:
        def piece_rows(piece: Piece) -> tirx.Stmt:
            return loop(piece.count, ForKind.SERIAL, lambda t: columns(piece, index[0], t, int64(0)), "row_tile")

        return sequence([piece_rows(piece) for piece in rows])

    if threads == 1:
        return nest([problem.conv.batch], False, all_rows)
    return nest([problem.conv.batch, tiles, chunks], True, task)


class _ChannelVectors:
    """Vectors of ``lanes`` channels; the last one overlaps the one before it where they do not come out even.

    Both then write the same values to the channels that they share, in whatever order threads get there.
    """

    def __init__(self, channels: int, lanes: int) -> None:
        self._channels = channels
        self.lanes = lanes
        self.count = -(-channels // lanes)
        self._line = max(1, _LINE // lanes)

    def first(self, vector: Expr) -> Expr:
        """First channel of a vector."""
        even = self._channels % self.lanes == 0
        start = vector * int64(self.lanes)
        return start if even else tirx.min(start, int64(self._channels - self.lanes))

    def chunks(self, others: int, threads: int) -> int:
        """In how many chunks of whole cache lines to split them, if ``others`` x chunks tasks are shared by threads."""
        most = max(1, self.count // self._line)
        even = (n for n in range(1, most + 1) if others * n % threads == 0 or others * n >= 8 * threads)
        return next(even, most)

    def loop(self, chunk: Expr, chunks: int, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
        """``body`` of each vector of a chunk."""
        if chunks == 1:
            return loop(self.count, ForKind.SERIAL, body, "vector")
        size = -(-self.count // chunks)
        size = -(-size // self._line) * self._line
        var = tirx.Var("vector", "int64")
        begin = chunk * int64(size)
        extent = tirx.max(tirx.min(int64(size), int64(self.count) - begin), int64(0))
        return For(var, int64(0), extent, ForKind.SERIAL, body(begin + var))


def in_piece(pieces: Sequence[Piece], tile: Expr, body: Callable[[Piece, Expr], tirx.Stmt]) -> tirx.Stmt:
    """``body`` of the piece that the tile with this number is part of, and its number inside it."""
    first, *rest = pieces
    here = body(first, tile if first.count > 1 else int64(0))
    if not rest:
        return here
    return IfThenElse(tile < int64(first.count), here, in_piece(rest, tile - int64(first.count), body))


def _columns(
    problem: Gather, tile: GatherTile, rows: Piece, vectors: _ChannelVectors, chunks: int, at: tuple[Expr, Expr, Expr]
) -> tirx.Stmt:
    image, row_tile, chunk = at

    def piece(columns: Piece) -> tirx.Stmt:
        group = [pixel(problem.columns, columns.first + i) for i in range(columns.size)]

        def one(column_tile: Expr, vector: Expr) -> tirx.Stmt:
            place = _PixelPlace(problem, vectors, rows, columns, (image, row_tile, column_tile, vector))
            return tile_statement(problem, rows, group, place)

        def channels(column_tile: Expr) -> tirx.Stmt:
            return vectors.loop(chunk, chunks, lambda vector: one(column_tile, vector))

        return loop(columns.count, ForKind.SERIAL, channels, "column_tile")

    return sequence([piece(columns) for columns in cover(problem.columns, tile.columns)])


class _PixelPlace(Place):
    """A tile of pixels at one vector of channels; ``at`` is (image, row tile, column tile, vector)."""

    def __init__(
        self,
        problem: Gather,
        vectors: _ChannelVectors,
        rows: Piece,
        columns: Piece,
        at: tuple[Expr, Expr, Expr, Expr],
    ) -> None:
        self._problem = problem
        self._lanes = vectors.lanes
        self._bound: list[tirx.Stmt] = []
        image, row_tile, column_tile, vector = at
        y, x = problem.rows, problem.columns
        channel = bind(self._bound, vectors.first(vector), "channel")
        out_row, out_column = row_tile * int64(rows.size), column_tile * int64(columns.size)
        source_row = row_tile * int64(rows.size // y.out_step * y.in_step)
        source_column = column_tile * int64(columns.size // x.out_step * x.in_step)
        out = (image * int64(y.outputs) + out_row) * int64(x.outputs) + out_column
        source = (image * int64(y.inputs) + source_row) * int64(x.inputs) + source_column
        repeat, sources = problem.repeat, problem.sources
        unit = self._lanes if problem.by_lane else 1
        self._source_channels = problem.conv.channels * sources
        out_at = out * int64(problem.out_channels) + channel * int64(repeat)
        self._out = Window(problem.out, out_at, unit)
        self._source = Window(problem.source, source * int64(self._source_channels) + channel * int64(sources), unit)
        self._channel = channel * int64(repeat * sources)
        weights = [self._load_weight(tap, part) for tap in self._taps() for part in range(sources)]
        self._weights = [bind(self._bound, weight, "tap") for weight in weights] if problem.holds_taps else weights

        self._bias: Expr | None = None
        if problem.bias is not None:
            self._bias = bind(self._bound, vector_at(problem.bias, self._channel, self._lanes * repeat), "bias")
        self._residual = Window(problem.residual, out_at, unit) if problem.residual is not None else None
        self._read = [source for i in range(columns.size) for _, source in x.reads(columns.first + i)]
        self._step = columns.size // x.out_step * x.in_step

    def statements(self) -> list[tirx.Stmt]:
        windows = [window for window in (self._source, self._out, self._residual) if window is not None]
        return [*self._bound, *(statement for window in windows for statement in window.statements)]

    def source(self, row: int, places: Places, part: int) -> Expr:
        (column,) = places
        assert column is not None
        first = (row * self._problem.columns.inputs + column) * self._source_channels
        repeat, sources = self._problem.repeat, self._problem.sources
        if repeat > 1:
            return repeated(self._source.load(first, self._lanes), self._lanes, repeat)
        return every(sources, part, self._source.load(first, self._lanes * sources), self._lanes)

    def requests(self, row: int) -> list[tirx.Stmt]:
        """Ask for what a later tile reads of the row and the one before that does not; one request a cache line."""
        ahead, channels = self._problem.ahead, self._source_channels
        if not ahead or not self._read:
            return []
        begin = row * self._problem.columns.inputs + max(self._read) + 1 + (ahead - 1) * self._step
        lines = range(0, self._lanes * self._problem.sources, _LINE)
        return [
            request(self._source.load((begin + column) * channels + line, 1))
            for column in range(self._step)
            for line in lines
        ]

    def weight(self, row: int, column: int, part: int) -> Expr:
        return self._weights[(row * self._problem.conv.kernel[1] + column) * self._problem.sources + part]

    def bias(self) -> Expr | None:
        return None if "bias" in self._problem.epilogue else self._bias

    def zero(self) -> Expr:
        return zeros(self._lanes * self._problem.repeat)

    def store(self, row: int, column: Column, values: list[Expr]) -> list[tirx.Stmt]:
        number = row * self._problem.columns.outputs + column.first
        lanes = self._lanes * self._problem.repeat
        first = number * self._problem.out_channels
        statements: list[tirx.Stmt] = []
        value = values[0]
        for step in self._problem.epilogue:
            if step == "bias":
                value = value + self._bias
            elif step == "add":
                assert self._residual is not None
                value = value + self._residual.load(first, lanes)
            else:
                value = APPLY[step](bind(statements, value, "sum"))
        return [*statements, self._out.store(first, lanes, value)]

    def _taps(self) -> range:
        kernel_h, kernel_w = self._problem.conv.kernel
        return range(kernel_h * kernel_w)

    def _load_weight(self, tap: int, part: int) -> Expr:
        first = self._channel + int64(tap * self._problem.conv.out_channels)
        repeat, sources = self._problem.repeat, self._problem.sources
        vector = vector_at(self._problem.weight, first, self._lanes * repeat * sources)
        return vector if repeat > 1 else every(sources, part, vector, self._lanes)


def every(step: int, first: int, vector: Expr, lanes: int) -> Expr:
    """``lanes`` lanes of ``vector``, from ``first`` on in steps."""
    return vector if step == 1 else shuffle([vector], range(first, lanes * step, step))


def repeated(vector: Expr, lanes: int, times: int) -> Expr:
    """Each lane ``times`` times over."""
    if lanes == 1:
        return broadcast(vector, times)
    return shuffle([vector], [lane // times for lane in range(lanes * times)])
