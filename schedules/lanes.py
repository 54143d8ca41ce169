"""Vectors taken from flat buffers: strided, repeated or hanging over a border, without reading outside.

LLVM makes of a shuffle with constant indices what the machine has for it: ``ext`` with a zero register or ``ld2`` on
Armv8, a masked blend or a two-source permutation on AVX-512.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from .loops import bind, int64


@dataclass(frozen=True)
class Span:
    """Elements that may be read: ``low <= offset < high``, offsets counted from the base of an access."""

    low: int
    high: int


def ramp(first: Expr, lanes: int) -> Expr:
    """The indices ``first .. first + lanes``."""
    return first if lanes == 1 else tirx.Ramp(first, int64(1), lanes)


#: Vectors that the constant of an Armv8 load or store reaches: 12 bits (Arm ARM C6.2, LDR immediate).
_REACH = 4096


class Window:
    """The elements of a flat buffer at constant offsets from a base that moves.

    An Armv8 load adds to a register a constant: a multiple, below 4096, of what it loads, or a very small number. LLVM
    keeps one register for the base and computes every other address anew. So with ``unit`` lanes in a vector the window
    has a pointer for each remainder of an offset by ``unit`` and each 4096 vectors, behind a barrier that LLVM does not
    see through but that costs no instruction; ``unit`` 1 asks for no such thing. ``statements`` come before uses.
    """

    def __init__(self, flat: tirx.Buffer, base: Expr, unit: int = 1, reach: int = _REACH) -> None:
        self._flat = flat
        self._unit = unit
        self._reach = reach * unit
        self._views: dict[int, tirx.Buffer] = {}
        self.statements: list[tirx.Stmt] = []
        self._base = bind(self.statements, base, f"{flat.name}_at")

    def load(self, offset: int, lanes: int) -> Expr:
        """``lanes`` elements from ``offset`` on."""
        buffer, index = self._locate(offset)
        return vector_at(buffer, index, lanes)

    def store(self, offset: int, lanes: int, value: Expr) -> tirx.Stmt:
        """Write ``lanes`` elements from ``offset`` on."""
        buffer, index = self._locate(offset)
        return tirx.BufferStore(buffer, value, [ramp(index, lanes)])

    def _locate(self, offset: int) -> tuple[tirx.Buffer, Expr]:
        if self._unit == 1:
            return self._flat, self._base + int64(offset)
        start = offset // self._reach * self._reach + offset % self._unit
        if start not in self._views:
            self._views[start] = self._view(start)
        return self._views[start], int64(offset - start)

    def _view(self, start: int) -> tirx.Buffer:
        view, statements = behind_barrier(self._flat, self._base + int64(start), f"{self._flat.name}_{start}")
        self.statements += statements
        return view


def vector_at(flat: tirx.Buffer, at: Expr, lanes: int) -> Expr:
    """``flat[at : at + lanes]``."""
    return tirx.BufferLoad(flat, [ramp(at, lanes)])


def behind_barrier(flat: tirx.Buffer, first: Expr, name: str) -> tuple[tirx.Buffer, list[tirx.Stmt]]:
    """A view of ``flat`` from ``first`` on whose origin LLVM cannot see, and the statements that declare it.

    The barrier costs no instruction. ``flat`` must be a parameter that is only read or only written: TVM tells LLVM
    that it and its view do not meet.
    """
    address = tirx.address_of(tirx.BufferLoad(flat, [first]))
    pointer = tirx.Var(name, address.ty)
    barrier = tirx.call_llvm_pure_intrin(address.ty, "llvm.launder.invariant.group", address)
    view = tirx.decl_buffer(flat.shape, "float32", name, data=pointer, layout=None)
    return view, [tirx.Bind(pointer, barrier), tirx.DeclBuffer(view, data=pointer)]


def shuffle(vectors: Sequence[Expr], lanes: Sequence[int]) -> Expr:
    """The chosen lanes of the concatenated ``vectors``; a scalar when there is one."""
    vectors = list(vectors)
    while sum(vector.ty.dtype.lanes for vector in vectors) < len(lanes):  # TVM wants no more lanes than there are
        vectors.append(vectors[-1])
    return tirx.Shuffle(vectors, [tirx.IntImm("int32", int(lane)) for lane in lanes])


def broadcast(value: Expr, lanes: int) -> Expr:
    """``value`` in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def zeros(lanes: int) -> Expr:
    """A vector of float32 zeros."""
    return broadcast(tirx.const(0.0, "float32"), lanes)


def gather(window: Window, places: Sequence[int | None], span: Span, origin: int = 0) -> Expr:
    """The elements at ``places``, zero where one is None: one wide load inside ``span`` and a shuffle.

    ``places`` lie within a few vectors of each other. Consecutive ones are one plain load; of strided ones those that
    a multiple of the stride from ``origin`` on would read share their load with the ones between.

    Raises:
        ValueError: a place lies outside ``span``.
    """
    known = [place for place in places if place is not None]
    if not known:
        return zeros(len(places))
    first, last = min(known), max(known)
    if first < span.low or last >= span.high:
        raise ValueError(f"elements {first} to {last} are outside of {span}")
    if len(known) == len(places) and list(places) == list(range(first, first + len(places))):
        return window.load(first, len(places))
    start, width = _window(places, span, origin)
    if len(places) == 1:
        return window.load(first, 1)
    parts = [window.load(at, min(len(places), start + width - at)) for at in range(start, start + width, len(places))]
    lanes = [width if place is None else place - start for place in places]
    return shuffle([*parts, zeros(len(places))] if None in places else parts, lanes)


def _window(places: Sequence[int | None], span: Span, origin: int) -> tuple[int, int]:
    """(start, width) of the load that serves ``places``.

    Where ``span`` has room its width is a power of two, and it starts where the whole vector would if nothing hung
    over, rounded down to the stride: neighbours then share it.
    """
    known = [(lane, place) for lane, place in enumerate(places) if place is not None]
    (lane, first), (last_lane, last) = known[0], known[-1]
    step = max(1, (last - first) // max(1, last_lane - lane))
    width = 1 << (step * len(places) - 1).bit_length()
    if width > span.high - span.low:
        return first, last + 1 - first
    start = first - lane * step
    start = min(max(start - (start - origin) % step, span.low), span.high - width)
    if start <= first and last < start + width:
        return start, width
    return first, last + 1 - first
