"""Functions that only move data: concat, split, slice, channel shuffle, transpose, and any chain of these.

Whatever such a function is called, each element of its output is a copy of one element of an input. Which one is
worked out by evaluating the indices over the whole output. Where the answer is affine in all axes but the last, the
function is replaced by one that writes whole vectors, each put together from few vector loads by a shuffle. So the
concat, shuffle and split of ShuffleNetV2 (Ma et al. 2018) is one pass over memory, and NCHW to NHWC needs no gathers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from tvm import s_tir, tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, IterVar

from tvm_dwfuse.targets import CpuTarget

from .analysis import inline_into_outputs, is_worth_threads, leaf_blocks, schedule_of
from .index_maps import copied_from
from .lanes import ramp, vector_at
from .loops import FlatViews, int64, nest, sequence, with_statements

#: Longest last axis that is unrolled; a longer one is first cut in pieces.
_MAX_UNROLLED = 512


@dataclass(frozen=True)
class Move:
    """``out[i.., w, c] = sources[which[c]][base[c] + (i.., w) . strides[:, c]]``, all offsets into flat buffers."""

    out: tirx.Buffer
    shape: tuple[int, ...]
    sources: tuple[tirx.Buffer, ...]
    which: np.ndarray
    base: np.ndarray
    strides: np.ndarray

    def tile(self, lanes: int) -> int:
        """Pixels ``w`` written together: several where the channels of one do not fill a vector."""
        return min(lanes, self.shape[-2]) if self.shape[-1] < lanes else 1


@dataclass(frozen=True)
class _Load:
    """Elements ``first .. first + width`` of a source, as seen from index 0 on all outer axes."""

    which: int
    strides: tuple[int, ...]
    first: int
    width: int


def apply(func: tirx.PrimFunc, target: CpuTarget, threads: int) -> tirx.PrimFunc | None:
    """``func`` rewritten to whole-vector copies; None if it computes anything, or moves data irregularly."""
    sch = schedule_of(func, IterVar.DataPar)
    if sch is None:
        return None
    inline_into_outputs(sch)
    moves = [_trace(sch.get(block)) for block in leaf_blocks(sch)]
    known = [move for move in moves if move is not None]
    outputs = [move.out for move in known]
    if len(known) < len(moves) or any(source in outputs for move in known for source in move.sources):
        return None
    return _Emitter(known, target.lanes, threads).function(func)


def _trace(block: s_tir.SBlock) -> Move | None:
    sources = copied_from(block)
    if sources is None:
        return None
    shape = _working_shape(sources.shape)
    rank = len(shape)
    which, offset = sources.which.reshape(shape), sources.offset.reshape(shape)
    origin = (0,) * (rank - 1)
    strides = np.zeros((rank - 1, shape[-1]), dtype=np.int64)
    expected = offset[origin].copy()
    for axis in range(rank - 1):
        if shape[axis] > 1:
            strides[axis] = offset[tuple(int(a == axis) for a in range(rank - 1))] - offset[origin]
        steps = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(rank)])
        expected = expected + steps * strides[axis]
    if not (np.array_equal(expected, offset) and (which == which[origin]).all()) or _repeats(which, offset):
        return None
    return Move(sources.out, shape, sources.buffers, which[origin], offset[origin], strides)


def _repeats(which: np.ndarray, offset: np.ndarray) -> bool:
    """Whether an element is copied twice within one step of all axes but the last two, as a broadcast does."""
    plane = (0,) * (which.ndim - 2)
    copied = np.stack([which[plane].ravel(), offset[plane].ravel()])
    return np.unique(copied, axis=1).shape[1] < copied.shape[1]


def _working_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """At least two axes, the last of them short."""
    last = shape[-1]
    if last > _MAX_UNROLLED:
        piece = max(size for size in range(1, _MAX_UNROLLED + 1) if last % size == 0)
        shape = (*shape[:-1], last // piece, piece)
    return shape if len(shape) > 1 else (1, *shape)


class _Emitter:
    """Writes the loops and the vector statements of one function."""

    def __init__(self, moves: list[Move], lanes: int, threads: int) -> None:
        self._moves = moves
        self._lanes = lanes
        self._threads = threads
        self._flat = FlatViews()

    def function(self, func: tirx.PrimFunc) -> tirx.PrimFunc:
        """``func`` with the moves as its body; those that loop alike share their loops."""
        nests = [
            self._nest(list(alike))
            for _, alike in groupby(self._moves, key=lambda move: (move.shape[:-1], move.tile(self._lanes)))
        ]
        return with_statements(func, [*self._flat.declarations(), *nests])

    def _nest(self, moves: list[Move]) -> tirx.Stmt:
        *outer, width, _ = moves[0].shape
        tile = moves[0].tile(self._lanes)

        def body(at: list[Expr]) -> tirx.Stmt:
            first = at[-1] * int64(tile)
            pixel = tirx.min(first, int64(width - tile)) if width % tile else first
            return sequence([store for move in moves for store in self._stores(move, tile, [*at[:-1], pixel])])

        elements = sum(math.prod(move.shape) for move in moves)
        return nest([*outer, -(-width // tile)], is_worth_threads(elements, self._threads), body)

    def _stores(self, move: Move, tile: int, at: list[Expr]) -> Iterator[tirx.Stmt]:
        pitch = [math.prod(move.shape[axis:]) for axis in range(1, len(move.shape))]
        start = _dot(at, pitch)
        out = self._flat.of(move.out)
        for first, lanes in _windows(tile * move.shape[-1], self._lanes):
            value = self._gather(move, np.arange(first, first + lanes), at)
            yield BufferStore(out, value, [ramp(start + first, lanes)])

    def _gather(self, move: Move, elements: np.ndarray, at: list[Expr]) -> Expr:
        """The vector of these elements of a tile: as few loads as cover them, then a shuffle."""
        pixel, channel = np.divmod(elements, move.shape[-1])
        address = move.base[channel] + pixel * move.strides[-1, channel]
        loads: list[_Load] = []
        lane = np.zeros(len(elements), dtype=np.int64)
        position = 0
        keys = [(int(move.which[c]), *map(int, move.strides[:, c])) for c in channel]
        for key in dict.fromkeys(keys):
            members = [i for i, other in enumerate(keys) if other == key]
            members.sort(key=lambda i: address[i])
            for run in _runs(members, address, self._lanes):
                load = self._load(move, key[0], key[1:], int(address[run[0]]), int(address[run[-1]]))
                lane[run] = position + address[run] - load.first
                position += load.width
                loads.append(load)
        vectors = [self._read(move, load, at) for load in loads]
        if len(vectors) == 1 and np.array_equal(lane, np.arange(loads[0].width)):
            return vectors[0]
        return tirx.Shuffle(vectors, [tirx.IntImm("int32", int(i)) for i in lane])

    def _load(self, move: Move, which: int, strides: tuple[int, ...], first: int, last: int) -> _Load:
        """A load of ``first .. last``, rounded up to a power of two where that stays inside the buffer."""
        span = last - first + 1
        width = 1 << (span - 1).bit_length()
        steps = [*(extent - 1 for extent in move.shape[:-2]), move.shape[-2] - move.tile(self._lanes)]
        reach = [stride * step for stride, step in zip(strides, steps, strict=True)]
        lowest, highest = sum(min(0, r) for r in reach), sum(max(0, r) for r in reach)
        size = math.prod(int(extent) for extent in move.sources[which].shape)
        if first + highest + width <= size:
            return _Load(which, strides, first, width)
        if last + 1 - width + lowest >= 0:
            return _Load(which, strides, last + 1 - width, width)
        return _Load(which, strides, first, span)

    def _read(self, move: Move, load: _Load, at: list[Expr]) -> Expr:
        source = self._flat.of(move.sources[load.which])
        return vector_at(source, _dot(at, load.strides) + load.first, load.width)


def _windows(size: int, lanes: int) -> Iterator[tuple[int, int]]:
    """(first, lanes) of the vectors that cover ``size`` elements; the last ones overlap instead of being cut."""
    while lanes > size:
        lanes //= 2
    for first in range(0, size - lanes + 1, lanes):
        yield first, lanes
    rest = size % lanes
    if rest:
        fitting = 1 << (rest - 1).bit_length()
        yield size - fitting, fitting


def _runs(members: list[int], address: np.ndarray, lanes: int) -> Iterator[list[int]]:
    """``members``, sorted by address, in groups that one vector load covers."""
    run: list[int] = []
    for member in members:
        if run and address[member] - address[run[0]] >= lanes:
            yield run
            run = []
        run.append(member)
    yield run


def _dot(index: list[Expr], pitch: Sequence[int]) -> Expr:
    total: Expr = int64(0)
    for i, step in zip(index, pitch, strict=True):
        total = total + i * int64(step)
    return total
