"""The weight gradient in NCHW: lanes along the width, strips of columns walked down the height of a plane."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, ForKind

from tvm_dwfuse.targets import CpuTarget

from ..lanes import Span, Window, gather, ramp, shuffle
from ..loops import int64, loop, nest, sequence
from .axis import Axis, Piece
from .weight_problem import Problem, share, strip_loops
from .weight_sweep import Loads, Meetings, Operands, Positions, Sums, Sweep, Tap, Walk, get, put
from .weight_tile import WeightTile

#: Where each lane of a vector lies in a row; None for one that counts for nothing.
Places = tuple[int | None, ...]


@dataclass(frozen=True)
class _Vector:
    """Columns of the output from ``first`` on, the lanes that count, and the input each tap reads in these lanes."""

    first: int
    outputs: Places
    inputs: tuple[Places, ...]

    def is_interior(self) -> bool:
        return None not in self.outputs and all(None not in places for places in self.inputs)


@dataclass(frozen=True)
class _Strips:
    """``count`` strips of these vectors, each ``step`` output columns further."""

    vectors: list[_Vector]
    step: int
    count: int

    def piece(self) -> Piece:
        return Piece(self.vectors[0].first, self.step, self.count)


def _cover(columns: Axis, tile: WeightTile) -> list[_Strips]:
    """Strips of vectors that cover a row; the last vector overlaps the one before it, and counts the rest only."""
    lanes, width = tile.lanes, columns.outputs
    firsts = list(range(0, max(1, width - lanes + 1), lanes))
    covered = firsts[-1] + lanes
    vectors = [_vector(columns, first, lanes, first) for first in firsts]
    if covered < width:
        vectors.append(_vector(columns, width - lanes, lanes, covered))
    strips: list[_Strips] = []
    for start in range(0, len(vectors), tile.streams):
        group, step = vectors[start : start + tile.streams], lanes * tile.streams
        last = strips[-1] if strips else None
        if last and _alike(last, group):
            strips[-1] = _Strips(last.vectors, step, last.count + 1)
        else:
            strips.append(_Strips(group, step, 1))
    return strips


def _alike(last: _Strips, group: list[_Vector]) -> bool:
    return len(last.vectors) == len(group) and all(vector.is_interior() for vector in (*last.vectors, *group))


def _vector(columns: Axis, first: int, lanes: int, counted_from: int) -> _Vector:
    covered = [at if at < columns.outputs else None for at in range(first, first + lanes)]
    inputs = []
    for tap in range(columns.taps):
        sources = [None if at is None else columns.source(at, tap) for at in covered]
        inputs.append(tuple(at if columns.has(at) else None for at in sources))
    counted = tuple(None if at is None or at < counted_from else at for at in covered)
    return _Vector(first, counted, tuple(inputs))


def _origin(columns: Axis, tap: int) -> int:
    """Where a strided load for this tap may begin, give or take whole strides: taps next to each other share one.

    Its last element is to be one that is used, or LLVM would shorten the load and miss that ``ld2`` does it.
    """
    stride, steps = columns.in_step, [other * columns.dilation for other in range(columns.taps)]
    together = [step for step in steps if step // stride == tap * columns.dilation // stride]
    return max(together) - (stride - 1) - columns.pad


@dataclass(frozen=True)
class _Strip(Operands):
    """A strip of a plane; ``x`` and ``dy`` are offsets of the plane, ``index`` counts the way from the first strip."""

    problem: Problem
    strips: _Strips
    inputs: list[tuple[int, Places]]
    unit: int
    x: Expr
    dy: Expr
    index: Expr

    def loads(self, moved: Expr | None, steps: Positions) -> Loads:
        """Loads with constant offsets from ``moved`` rows further."""
        rows, columns = self.problem.rows, self.problem.columns
        x_step, dy_step = self.strips.step * columns.in_step, self.strips.step
        x, dy = self.x + self.index * int64(x_step), self.dy + self.index * int64(dy_step)
        x_row, dy_row = rows.in_step * columns.inputs, columns.outputs
        if moved is not None:
            x, dy = x + moved * int64(x_row), dy + moved * int64(dy_row)
        far = (self.strips.count - 1, (steps.count - 1) * steps.step)
        return _StripLoads(
            self,
            Window(self.problem.x, x, self.unit),
            Window(self.problem.dy, dy, self.unit),
            (far[0] * x_step, far[1] * x_row),
            (far[0] * dy_step, far[1] * dy_row),
        )


class _StripLoads(Loads):
    """Loads of a strip that may be moved by so much within a row, and by so much down the plane."""

    def __init__(self, strip: _Strip, x: Window, dy: Window, x_far: tuple[int, int], dy_far: tuple[int, int]) -> None:
        self._strip = strip
        self._windows = x, dy
        self._far = x_far, dy_far

    @property
    def statements(self) -> list[tirx.Stmt]:
        return [statement for window in self._windows for statement in window.statements]

    def x(self, stream: int, position: int) -> Expr:
        rows, columns = self._strip.problem.rows, self._strip.problem.columns
        tap, places = self._strip.inputs[stream]
        return self._row(0, places, position, rows.inputs, columns.inputs, columns.in_step, _origin(columns, tap))

    def dy(self, stream: int, position: int) -> Expr:
        rows, columns = self._strip.problem.rows, self._strip.problem.columns
        places = self._strip.strips.vectors[stream].outputs
        return self._row(1, places, position, rows.outputs, columns.outputs, 1)

    def _row(
        self, operand: int, places: Places, row: int, height: int, width: int, stride: int, origin: int = 0
    ) -> Expr:
        """A vector of a row, loaded from the row where it has room, so that neighbours share loads."""
        start = row * width
        aside, down = self._far[operand]
        if len(places) * stride <= width - aside:
            span = Span(start, start + width - aside)
        else:
            span = Span(0, height * width - aside - down)
        known = [None if at is None else start + at for at in places]
        return gather(self._windows[operand], known, span, origin=start + origin)


class PlaneLoops:
    """Writes the loops over channels, images and strips of columns."""

    def __init__(self, problem: Problem, tile: WeightTile, target: CpuTarget, threads: int) -> None:
        self._problem = problem
        self._conv = conv = problem.conv
        self._tile = tile
        self._strips = _cover(problem.columns, tile)
        self._walk = Walk(problem.rows)
        self._unit = target.lanes if target.arch == "aarch64" else 1
        self._parallel = threads > 1
        strips = conv.batch * sum(strips.count for strips in self._strips)
        self._splits = share(conv.out_channels, strips, threads).splits
        self._results = problem.taps + (problem.db is not None)

    @property
    def multiplications(self) -> int:
        """Vector multiplications that are written out."""
        groups = self._tile.groups
        meetings = [self._meetings(strips, group)[1] for strips in self._strips for group in groups]
        return sum(len(pairs) for streams in meetings for pairs in streams) * self._walk.multiplications

    def statements(self) -> list[tirx.Stmt]:
        """The whole kernel."""
        partial = self._partial_sums()
        work = nest(
            [self._conv.out_channels, self._splits], self._parallel, lambda at: self._channel(at[0], at[1], partial)
        )
        return [work] if partial is None else [tirx.AllocBuffer(partial), work, self._add_up(partial)]

    def _partial_sums(self) -> tirx.Buffer | None:
        """Where sums wait for others, (splits, channels, taps and bias); None if each is done in one go."""
        if self._splits == 1:
            return None
        size = self._splits * self._conv.out_channels * self._results
        return tirx.decl_buffer([int64(size)], "float32", "sums", layout=None)

    def _channel(self, channel: Expr, split: Expr, partial: tirx.Buffer | None) -> tirx.Stmt:
        statements: list[tirx.Stmt] = []
        vectors: dict[int, tirx.Buffer] = {}
        for group in self._tile.groups:
            taps: list[Tap] = [(j, i) for j in group for i in range(self._walk.axis.taps)]
            sums = Sums(taps, self._problem.db is not None and group.start == 0, self._tile.lanes)
            statements += [*sums.start(), self._images(channel, split, group, sums)]
            vectors |= {i * self._problem.columns.taps + j: vector for (j, i), vector in sums.taps.items()}
            if sums.bias is not None:
                vectors[self._problem.taps] = sums.bias
        return sequence([*statements, *self._store(channel, split, [vectors[i] for i in sorted(vectors)], partial)])

    def _images(self, channel: Expr, split: Expr, group: range, sums: Sums) -> tirx.Stmt:
        def strips(image: Expr) -> tirx.Stmt:
            def one(piece: Piece, index: Expr) -> tirx.Stmt:
                strips = next(strips for strips in self._strips if strips.piece() == piece)
                return self._sweep(strips, index, channel, image, group, sums)

            return strip_loops([strips.piece() for strips in self._strips], image, split, self._splits, one)

        return loop(self._conv.batch, ForKind.SERIAL, strips, "image")

    def _sweep(self, strips: _Strips, index: Expr, channel: Expr, image: Expr, group: range, sums: Sums) -> tirx.Stmt:
        conv, rows, columns = self._conv, self._problem.rows, self._problem.columns
        places, meetings = self._meetings(strips, group)
        source = tirx.floordiv(channel, int64(conv.multiplier)) if conv.multiplier > 1 else channel
        x = (image * int64(conv.channels) + source) * int64(rows.inputs * columns.inputs)
        dy = (image * int64(conv.out_channels) + channel) * int64(rows.outputs * columns.outputs)
        operands = _Strip(self._problem, strips, places, self._unit, x, dy, index)
        return Sweep(self._walk, len(strips.vectors), meetings, operands, sums).statement()

    def _meetings(self, strips: _Strips, group: range) -> tuple[list[tuple[int, Places]], Meetings]:
        """The input vectors of the first of these strips as (tap, places), and the gradients that each meets.

        Vectors of the same tap stand side by side, to be loaded in pairs.
        """
        met = [
            ((tap, vector.inputs[tap]), [(number, tap)])
            for tap in group
            for number, vector in enumerate(strips.vectors)
            if any(at is not None for at in vector.inputs[tap])
        ]
        return [vector for vector, _ in met], [pairs for _, pairs in met]

    def _store(
        self, channel: Expr, split: Expr, vectors: list[tirx.Buffer], partial: tirx.Buffer | None
    ) -> list[tirx.Stmt]:
        """Add up the lanes of each vector and write the totals."""
        taps = self._problem.taps
        if partial is not None:
            first = (split * int64(self._conv.out_channels) + channel) * int64(self._results)
            return store_totals(partial, first, vectors)
        statements = store_totals(self._problem.dw, channel * int64(taps), vectors[:taps])
        return statements + store_totals(self._problem.db, channel, vectors[taps:])

    def _add_up(self, partial: tirx.Buffer) -> tirx.Stmt:
        """The results from the partial sums of all splits."""
        channels, taps, results = self._conv.out_channels, self._problem.taps, self._results

        def one(channel: Expr, number: Expr, out: tirx.Buffer, at: Expr) -> tirx.Stmt:
            sums = Sums([(0, 0)], False, 1)
            total = sums.taps[0, 0]

            def add(split: Expr) -> tirx.Stmt:
                place = (split * int64(channels) + channel) * int64(results) + number
                return put(total, get(total) + tirx.BufferLoad(partial, [place]))

            splits = loop(self._splits, ForKind.SERIAL, add, "split")
            return sequence([*sums.start(), splits, BufferStore(out, get(total), [at])])

        def each(channel: Expr) -> tirx.Stmt:
            def tap(number: Expr) -> tirx.Stmt:
                return one(channel, number, self._problem.dw, channel * int64(taps) + number)

            statements = [loop(taps, ForKind.SERIAL, tap, "tap")]
            if self._problem.db is not None:
                statements.append(one(channel, int64(taps), self._problem.db, channel))
            return sequence(statements)

        return loop(channels, ForKind.SERIAL, each, "channel")


def store_totals(out: tirx.Buffer, first: Expr, vectors: list[tirx.Buffer]) -> list[tirx.Stmt]:
    """``out[first + i]`` = the sum of the lanes of ``vectors[i]``."""
    if not vectors:
        return []
    lanes = int(vectors[0].shape[0])
    statements: list[tirx.Stmt] = []
    for start in range(0, len(vectors), lanes):
        part = [get(vector) for vector in vectors[start : start + lanes]]
        total = _totals(part, statements)
        done = 0
        while done < len(part):
            width = 1 << ((len(part) - done).bit_length() - 1)
            value = total if width == lanes else shuffle([total], range(done, done + width))
            statements.append(BufferStore(out, value, [ramp(first + int64(start + done), width)]))
            done += width
    return statements


def _totals(vectors: list[Expr], statements: list[tirx.Stmt]) -> Expr:
    """A vector whose first lanes are the sums of the lanes of each vector, of which there are no more than lanes.

    Neighbouring lanes are added and those of two vectors put together, which is one instruction of Armv8 (``faddp``).
    """
    lanes = vectors[0].ty.dtype.lanes
    width = lanes
    while width > 1:
        joined = []
        for i in range(0, len(vectors), 2):
            pair = vectors[i : i + 2]
            pair = [pair[0], pair[-1]]
            total = shuffle(pair, range(0, 2 * lanes, 2)) + shuffle(pair, range(1, 2 * lanes, 2))
            var = tirx.Var("total", total.ty)
            statements.append(tirx.Bind(var, total))
            joined.append(var)
        vectors = joined
        width //= 2
    return vectors[0]
