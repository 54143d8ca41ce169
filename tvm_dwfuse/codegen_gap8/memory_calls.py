"""A group computed by several calls: bands of its output, pieces of its constants, and what each call moves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..groups import Group, GroupedNetwork
from ..tiling.chain import Chain, Transfer, weight_row
from ..tiling.elementwise import AddPlan
from .memory_plan import ConstantArray, Piece, Traffic, align

#: Bytes that one (multiplier, offset) pair takes.
REQUANTIZATION = 8

#: L3 transfers start at multiples of this many bytes.
L3_WORD = 4


@dataclass(frozen=True)
class Span:
    """Bytes [lo, hi) of an activation, and the row that byte ``lo`` begins."""

    lo: int
    hi: int
    row: int = 0

    def aligned(self, limit: int) -> tuple[int, int]:
        """The bytes that an L3 transfer moves for it; ``limit`` is the aligned size of the activation."""
        return self.lo // L3_WORD * L3_WORD, min(-(-self.hi // L3_WORD) * L3_WORD, limit)


@dataclass(frozen=True)
class Band:
    """Rows (or elements, or channels) [begin, end) of a group's output, and the bytes of its operands they involve."""

    begin: int
    end: int
    inputs: tuple[Span, ...]
    output: Span


def extent(group: Group) -> int:
    """What bands divide: rows of a chain's output, elements of a sum, channels of a pool."""
    if isinstance(group.plan, Chain):
        return group.plan.out_rows
    return group.plan.elements if isinstance(group.plan, AddPlan) else group.plan.channels


def band_unit(group: Group, grouped: GroupedNetwork) -> int:
    """Bands begin at multiples of this; the whole extent where the group cannot be computed in bands.

    Rows of a CHW tensor are no run of bytes, and a mean needs the whole image.
    """
    whole = extent(group)
    if isinstance(group.plan, AddPlan):
        return min(whole, math.lcm(group.plan.chunk, L3_WORD))
    tensors = (*group.inputs, group.output)
    if not isinstance(group.plan, Chain) or any(grouped.layouts[name] != "hwc" for name in tensors):
        return whole
    width = group.plan.sizes[-1][1] * group.plan.tensor_channels[-1]
    # Bands of the output are written to L3, whose transfers want whole words.
    return min(whole, math.lcm(group.plan.tile.rows, L3_WORD // math.gcd(width, L3_WORD)))


def bands(group: Group, size: int) -> list[Band]:
    """Bands of ``size``, the last one smaller."""
    whole = extent(group)
    return [band(group, begin, min(begin + size, whole)) for begin in range(0, whole, size)]


def band(group: Group, begin: int, end: int) -> Band:
    """The band of rows (or elements, or channels) [begin, end)."""
    plan = group.plan
    if isinstance(plan, AddPlan):
        return Band(begin, end, (Span(begin, end), Span(begin, end)), Span(begin, end))
    if not isinstance(plan, Chain):
        return Band(begin, end, (Span(0, plan.height * plan.width * plan.channels),), Span(0, plan.channels))
    x_row = plan.sizes[0][1] * plan.tensor_channels[0]
    y_row = plan.sizes[-1][1] * plan.tensor_channels[-1]
    if (begin, end) == (0, plan.out_rows):
        x = Span(0, plan.height * x_row)
    else:
        first = plan.first_row(0, begin)
        x = Span(first * x_row, plan.end_row(0, end) * x_row, first)
    return Band(begin, end, (x,), Span(begin * y_row, end * y_row, begin))


def has_constants(group: Group) -> bool:
    """Whether the group reads constants; those of sums and pools are in their code."""
    return isinstance(group.plan, Chain)


def pieces(group: Group, limit: int, offset: int) -> list[Piece]:
    """The constants in pieces of at most ``limit`` bytes, or as small as they can be cut; the first at ``offset``.

    Each but the last has the same number of blocks.
    """
    if not isinstance(group.plan, Chain):
        return []
    blocks = group.plan.blocks if group.plan.can_block else 1
    # With several blocks the largest is the first, as only the last one may have fewer channels.
    block_bytes = _piece(group, "", 0, 1, 0).bytes
    most = max(1, limit // block_bytes)
    count = -(-blocks // most)
    each = -(-blocks // count)
    made: list[Piece] = []
    for begin in range(0, blocks, each):
        name = f"{group.name}_constants" + (f"_{len(made)}" if count > 1 else "")
        made.append(_piece(group, name, begin, min(begin + each, blocks), offset))
        offset += made[-1].bytes
    return made


@lru_cache(maxsize=4096)
def traffic(group: Group, begin: int, end: int, blocks: tuple[int, int]) -> Traffic:
    """What one call moves between L2 and L1."""
    total = [0, 0, 0, 0]
    for transfer in _transfers(group, begin, end, blocks):
        kind = 2 if transfer.kind == "constant" else 0 if transfer.inward else 1
        total[kind] += transfer.bytes
        total[3] += 1
    return Traffic(*total)


@lru_cache(maxsize=4096)
def first_bytes(group: Group) -> int:
    """Bytes that are fetched before a call can compute anything."""
    plan = group.plan
    first = plan.transfers(*next(plan.iterations()))
    return sum(transfer.bytes for transfer in first if transfer.inward)


def _piece(group: Group, name: str, begin: int, end: int, offset: int) -> Piece:
    plan = group.plan
    assert isinstance(plan, Chain)
    arrays: list[ConstantArray] = []
    size = 0
    for i, stage in enumerate(plan.stages):
        lo, hi = 0, stage.out_channels
        if plan.can_block:
            lo, hi = begin * plan.tile.channels, min(end * plan.tile.channels, hi)
        for name_, row in ((f"w{i}", weight_row(stage)), (f"q{i}", REQUANTIZATION)):
            arrays.append(ConstantArray(name_, i, lo, hi, size, (hi - lo) * row))
            size += arrays[-1].bytes
    return Piece(name, group.name, begin, end, tuple(arrays), align(offset))


def _transfers(group: Group, begin: int, end: int, blocks: tuple[int, int]) -> Iterator[Transfer]:
    plan = group.plan
    if not isinstance(plan, Chain):
        size = plan.chunk if isinstance(plan, AddPlan) else plan.tile
        for first in range(begin, end, size):
            yield from plan.transfers(first, min(first + size, end))
        return
    for block in range(*blocks):
        for step, row in enumerate(range(begin, end, plan.tile.rows)):
            # The input that stays for all blocks is fetched with the first block of the call.
            fetched = plan.input_resident and block > blocks[0]
            yield from _step_transfers(plan, block, step, row, min(row + plan.tile.rows, end), fetched)


def _step_transfers(chain: Chain, block: int, step: int, begin: int, end: int, fetched: bool) -> Iterator[Transfer]:
    transfers = chain.transfers(block, step, begin, end)
    if chain.input_resident and block and not fetched:
        rows = len(chain.input_rows(begin, end, step == 0))
        yield from chain.input_transfers(rows, chain.tensor_channels[0])
    yield from transfers
