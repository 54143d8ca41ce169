"""A draft of the plan: calls of each group and regions of L2 with their lifetimes, before transfers have a place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ..groups import Group
from .memory_calls import Band, band_unit, bands, extent, has_constants, pieces
from .memory_limits import Needs, window_bytes
from .memory_plan import Piece, Region, align
from .memory_regions import Strategy, check_regions, place


@dataclass(frozen=True)
class Knobs:
    """What the planner tries.

    Args:
        piece_bytes: for each group, constants are cut in pieces of at most that.
        share: part of the free L2 that double-buffered windows may take.
        bands: least number of bands of a group with activations in L3, where there can be bands.
        strategy: how activations and windows are placed.
        fit: which hole streamed constants go to: the lowest, the smallest, or the next after the last one filled.
    """

    piece_bytes: tuple[int, ...]
    share: float = 0.9
    bands: int = 1
    strategy: Strategy = "alternate"
    fit: str = "low"


@dataclass(frozen=True, eq=False)
class GroupDraft:
    """The calls of one group: each band with each piece, bands outside; ``start`` is the first one's index.

    ``spilled`` are the names of its operands that live in L3; their windows have ``slots``.
    """

    group: Group
    bands: tuple[Band, ...]
    pieces: tuple[Piece, ...]
    spilled: frozenset[str]
    slots: int
    start: int

    @property
    def calls_per_band(self) -> int:
        """One for each piece."""
        return max(1, len(self.pieces))

    @property
    def last(self) -> int:
        """Index of the last call."""
        return self.start + len(self.bands) * self.calls_per_band - 1

    def first_call(self, band: int) -> int:
        """Index of the first call of a band."""
        return self.start + band * self.calls_per_band

    def window(self, operand: int, band: int) -> str:
        """Name of the window on that operand (inputs in order, then the output) for that band."""
        what = "output" if operand == len(self.group.inputs) else f"input{operand}" if operand else "input"
        return f"{self.group.name}_{what}_window" + (f"_{band % self.slots}" if self.slots > 1 else "")


@dataclass(frozen=True)
class Load:
    """One read of a piece of constants into ``region``, which calls ``first`` to ``region.last`` use."""

    piece: Piece
    first: int
    region: Region


@dataclass(frozen=True, eq=False)
class Draft:
    """Calls of all groups, and what lives where in L3."""

    needs: Needs
    groups: tuple[GroupDraft, ...]
    spilled: frozenset[str]
    pieces: tuple[Piece, ...]

    @property
    def calls(self) -> int:
        """Number of calls."""
        return self.groups[-1].last + 1

    @cached_property
    def lifetimes(self) -> dict[str, tuple[int, int]]:
        """First and last call during which each activation is needed."""
        spans = self.needs.lifetimes.spans
        return {name: (self.groups[i].start, self.groups[j].last) for name, (i, j) in spans.items()}

    def activations(self) -> list[Region]:
        """Regions of the activations that stay in L2."""
        return [
            Region(name, "activation", self.needs.sizes[name], *span)
            for name, span in self.lifetimes.items()
            if name not in self.spilled
        ]

    def windows(self) -> list[Region]:
        """Windows on the activations that live in L3."""
        made: dict[str, Region] = {}
        for draft in self.groups:
            for operand, name in enumerate((*draft.group.inputs, draft.group.output)):
                if name not in draft.spilled:
                    continue
                for i, band in enumerate(draft.bands):
                    lo, hi = (*band.inputs, band.output)[operand].aligned(self.needs.sizes[name])
                    window = draft.window(operand, i)
                    size = max(align(hi - lo), made[window].bytes if window in made else 0)
                    made[window] = Region(window, "window", size, draft.start, draft.last)
        return list(made.values())

    def loads(self) -> list[Load]:
        """Reads of constants in the order of their use."""
        made = []
        for draft in self.groups:
            if len(draft.pieces) == 1:
                piece = draft.pieces[0]
                made.append(_load(piece, piece.name, draft.start, draft.last))
                continue
            for band in range(len(draft.bands)):
                for i, piece in enumerate(draft.pieces):
                    name = piece.name if len(draft.bands) == 1 else f"{piece.name}_band{band}"
                    call = draft.first_call(band) + i
                    made.append(_load(piece, name, call, call))
        return made


def make_draft(needs: Needs, spilled: set[str], capacity: int, knobs: Knobs) -> Draft:
    """Cut each group's work in bands and pieces; every group finds the L2 it needs (``choose_spilled`` saw to that)."""
    drafts: list[GroupDraft] = []
    all_pieces: list[Piece] = []
    start = offset = 0
    for index, group in enumerate(needs.grouped.groups):
        free = capacity - needs.resident(index, spilled)
        limit = min(knobs.piece_bytes[index], free - needs.windows(index, spilled))
        made = pieces(group, limit, offset) if has_constants(group) else []
        offset += sum(piece.bytes for piece in made)
        all_pieces += made
        here = frozenset(name for name in (*group.inputs, group.output) if name in spilled)
        free -= max((piece.bytes for piece in made), default=0)
        size, slots = _band_size(needs, group, here, free, knobs)
        drafts.append(GroupDraft(group, tuple(bands(group, size)), tuple(made), here, slots, start))
        start = drafts[-1].last + 1
    return Draft(needs, tuple(drafts), frozenset(spilled), tuple(all_pieces))


def place_draft(draft: Draft, capacity: int, strategy: Strategy) -> tuple[list[Region], list[Load]] | None:
    """Addresses for activations and windows, and for each load one that is free while it is used; None without any.

    Windows are then lengthened by a call where nothing is in the way, so that the first band is fetched and the last
    one written back while the neighbours of the group compute.
    """
    loads = draft.loads()
    fixed = [*draft.activations(), *draft.windows()]
    placed = place([*fixed, *(load.region for load in loads)], capacity, strategy)
    if placed is None:
        return None
    regions = {region.name: region for region in placed}
    for name, first, last in _lengthened(draft):
        region = regions[name]
        longer = replace(region, first=min(region.first, first), last=max(region.last, last))
        if not any(longer.overlaps(other) for other in regions.values() if other.name != name):
            regions[name] = longer
    check_regions(list(regions.values()), capacity)
    found = [replace(load, region=regions[load.region.name]) for load in loads]
    return [regions[region.name] for region in fixed], found


def _load(piece: Piece, name: str, first: int, last: int) -> Load:
    return Load(piece, first, Region(name, "constants", piece.bytes, first, last))


def _lengthened(draft: Draft) -> list[tuple[str, int, int]]:
    """(window, first call, last call): first input windows filled a call earlier, last output windows emptied later."""
    wanted = []
    for group in draft.groups:
        operands = (*group.group.inputs, group.group.output)
        for operand, name in enumerate(operands):
            if name not in group.spilled:
                continue
            if operand == len(group.group.inputs):
                last = min(group.last + 1, draft.calls - 1)
                wanted.append((group.window(operand, len(group.bands) - 1), group.last, last))
            elif group.start and not _written_too_late(draft, group, operand):
                wanted.append((group.window(operand, 0), group.start - 1, group.start))
    return wanted


def _written_too_late(draft: Draft, group: GroupDraft, operand: int) -> bool:
    """Whether the first band of that input is written by the call before the group, or needs it complete."""
    name = group.group.inputs[operand]
    span = group.bands[0].inputs[operand]
    for producer in draft.groups:
        if producer.group.output == name:
            late = producer.bands[-1].output.lo if producer.last == group.start - 1 else span.hi
            return span.hi > late
    return False


def _band_size(needs: Needs, group: Group, spilled: frozenset[str], free: int, knobs: Knobs) -> tuple[int, int]:
    """(extent of a band, slots of each window)."""
    whole = extent(group)
    if not spilled:
        return whole, 1
    unit = band_unit(group, needs.grouped)

    def windows(size: int) -> int:
        sizes = window_bytes(group, size, needs.sizes)
        return sum(sizes[name] for name in spilled)

    if windows(whole) <= free and (knobs.bands == 1 or unit == whole):
        return whole, 1
    sizes = range(unit, max(unit, -(-whole // knobs.bands)) + 1, unit)
    double = [size for size in sizes if 2 * windows(size) <= knobs.share * free]
    if double:
        return max(double), 2
    if 2 * windows(unit) <= free:
        return unit, 2
    return max(size for size in [*range(unit, whole, unit), whole] if windows(size) <= free), 1
