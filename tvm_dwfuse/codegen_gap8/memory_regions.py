"""Addresses for regions of one memory whose lifetimes are known, and the check that no two that coexist overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from ..errors import DwfuseError
from .memory_plan import ALIGNMENT, Region

#: Ways to place regions: in order of time at the lowest free address, the largest first, or in order of time with
#: activations alternately at the bottom and at the top, which leaves one hole in the middle.
Strategy = Literal["time", "size", "alternate"]
STRATEGIES: tuple[Strategy, ...] = ("alternate", "time", "size")


def place(regions: Sequence[Region], capacity: int, strategy: Strategy) -> tuple[Region, ...] | None:
    """The same regions, in the same order, with addresses below ``capacity``; None if the strategy finds none."""
    placed: dict[str, Region] = {}
    at_top = False
    for region in _in_order(regions, strategy):
        from_top = strategy == "alternate" and region.kind == "activation" and at_top
        at_top ^= region.kind == "activation"
        address = find_gap(region, placed.values(), capacity, from_top=from_top)
        if address is None:
            return None
        placed[region.name] = replace(region, address=address)
    return tuple(placed[region.name] for region in regions)


def gaps(region: Region, others: Iterable[Region], capacity: int) -> list[tuple[int, int]]:
    """(begin, end) of the free runs of at least its size while ``region`` is in use, lowest first."""
    taken = sorted((other.address, other.end) for other in others if other.coexists(region))
    found, free = [], 0
    # From the top as from the bottom, addresses are to be aligned.
    top = capacity // ALIGNMENT * ALIGNMENT
    for begin, end in [*taken, (top, top)]:
        if begin - free >= region.bytes:
            found.append((free, begin))
        free = max(free, end)
    return found


def find_gap(region: Region, others: Iterable[Region], capacity: int, from_top: bool = False) -> int | None:
    """The lowest address where ``region`` fits, or the highest; None if it fits nowhere."""
    found = gaps(region, others, capacity)
    if not found:
        return None
    return found[-1][1] - region.bytes if from_top else found[0][0]


def check_regions(regions: Sequence[Region], capacity: int) -> None:
    """Check that regions lie in the memory and that no two that coexist overlap.

    Raises:
        DwfuseError: some do; names them.
    """
    if len({region.name for region in regions}) < len(regions):
        raise DwfuseError("memory plan: two regions of one name")
    for i, region in enumerate(regions):
        if region.address < 0 or region.end > capacity or region.first > region.last:
            raise DwfuseError(f"memory plan: {region} lies outside the {capacity} bytes")
        for other in regions[:i]:
            if region.overlaps(other):
                raise DwfuseError(f"memory plan: {region} overlaps {other}")


def _in_order(regions: Sequence[Region], strategy: Strategy) -> list[Region]:
    if strategy == "size":
        return sorted(regions, key=lambda region: (-region.bytes, region.first))
    return sorted(regions, key=lambda region: (region.first, region.kind != "activation"))
