"""The calls of a draft, one by one: their ranges, operands, share of the work and bytes."""

from __future__ import annotations

from collections.abc import Mapping

from ..targets.gap8 import ClusterTarget
from .memory_calls import Span, extent, first_bytes, traffic
from .memory_draft import Draft, GroupDraft
from .memory_plan import Invocation, Operand, Region, Traffic

#: Cycles of the fabric controller around a call, besides the fork.
CALL_CYCLES = 400

#: (group, band, piece)
Call = tuple[GroupDraft, int, int]


def calls(draft: Draft) -> list[Call]:
    """Every call in order."""
    return [
        (group, band, piece)
        for group in draft.groups
        for band in range(len(group.bands))
        for piece in range(group.calls_per_band)
    ]


def group_traffic(draft: Draft) -> dict[str, Traffic]:
    """What the calls of each group move between L2 and L1."""
    totals = {group.group.name: Traffic() for group in draft.groups}
    for group, band, piece in calls(draft):
        begin, end = _range(group, band)
        totals[group.group.name] += traffic(group.group, begin, end, _blocks(group, piece))
    return totals


def invocation(
    draft: Draft,
    call: Call,
    regions: Mapping[str, Region],
    constants: Region | None,
    target: ClusterTarget,
) -> Invocation:
    """A call with its addresses; ``constants`` is where its piece lies in L2."""
    group, band, piece = call
    here = group.bands[band]
    names = (*group.group.inputs, group.group.output)
    operands = tuple(
        _operand(draft, group, band, operand, name, span, regions)
        for operand, (name, span) in enumerate(zip(names, (*here.inputs, here.output), strict=True))
    )
    arrays = group.pieces[piece].arrays if constants is not None else ()
    begin, end = _range(group, band)
    return Invocation(
        group=group.group.name,
        begin=begin,
        end=end,
        blocks=_blocks(group, piece),
        inputs=operands[:-1],
        output=operands[-1],
        piece=group.pieces[piece].name if group.pieces else None,
        constants_region=constants.name if constants else None,
        constants=tuple(constants.address + array.offset for array in arrays) if constants else (),
        before=(),
        after=(),
        completes=piece == group.calls_per_band - 1,
        work=_work(group, band, piece),
        overhead=_overhead(group, band, piece, target),
    )


def _range(group: GroupDraft, band: int) -> tuple[int, int]:
    """Rows that the call computes; sums count from their operands' addresses on."""
    here = group.bands[band]
    return (here.begin, here.end) if group.pieces else (0, here.end - here.begin)


def _blocks(group: GroupDraft, piece: int) -> tuple[int, int]:
    return (group.pieces[piece].begin, group.pieces[piece].end) if group.pieces else (0, 0)


def _work(group: GroupDraft, band: int, piece: int) -> float:
    here = group.bands[band]
    work = (here.end - here.begin) / extent(group.group)
    if group.pieces:
        work *= group.pieces[piece].bytes / sum(piece.bytes for piece in group.pieces)
    return work


def _overhead(group: GroupDraft, band: int, piece: int, target: ClusterTarget) -> float:
    """Cycles of the call, and for each but the first those until its first tile is in L1 (the first is the group's)."""
    call = target.fork + CALL_CYCLES
    if band == piece == 0:
        return call
    return call + target.dma_latency + first_bytes(group.group) / target.dma_bytes_per_cycle


def _operand(
    draft: Draft, group: GroupDraft, band: int, operand: int, name: str, span: Span, regions: Mapping[str, Region]
) -> Operand:
    is_chain = bool(group.pieces)
    if name in group.spilled:
        region = regions[group.window(operand, band)]
        offset = span.lo - span.aligned(draft.needs.sizes[name])[0]
        return Operand(region.name, region.address + offset, offset, span.row, span.lo, span.hi)
    # Chains find their row in the whole activation; sums are given the address of their first element.
    offset = 0 if is_chain else span.lo
    region = regions[name]
    return Operand(name, region.address + offset, offset, 0, span.lo, span.hi)
