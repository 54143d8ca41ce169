"""The register tiles of the weight gradient: what is walked together, and which taps are summed up meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets import CpuTarget

from .axis import Axis, cover
from .weight_sweep import Walk

#: Rows of NHWC that can be walked together, where rows are too far apart for the offsets of an instruction to reach
#: from one to the next, so that each takes a general register: Armv8 has 31 (Arm ARM B1.2).
_POINTERS = {"aarch64": 16}

#: Vector multiplications in the code that count as much as one load for each that is executed: 1000 take LLVM .3 s.
_CODE_FOR_A_LOAD = 15_000

#: Most rows of NHWC, most vectors of a row of NCHW, and most of those at a stride: LLVM loads the latter in pairs far
#: ahead, and has no registers for more.
_MOST_ROWS, _MOST_VECTORS, _MOST_STRIDED = 8, 4, 2


@dataclass(frozen=True)
class WeightTile:
    """``streams`` of gradient vectors of ``lanes`` walked together, and the parts of the filter summed up meanwhile.

    In NHWC a stream is a row of pixels, and ``groups`` are rows of the filter; in NCHW a stream is a vector of columns,
    and ``groups`` are columns of the filter. Each group walks everything again.
    """

    lanes: int
    streams: int
    groups: tuple[range, ...]


def default_tile(conv: Depthwise, rows: Axis, columns: Axis, target: CpuTarget) -> WeightTile:
    """The tile that is expected to be fastest."""
    if conv.layout == "NCHW":
        return _column_tile(rows, columns, target)
    return _row_tile(rows, columns, _channel_lanes(conv, target.lanes), target)


def split_taps(taps: int, parts: int) -> tuple[range, ...]:
    """``range(taps)`` in parts that differ by at most one, longest first."""
    size, longer = divmod(taps, parts)
    ends = [part * size + min(part, longer) for part in range(parts + 1)]
    return tuple(range(ends[part], ends[part + 1]) for part in range(parts))


def _spare(target: CpuTarget) -> int:
    """Vector registers left for inputs; with only 16, those of x86, a multiplication takes one from memory."""
    return 2 if target.registers > 16 else 1


def _row_tile(rows: Axis, columns: Axis, lanes: int, target: CpuTarget) -> WeightTile:
    """The rows that take fewest loads for each multiplication.

    A step over one column loads R gradient vectors and, of each input column, the rows that meet them, R + 2 for three
    rows of the filter at stride 1; it multiplies 9 R times. So many rows are best, but the window holds ``kw`` gradient
    vectors for each row beside the ``kh kw`` sums: R is at most 7 with 32 registers (.254 loads for a multiplication)
    and 2 with 16 (.333). Where borders are code of their own more rows are more code, so R = 5 (.267) is preferred for
    planes that need several tiles.
    """
    candidates = [
        WeightTile(lanes, size, split_taps(rows.taps, parts))
        for parts in range(1, rows.taps + 1)
        for size in range(1, min(rows.outputs, _MOST_ROWS) + 1)
    ]
    pointers = _POINTERS.get(target.arch, math.inf)
    fitting = [
        tile
        for tile in candidates
        if window_registers(columns, tile) + _spare(target) <= target.registers and _pointers(rows, tile) <= pointers
    ]
    last_resort = WeightTile(lanes, 1, split_taps(rows.taps, rows.taps))
    return min(fitting, key=lambda tile: _row_cost(rows, columns, tile), default=last_resort)


def window_registers(walked: Axis, tile: WeightTile) -> int:
    """Registers for the sums of a group and for the gradient vectors that wait, ``walked`` being the axis walked."""
    return max(map(len, tile.groups)) * walked.taps + tile.streams * Walk(walked).window


def _pointers(rows: Axis, tile: WeightTile) -> int:
    """Rows of both operands that are walked together."""
    return tile.streams + max(len(_met(rows, tile, group)) for group in tile.groups)


def _met(rows: Axis, tile: WeightTile, group: range) -> set[int | None]:
    """The input rows that a tile in the interior meets."""
    return {rows.source(out, tap) for out in range(tile.streams) for tap in group}


def _row_cost(rows: Axis, columns: Axis, tile: WeightTile) -> float:
    """Vectors loaded for each multiplication in the interior, and something for code."""
    walk = Walk(columns)
    loads = sum(tile.streams + len(walk.phases) * len(_met(rows, tile, group)) for group in tile.groups)
    code = row_multiplications(rows, columns, tile)
    return loads / (tile.streams * rows.taps * columns.taps) + code / _CODE_FOR_A_LOAD


def row_multiplications(rows: Axis, columns: Axis, tile: WeightTile) -> int:
    """Vector multiplications that are written out for strips of rows."""
    outs = [strip.first + i for strip in cover(rows, tile.streams) for i in range(strip.size)]
    return sum(len(rows.reads(out)) for out in outs) * Walk(columns).multiplications


def _channel_lanes(conv: Depthwise, lanes: int) -> int:
    """Output channels in a vector: whole groups of those that share an input channel, or a part of one group."""
    if conv.multiplier > lanes:
        return next(size for size in range(lanes, 0, -1) if conv.multiplier % size == 0)
    inputs = min(lanes // conv.multiplier, conv.channels)
    return conv.multiplier << (inputs.bit_length() - 1)


def _column_tile(rows: Axis, columns: Axis, target: CpuTarget) -> WeightTile:
    """The most vectors whose windows fit in the registers beside the sums.

    A step down one row loads a gradient vector and an unaligned input vector for each column of the filter, and
    multiplies 9 times for a filter of 3x3: .44 loads for each multiplication, however many vectors are walked together.
    Shifting aligned inputs into place would need as many instructions, on the pipe that multiplies. But two vectors
    that are neighbours can be loaded by one instruction of Armv8 (``ldp``), and four share the work of the loop and a
    cache line.
    """
    lanes = _width_lanes(columns.outputs, target)
    kept = Walk(rows).window
    most = min(_MOST_VECTORS if columns.in_step == 1 else _MOST_STRIDED, -(-columns.outputs // lanes))
    for parts in range(1, columns.taps + 1):
        groups = split_taps(columns.taps, parts)
        free = target.registers - rows.taps * len(groups[0]) - 2
        if free >= kept:
            return WeightTile(lanes, min(most, free // kept), groups)
    return WeightTile(lanes, 1, split_taps(columns.taps, columns.taps))


def _width_lanes(width: int, target: CpuTarget) -> int:
    """Lanes of the vectors that cover a row in the least time."""
    whole = min(target.lanes, 1 << (width - 1).bit_length())
    if not target.half_vectors_are_cheap or whole < target.lanes:
        return whole
    half = target.lanes // 2
    return half if -(-width // half) < 2 * -(-width // whole) else whole
