"""The static plan of L2 and L3: where everything lies, what the fabric controller calls, and what it moves when.

A network whose constants fit in L2 beside its activations keeps them there as C arrays. Otherwise all constants are in
L3 and stream through L2, fetched as far ahead as there is room; activations that do not fit either live in L3 and
visit L2 in bands of rows. The planner tries values of a few knobs and keeps those that, run against a clock, take the
fewest cycles, or move the fewest bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..errors import DwfuseError
from ..groups import Group, GroupedNetwork
from ..targets.gap8 import ClusterTarget
from ..tiling.chain import Chain
from .memory_draft import Draft, Knobs, make_draft, place_draft
from .memory_limits import DoesNotFit, Needs, choose_spilled, refusal
from .memory_plan import ALIGNMENT, MemoryPlan, Region
from .memory_regions import STRATEGIES, place
from .memory_streams import Timeline, replay, stream, without_streams

#: Pieces of constants are at most this part of L2; the finer, the earlier they can be fetched, but each call costs.
PIECE_PARTS = (12, 8, 6, 4, 3, 2, 1)
FITS = ("low", "next", "smallest")
SHARES_AND_BANDS = ((0.9, 1), (0.9, 3), (0.5, 4))

#: With bytes as the objective, the fastest plan within this factor of the fewest bytes is taken.
TRAFFIC_TOLERANCE = 1.01

#: Parts of the calls that one would make with all of L2 for data, tried where their code takes too much of it.
CALL_SHARES = (1.1, 0.8, 0.6, 0.4, 0.3, 0.2)

#: Arenas of as many sizes are tried for a network that stays in L2, the smallest first: what it leaves is the user's.
ARENA_SIZES = 64

_UNLIMITED = 1 << 62


def plan_memory(
    grouped: GroupedNetwork,
    target: ClusterTarget,
    cycles: Mapping[str, int] | None = None,
    objective: str = "latency",
) -> MemoryPlan:
    """Plan L2 and L3.

    Args:
        grouped: the network cut into groups, each with its tile.
        target: its ``l2_bytes`` are for the network's own code, activations and constants.
        cycles: of each group by name, weights in L2; a rough count of operations by default.
        objective: "traffic" if the L2-L1 bytes of activations matter more than cycles.

    Raises:
        DwfuseError: a group does not fit L2, or constants and spilled activations do not fit L3.
    """
    cycles = cycles or {group.name: rough_cycles(group) for group in grouped.groups}
    layers = sum(len(group.layers) for group in grouped.groups)
    least = len(grouped.groups)
    plan = _plan_for(grouped, target.without_code(layers, least), cycles, objective, _UNLIMITED)
    wanted = len(plan.invocations)
    if wanted == least:
        return plan
    # Code of more calls leaves less room for data. Where that is too little, fewer calls have to do.
    refused = None
    for share in CALL_SHARES:
        calls = max(least, int(wanted * share))
        try:
            return _plan_for(grouped, target.without_code(layers, calls), cycles, objective, calls)
        except DwfuseError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def estimate(memory: MemoryPlan, cycles: Mapping[str, int], target: ClusterTarget) -> Timeline:
    """Cycles of a run, L3 transfers running behind the computation; ``cycles`` are those of each group alone."""
    return replay(memory, cycles, target)


def rough_cycles(group: Group) -> int:
    """Cycles of a group for want of better: operations at a typical rate, or activations if moving them is longer."""
    plan = group.plan
    operations = 0
    if isinstance(plan, Chain):
        operations = sum(stage.macs(*size) for stage, size in zip(plan.stages, plan.sizes[:-1], strict=True))
    return max(operations // 12, plan.activation_bytes() // 4)


def _plan_for(
    grouped: GroupedNetwork, machine: ClusterTarget, cycles: Mapping[str, int], objective: str, most_calls: int
) -> MemoryPlan:
    """The plan, of at most so many calls, for a machine whose L2 is all for data."""
    needs = Needs(grouped)
    in_l2 = _plan_resident(needs, machine)
    if in_l2 is not None:
        return in_l2
    if machine.l3_bytes == 0:
        raise DwfuseError(
            f"{grouped.network.name}: constants and activations do not fit the {machine.l2_bytes} bytes of L2 for "
            f"data, and {machine.name} has no L3; quantize a smaller network"
        )
    try:
        spilled = choose_spilled(needs, machine.l2_bytes)
    except DoesNotFit as misfit:
        raise refusal(needs, machine, misfit) from None
    while True:
        search = _Search(needs, spilled, machine, cycles, most_calls)
        plan = search.run(objective)
        if plan is not None:
            return plan
        if search.too_many_calls:
            raise DwfuseError(
                f"{grouped.network.name}: the code of its calls leaves too little of {machine.name}'s L2 for data; "
                "use a smaller resolution or width"
            )
        spilled = _spill_one_more(needs, spilled, machine)


def _plan_resident(needs: Needs, target: ClusterTarget) -> MemoryPlan | None:
    draft = make_draft(needs, set(), _UNLIMITED, Knobs((_UNLIMITED,) * len(needs.grouped.groups)))
    capacity = target.l2_bytes - sum(piece.bytes for piece in draft.pieces)
    for part in range(1, ARENA_SIZES + 1):
        limit = capacity * part // ARENA_SIZES // ALIGNMENT * ALIGNMENT
        for strategy in STRATEGIES:
            placed = place(draft.activations(), limit, strategy)
            if placed is not None:
                return without_streams(draft, placed, target)
    return None


@dataclass
class _Search:
    """The plans tried so far, with their cycles."""

    needs: Needs
    spilled: set[str]
    target: ClusterTarget
    cycles: Mapping[str, int]
    most_calls: int
    too_many_calls: bool = False
    tried: dict[Knobs, tuple[MemoryPlan, int]] = field(default_factory=dict)

    def run(self, objective: str) -> MemoryPlan | None:
        """The best plan found, or None if none can be placed.

        Pieces and bands are tried with the first placement that works, then all placements with the best of those, then
        coarser pieces group by group.
        """
        for strategy in STRATEGIES:
            self._try(replace(knobs, strategy=strategy) for knobs in self._cuts())
            if self.tried:
                break
        else:
            return None
        best = self._best(objective)
        self._try(replace(best, strategy=strategy, fit=fit) for strategy in STRATEGIES for fit in FITS)
        self._coarsen(objective)
        return self.tried[self._best(objective)][0]

    def _cuts(self) -> Iterator[Knobs]:
        for part in PIECE_PARTS:
            for share, bands in SHARES_AND_BANDS if self.spilled else SHARES_AND_BANDS[:1]:
                yield Knobs((self.target.l2_bytes // part,) * len(self.needs.grouped.groups), share, bands)

    def _coarsen(self, objective: str) -> None:
        """Where pieces of a group need not be so fine, make them larger."""
        for index, group in enumerate(self.needs.grouped.groups):
            best = self._best(objective)
            plan, _ = self.tried[best]
            if sum(piece.group == group.name for piece in plan.pieces) > 1:
                sizes = (self.target.l2_bytes // part for part in PIECE_PARTS)
                larger = [size for size in sizes if size > best.piece_bytes[index]]
                self._try(replace(best, piece_bytes=_with(best.piece_bytes, index, size)) for size in larger)

    def _try(self, candidates: Iterable[Knobs]) -> None:
        for knobs in candidates:
            if knobs not in self.tried:
                found = _plan(self.needs, self.spilled, self.target, self.cycles, knobs)
                if found is None:
                    continue
                if len(found[0].invocations) > self.most_calls:
                    self.too_many_calls = True
                    continue
                self.tried[knobs] = found

    def _best(self, objective: str) -> Knobs:
        least = min(plan.total_traffic.activation for plan, _ in self.tried.values())
        limit = least * TRAFFIC_TOLERANCE if objective == "traffic" else math.inf
        return min(
            (knobs for knobs, (plan, _) in self.tried.items() if plan.total_traffic.activation <= limit),
            key=lambda knobs: self.tried[knobs][1],
        )


def _with(sizes: tuple[int, ...], index: int, size: int) -> tuple[int, ...]:
    return (*sizes[:index], size, *sizes[index + 1 :])


def _plan(
    needs: Needs, spilled: set[str], target: ClusterTarget, cycles: Mapping[str, int], knobs: Knobs
) -> tuple[MemoryPlan, int] | None:
    draft = make_draft(needs, spilled, target.l2_bytes, knobs)
    placed = place_draft(draft, target.l2_bytes, knobs.strategy)
    if placed is None:
        return None
    fixed, loads = placed
    l3 = _place_l3(draft, target)
    return stream(draft, fixed, loads, l3, target, cycles, knobs.fit)


def _place_l3(draft: Draft, target: ClusterTarget) -> list[Region]:
    """Regions of L3 for the activations that live there, behind the constants."""
    weights = sum(piece.bytes for piece in draft.pieces)
    regions = [
        Region(name, "activation", draft.needs.sizes[name], *draft.lifetimes[name]) for name in sorted(draft.spilled)
    ]
    placed = place(regions, target.l3_bytes - weights, "time") if weights <= target.l3_bytes else None
    if placed is None:
        group = max(draft.groups, key=lambda group: sum(piece.bytes for piece in group.pieces)).group
        needed = weights + sum(region.bytes for region in regions)
        raise DwfuseError(
            f"layer {group.layers[-1].name}: constants and activations need up to {needed} bytes of L3, {target.name} "
            f"has {target.l3_bytes}; this layer has most of the constants: choose a narrower network"
        )
    return [replace(region, address=region.address + weights) for region in placed]


def _spill_one_more(needs: Needs, spilled: set[str], target: ClusterTarget) -> set[str]:
    """Move one more activation to L3: the cheapest of those live where L2 is fullest."""
    by_need = sorted(range(len(needs.grouped.groups)), key=lambda index: -needs.total(index, spilled))
    for index in by_need:
        candidates = needs.spillable(index, spilled)
        if candidates:
            return spilled | {candidates[0]}
    raise refusal(needs, target, DoesNotFit(by_need[0], spilled))


__all__ = ["ALIGNMENT", "MemoryPlan", "Timeline", "estimate", "plan_memory", "rough_cycles"]
