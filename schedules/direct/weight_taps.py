"""The weight gradient tap by tap: little code for any filter, but two loads for each multiplication.

It serves where to keep all taps in registers takes too much code: filters larger than about 9x9, and dilations that
reach across the plane, so that hardly an output is without padding. What a tap reads inside the plane is a rectangle,
so nothing is tested inside the loops here either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, For, ForKind

from ..lanes import broadcast, ramp, shuffle, zeros
from ..loops import int64, loop, nest, sequence
from .axis import Axis
from .weight_problem import Problem
from .weight_sweep import get, put

#: Outputs along an axis, from .. to.
_Range = tuple[Expr, Expr]

#: Adds to sums what outputs of a row contribute: sums, image, row of the output, columns of the output.
_AddRow = Callable[[list[tirx.Buffer], Expr, Expr, _Range], tirx.Stmt]


def tap_loops(problem: Problem, lanes: int, parallel: bool) -> list[tirx.Stmt]:
    """The whole kernel; ``lanes`` are along the channels in NHWC, along the width in NCHW."""
    writer = _NchwTaps(problem, lanes) if problem.conv.layout == "NCHW" else _NhwcTaps(problem, lanes)
    kind = ForKind.PARALLEL if parallel else ForKind.SERIAL
    return [loop(writer.vectors, kind, writer.vector, "vector")]


class _Taps(ABC):
    """Writes all taps of a vector of channels; ``widths`` are the lanes of each of its sums."""

    def __init__(self, problem: Problem, vectors: int, widths: list[int]) -> None:
        self._problem = problem
        self._widths = widths
        self.vectors = vectors

    def vector(self, vector: Expr) -> tirx.Stmt:
        """All taps of one vector."""
        rows, columns = self._problem.rows, self._problem.columns

        def tap(at: list[Expr]) -> tirx.Stmt:
            i, j = at
            add = self.add_row(vector, i, j)
            return self._sum(_inside(rows, i), _inside(columns, j), add, lambda sums: self.put(vector, i, j, sums))

        statements = [nest([rows.taps, columns.taps], False, tap)]
        if self._problem.db is not None:
            whole = (int64(0), int64(rows.outputs)), (int64(0), int64(columns.outputs))
            statements.append(self._sum(*whole, self.add_row(vector), lambda sums: self.put_bias(vector, sums)))
        return sequence(statements)

    @abstractmethod
    def add_row(self, vector: Expr, i: Expr | None = None, j: Expr | None = None) -> _AddRow:
        """Adds what a row contributes to a tap, or to the bias."""

    @abstractmethod
    def put(self, vector: Expr, i: Expr, j: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        """Write the result of a tap."""

    @abstractmethod
    def put_bias(self, vector: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        """Write the result of the bias."""

    def _sum(
        self, rows: _Range, columns: _Range, add: _AddRow, write: Callable[[list[tirx.Buffer]], tirx.Stmt]
    ) -> tirx.Stmt:
        sums = [tirx.decl_buffer([int64(width)], "float32", "sum", layout=None) for width in self._widths]

        def image(n: Expr) -> tirx.Stmt:
            return _over(rows, lambda row: add(sums, n, row, columns))

        return sequence(
            [
                *(tirx.AllocBuffer(total) for total in sums),
                *(put(total, zeros(width)) for total, width in zip(sums, self._widths, strict=True)),
                loop(self._problem.conv.batch, ForKind.SERIAL, image, "image"),
                write(sums),
            ]
        )


def _add(total: tirx.Buffer, x: Expr | None, dy: Expr) -> tirx.Stmt:
    return put(total, get(total) + (dy if x is None else x * dy))


class _NhwcTaps(_Taps):
    """Lanes along channels; the last vector overlaps the one before it where they do not come out even."""

    def __init__(self, problem: Problem, lanes: int) -> None:
        super().__init__(problem, -(-problem.conv.out_channels // lanes), [lanes])
        self._lanes = lanes

    def _channel(self, vector: Expr) -> Expr:
        return tirx.min(vector * int64(self._lanes), int64(self._problem.conv.out_channels - self._lanes))

    def add_row(self, vector: Expr, i: Expr | None = None, j: Expr | None = None) -> _AddRow:
        """Adds what a row contributes to a tap, or to the bias."""
        problem, conv, channel = self._problem, self._problem.conv, self._channel(vector)

        def x(image: Expr, row: Expr, column: Expr) -> Expr:
            pixel = (image * int64(conv.height) + row) * int64(conv.width) + column
            first = pixel * int64(conv.channels) + tirx.floordiv(channel, int64(conv.multiplier))
            width = max(1, self._lanes // conv.multiplier)
            loaded = tirx.BufferLoad(problem.x, [ramp(first, width)])
            if width == 1:
                return broadcast(loaded, self._lanes)
            return shuffle([loaded], [lane // conv.multiplier for lane in range(self._lanes)])

        def add(sums: list[tirx.Buffer], image: Expr, row: Expr, columns: _Range) -> tirx.Stmt:
            def pixel(column: Expr) -> tirx.Stmt:
                at = (image * int64(problem.rows.outputs) + row) * int64(problem.columns.outputs) + column
                dy = tirx.BufferLoad(problem.dy, [ramp(at * int64(conv.out_channels) + channel, self._lanes)])
                if i is None or j is None:
                    return _add(sums[0], None, dy)
                source = x(image, _source(problem.rows, row, i), _source(problem.columns, column, j))
                return _add(sums[0], source, dy)

            return _over(columns, pixel)

        return add

    def put(self, vector: Expr, i: Expr, j: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        """Write the result of a tap."""
        tap = i * int64(self._problem.columns.taps) + j
        first = tap * int64(self._problem.conv.out_channels) + self._channel(vector)
        return BufferStore(self._problem.dw, get(sums[0]), [ramp(first, self._lanes)])

    def put_bias(self, vector: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        """Write the result of the bias."""
        return BufferStore(self._problem.db, get(sums[0]), [ramp(self._channel(vector), self._lanes)])


class _NchwTaps(_Taps):
    """Lanes along the width of a plane; a second sum has what is left behind the last whole vector of a row."""

    def __init__(self, problem: Problem, lanes: int) -> None:
        super().__init__(problem, problem.conv.out_channels, [lanes, 1])
        self._lanes = lanes

    def add_row(self, channel: Expr, i: Expr | None = None, j: Expr | None = None) -> _AddRow:
        """Adds what a row contributes to a tap, or to the bias."""
        problem, conv = self._problem, self._problem.conv
        source_channel = tirx.floordiv(channel, int64(conv.multiplier))

        def product(total: tirx.Buffer, image: Expr, row: Expr, column: Expr) -> tirx.Stmt:
            lanes = int(total.shape[0])
            plane = (image * int64(conv.out_channels) + channel) * int64(problem.rows.outputs)
            dy = tirx.BufferLoad(problem.dy, [ramp((plane + row) * int64(problem.columns.outputs) + column, lanes)])
            if i is None or j is None:
                return _add(total, None, dy)
            plane = (image * int64(conv.channels) + source_channel) * int64(conv.height)
            first = (plane + _source(problem.rows, row, i)) * int64(conv.width) + _source(problem.columns, column, j)
            index = first if lanes == 1 else tirx.Ramp(first, int64(problem.columns.in_step), lanes)
            return _add(total, tirx.BufferLoad(problem.x, [index]), dy)

        def add(sums: list[tirx.Buffer], image: Expr, row: Expr, columns: _Range) -> tirx.Stmt:
            begin, end = columns
            whole = tirx.floordiv(tirx.max(end - begin, int64(0)), int64(self._lanes))
            rest = begin + whole * int64(self._lanes)
            vectors = _over((int64(0), whole), lambda v: product(sums[0], image, row, begin + v * int64(self._lanes)))
            return sequence([vectors, _over((rest, end), lambda column: product(sums[1], image, row, column))])

        return add

    def put(self, channel: Expr, i: Expr, j: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        """Write the result of a tap."""
        tap = (channel * int64(self._problem.rows.taps) + i) * int64(self._problem.columns.taps) + j
        return self._put_total(self._problem.dw, tap, sums)

    def put_bias(self, channel: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        """Write the result of the bias."""
        return self._put_total(self._problem.db, channel, sums)

    def _put_total(self, out: tirx.Buffer, at: Expr, sums: list[tirx.Buffer]) -> tirx.Stmt:
        total = get(sums[1])
        for lane in range(self._lanes):
            total = total + tirx.BufferLoad(sums[0], [int64(lane)])
        return BufferStore(out, total, [at])


def _source(axis: Axis, out: Expr, tap: Expr) -> Expr:
    return out * int64(axis.in_step) + tap * int64(axis.dilation) - int64(axis.pad)


def _inside(axis: Axis, tap: Expr) -> _Range:
    """The outputs that read an input through a tap."""
    before = int64(axis.pad) - tap * int64(axis.dilation)  # the first output reads this many in front of the plane
    begin = tirx.floordiv(before + int64(axis.in_step - 1), int64(axis.in_step))
    end = tirx.floordiv(before + int64(axis.inputs - 1), int64(axis.in_step)) + int64(1)
    return tirx.max(begin, int64(0)), tirx.min(end, int64(axis.outputs))


def _over(outputs: _Range, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
    begin, end = outputs
    var = tirx.Var("at", "int64")
    return For(var, int64(0), tirx.max(end - begin, int64(0)), ForKind.SERIAL, body(begin + var))
