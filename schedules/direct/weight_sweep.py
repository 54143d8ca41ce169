"""Sweeps of the weight gradient: a strip of both operands is walked along one axis, the sums staying in registers.

A strip is a few streams of vectors of the output's gradient and the streams of input vectors that meet them: rows of
pixels in NHWC, where the walk goes along the width, and vectors of columns in NCHW, where it goes down the height. Each
gradient vector is loaded once and stays in a window of registers until the last input that meets it; each input vector
is loaded once, multiplied by all it meets, and dropped. Positions at which a tap falls on padding are code of their own
without that tap; those between are a loop that tests nothing. It is unrolled by the length of the window, so that no
vector ever moves from register to register.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, ForKind

from ..lanes import ramp, zeros
from ..loops import int64, loop, sequence
from .axis import Axis

#: (tap across the strip, tap along the walk)
Tap = tuple[int, int]


@dataclass(frozen=True)
class Positions:
    """``first``, and the ``count`` - 1 positions ``step`` apart behind it."""

    first: int
    step: int = 0
    count: int = 1


class Loads(ABC):
    """Loads of the vectors of a strip; ``statements`` come before the first use."""

    @abstractmethod
    def x(self, stream: int, position: int) -> Expr:
        """The input vector of a stream at a position of the input."""

    @abstractmethod
    def dy(self, stream: int, position: int) -> Expr:
        """The gradient vector of a stream at a position of the output."""

    @property
    @abstractmethod
    def statements(self) -> list[tirx.Stmt]:
        """What they need."""


class Operands(ABC):
    """The operands of a strip."""

    @abstractmethod
    def loads(self, moved: Expr | None, steps: Positions) -> Loads:
        """Loads at positions ``moved`` steps behind the ones told, these steps being at most as far as in ``steps``."""


class Sums:
    """The running sums of some taps, and of the bias: one vector each, in registers."""

    def __init__(self, taps: Sequence[Tap], bias: bool, lanes: int) -> None:
        self.lanes = lanes
        self.taps = {tap: self.vector("sum") for tap in taps}
        self.bias = self.vector("bias_sum") if bias else None

    def vector(self, name: str) -> tirx.Buffer:
        """Room for one vector. LLVM keeps it in a register, as it is small and all its indices are constant."""
        return tirx.decl_buffer([int64(self.lanes)], "float32", name, layout=None)

    @property
    def buffers(self) -> list[tirx.Buffer]:
        """All of them, the bias last."""
        return [*self.taps.values(), *([self.bias] if self.bias is not None else [])]

    def start(self) -> list[tirx.Stmt]:
        """Statements that set them to zero."""
        return [s for buffer in self.buffers for s in (tirx.AllocBuffer(buffer), put(buffer, zeros(self.lanes)))]


def get(vector: tirx.Buffer) -> Expr:
    """What a register holds."""
    return tirx.BufferLoad(vector, [ramp(int64(0), int(vector.shape[0]))])


def put(vector: tirx.Buffer, value: Expr) -> tirx.Stmt:
    """Set a register."""
    return BufferStore(vector, value, [ramp(int64(0), int(vector.shape[0]))])


#: For each input stream the (gradient stream, tap across the strip) pairs that it meets.
Meetings = Sequence[Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Walk:
    """The axis that is walked: at step ``p`` gradient ``p`` is loaded, and inputs ``p * stride - pad + phase``."""

    axis: Axis

    @property
    def phases(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """(phase, [(tap, steps since the gradient that it meets was loaded)]) of the inputs of one step."""
        axis, found = self.axis, []
        for phase in range(axis.in_step):
            distances = [(tap, tap * axis.dilation - phase) for tap in range(axis.taps)]
            taps = [(tap, distance // axis.in_step) for tap, distance in distances if distance % axis.in_step == 0]
            if taps:
                found.append((phase, taps))
        return found

    @property
    def window(self) -> int:
        """Gradient vectors of a stream that are alive together."""
        return 1 + max(delay for _, taps in self.phases for _, delay in taps)

    @property
    def steps(self) -> int:
        """All steps, those behind the last gradient included."""
        return self.axis.outputs + self.window - 1

    @property
    def interior(self) -> tuple[int, int]:
        """The steps, from .. to, at which no tap falls on padding and no gradient is missing."""
        axis, phases = self.axis, [phase for phase, _ in self.phases]
        begin = max(self.window - 1, -(-(axis.pad - phases[0]) // axis.in_step))
        end = min(axis.outputs, (axis.inputs - 1 - phases[-1] + axis.pad) // axis.in_step + 1)
        return begin, max(begin, end)

    def pieces(self) -> list[Positions]:
        """All steps in order, the interior as a loop over windows if it has more than one."""
        begin, end = self.interior
        count = (end - begin) // self.window
        if count < 2:
            return [Positions(p) for p in range(self.steps)]
        looped = [Positions(begin + i, self.window, count) for i in range(self.window)]
        rest = range(begin + count * self.window, self.steps)
        return [*(Positions(p) for p in range(begin)), *looped, *(Positions(p) for p in rest)]

    def taps_at(self, step: int, taps: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of ``taps`` whose gradient exists at ``step``."""
        return [(tap, delay) for tap, delay in taps if 0 <= step - delay < self.axis.outputs]

    @property
    def multiplications(self) -> int:
        """Products of one meeting that are written out."""
        return sum(
            len(self.taps_at(piece.first, taps))
            for piece in self.pieces()
            for phase, taps in self.phases
            if self.axis.has(piece.first * self.axis.in_step - self.axis.pad + phase)
        )


class Sweep:
    """Writes the sweep of one strip."""

    def __init__(self, walk: Walk, gradients: int, meetings: Meetings, operands: Operands, sums: Sums) -> None:
        self._walk = walk
        self._meetings = meetings
        self._operands = operands
        self._sums = sums
        met = {gradient for pairs in meetings for gradient, _ in pairs}
        streams = [stream for stream in range(gradients) if stream in met or sums.bias is not None]
        self._window = {stream: [sums.vector("dy_kept") for _ in range(walk.window)] for stream in streams}

    def statement(self) -> tirx.Stmt:
        """All steps."""
        if not self._window:
            return tirx.Evaluate(int64(0))
        standing = self._operands.loads(None, Positions(0))
        pieces = self._walk.pieces()
        looped = [piece for piece in pieces if piece.count > 1]
        statements: list[tirx.Stmt] = []
        for piece in pieces:
            if piece.count == 1:
                statements += self._step(piece.first, standing)
            elif piece is looped[0]:
                statements.append(self._loop(looped))
        registers = [tirx.AllocBuffer(vector) for ring in self._window.values() for vector in ring]
        return sequence([*registers, *standing.statements, *statements])

    def _loop(self, pieces: list[Positions]) -> tirx.Stmt:
        def body(index: Expr) -> tirx.Stmt:
            loads = self._operands.loads(index * int64(pieces[0].step), pieces[0])
            steps = [statement for piece in pieces for statement in self._step(piece.first, loads)]
            return sequence([*loads.statements, *steps])

        return loop(pieces[0].count, ForKind.SERIAL, body, "step")

    def _step(self, step: int, loads: Loads) -> list[tirx.Stmt]:
        axis = self._walk.axis
        statements = self._load_gradients(step, loads) if step < axis.outputs else []
        for phase, taps in self._walk.phases:
            place = step * axis.in_step - axis.pad + phase
            users = self._walk.taps_at(step, taps)
            if not users or not axis.has(place):
                continue
            for stream, pairs in enumerate(self._meetings):
                statements += self._multiply(loads.x(stream, place), pairs, users, step)
        return statements

    def _load_gradients(self, step: int, loads: Loads) -> list[tirx.Stmt]:
        statements = []
        for stream, ring in self._window.items():
            kept = ring[step % len(ring)]
            statements.append(put(kept, loads.dy(stream, step)))
            if self._sums.bias is not None:
                statements.append(put(self._sums.bias, get(self._sums.bias) + get(kept)))
        return statements

    def _multiply(
        self, x: Expr, pairs: Sequence[tuple[int, int]], taps: list[tuple[int, int]], step: int
    ) -> list[tirx.Stmt]:
        var = tirx.Var("x_vector", x.ty)
        statements: list[tirx.Stmt] = [tirx.Bind(var, x)]
        for gradient, across in pairs:
            ring = self._window[gradient]
            for along, delay in taps:
                total = self._sums.taps[across, along]
                statements.append(put(total, get(total) + var * get(ring[(step - delay) % len(ring)])))
        return statements
