"""When each transfer of L3 starts and who waits for it, found by running the plan against a clock.

Transfers run one after the other behind the computation. Constants are read in the order of their use, as early as
L2 has room; what the next calls need of activations goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..targets.gap8 import ClusterTarget
from .memory_draft import Draft, GroupDraft, Load
from .memory_invocations import calls, group_traffic, invocation
from .memory_plan import L3_SLOTS, L3Transfer, L3Wait, MemoryPlan, Region, Step
from .memory_regions import gaps


@dataclass
class Clock:
    """Time in cluster cycles: ``now`` that of the controller, ``idle`` when the L3 queue will be empty."""

    target: ClusterTarget
    now: float = 0.0
    idle: float = 0.0
    stalled: float = 0.0

    def start(self, size: int) -> float:
        """Queue a transfer; when it will be done."""
        begin = max(self.now, self.idle)
        self.idle = begin + self.target.l3_latency + size / self.target.l3_bytes_per_cycle
        return self.idle

    def wait(self, until: float) -> None:
        """Wait for a transfer."""
        self.stalled += max(0.0, until - self.now)
        self.now = max(self.now, until)

    def compute(self, cycles: float) -> None:
        """Run the cluster."""
        self.now += cycles


@dataclass(frozen=True)
class Timeline:
    """Cycles of a run: in all, by group, and those of each group that the cluster stands still for L3."""

    total: int
    cycles: dict[str, int]
    stalls: dict[str, int]


def replay(plan: MemoryPlan, cycles: Mapping[str, int], target: ClusterTarget) -> Timeline:
    """The timeline of a plan whose groups take ``cycles``."""
    clock = Clock(target)
    ends: dict[int, float] = {}
    cycles_of = dict.fromkeys((call.group for call in plan.invocations), 0.0)
    stalls = dict(cycles_of)
    for call in plan.invocations:
        now, stalled = clock.now, clock.stalled
        _replay_steps(clock, ends, call.before)
        stalls[call.group] += clock.stalled - stalled
        clock.compute(call.cycles(cycles))
        _replay_steps(clock, ends, call.after)
        cycles_of[call.group] += clock.now - now
    _replay_steps(clock, ends, plan.after)
    return Timeline(round(clock.now), _rounded(cycles_of), _rounded(stalls))


def _rounded(values: Mapping[str, float]) -> dict[str, int]:
    return {name: round(value) for name, value in values.items()}


def _replay_steps(clock: Clock, ends: dict[int, float], steps: Iterable[Step]) -> None:
    for step in steps:
        if isinstance(step, L3Wait):
            clock.wait(ends[step.slot])
        else:
            ends[step.slot] = clock.start(step.bytes)


@dataclass
class _Flight:
    """A transfer that nobody has waited for; ``due`` is the call before which somebody must."""

    slot: int
    end: float
    due: int
    region: str
    written: tuple[int, int] | None  # L3 addresses, of a write


@dataclass
class _Streams:
    """The state of the walk over all calls."""

    draft: Draft
    regions: dict[str, Region]
    l3: dict[str, int]
    clock: Clock
    fit: str
    flights: list[_Flight] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    placed: list[Load] = field(default_factory=list)
    cursor: int = 0

    # --- transfers ------------------------------------------------------------------------------------------------

    def start(self, kind: Literal["read", "write"], region: str, owner: str, l3: int, size: int, due: int) -> None:
        if kind == "read":
            self.wait_for(f for f in self.flights if f.written and f.written[0] < l3 + size and l3 < f.written[1])
        if len(self.flights) == L3_SLOTS:
            self.wait_for(self.flights[:1])
        slot = min(set(range(L3_SLOTS)) - {flight.slot for flight in self.flights})
        written = (l3, l3 + size) if kind == "write" else None
        self.flights.append(_Flight(slot, self.clock.start(size), due, region, written))
        self.steps.append(L3Transfer(kind, slot, region, owner, self.regions[region].address, l3, size))

    def wait_for(self, flights: Iterable[_Flight]) -> None:
        for flight in list(flights):
            self.steps.append(L3Wait(flight.slot))
            self.clock.wait(flight.end)
            self.flights.remove(flight)

    def take_steps(self) -> tuple[Step, ...]:
        steps, self.steps = tuple(self.steps), []
        return steps

    # --- activations in L3 ----------------------------------------------------------------------------------------

    def read_windows(self, group: GroupDraft, band: int) -> None:
        for operand, name in enumerate(group.group.inputs):
            if name in group.spilled:
                lo, hi = group.bands[band].inputs[operand].aligned(self.draft.needs.sizes[name])
                window = group.window(operand, band)
                self.start("read", window, name, self.l3[name] + lo, hi - lo, group.first_call(band))

    def write_window(self, group: GroupDraft, band: int) -> None:
        name, operand = group.group.output, len(group.group.inputs)
        if name not in group.spilled:
            return
        lo, hi = group.bands[band].output.aligned(self.draft.needs.sizes[name])
        window = group.window(operand, band)
        reused = band + group.slots
        due = group.first_call(reused) if reused < len(group.bands) else self.regions[window].last + 1
        self.start("write", window, name, self.l3[name] + lo, hi - lo, due)

    # --- constants ------------------------------------------------------------------------------------------------

    def prefetch(self, call: int, loads: list[Load], busy_until: float) -> None:
        """Start reads of the next constants while there is room and the queue would run empty before ``busy_until``."""
        while loads and self.clock.idle < busy_until:
            if len(self.flights) == L3_SLOTS:
                if self.flights[0].end > self.clock.now:
                    return
                self.wait_for(self.flights[:1])
            address = self.find_room(replace(loads[0].region, first=call))
            if address is None:
                return
            self.load(loads.pop(0), call, address)

    def find_room(self, region: Region) -> int | None:
        holes = gaps(region, self.regions.values(), self.clock.target.l2_bytes)
        if not holes:
            return None
        if self.fit == "smallest":
            return min(holes, key=lambda hole: hole[1] - hole[0])[0]
        if self.fit == "next":
            for begin, end in holes:
                if max(begin, self.cursor) + region.bytes <= end:
                    return max(begin, self.cursor)
        return holes[0][0]

    def load(self, load: Load, call: int, address: int) -> None:
        region = replace(load.region, first=call, address=address)
        self.regions[region.name] = region
        self.placed.append(replace(load, region=region))
        self.cursor = region.end
        self.start("read", region.name, load.piece.name, load.piece.offset, load.piece.bytes, load.first)

    def constants(self, call: int) -> Region | None:
        """Where the constants of that call are."""
        used = (load.region for load in reversed(self.placed) if load.first <= call <= load.region.last)
        return next(used, None)


def stream(
    draft: Draft,
    fixed: Sequence[Region],
    loads: Sequence[Load],
    l3: Sequence[Region],
    target: ClusterTarget,
    cycles: Mapping[str, int],
    fit: str,
) -> tuple[MemoryPlan, int]:
    """The plan of a placed draft, and the cycles that a run of it takes.

    ``loads`` have addresses that are free while they are used; most are then moved to where they can come earlier.
    """
    clock = Clock(target)
    addresses = {region.name: region.address for region in l3}
    state = _Streams(draft, {region.name: region for region in fixed}, addresses, clock, fit)
    pending = list(loads)
    reads = _window_reads(draft, state.regions)
    invocations = []
    for index, call in enumerate(calls(draft)):
        group, band, _ = call
        state.wait_for(flight for flight in state.flights if flight.written and flight.due <= index)
        if pending and pending[0].first == index:
            load = pending.pop(0)
            state.load(load, index, load.region.address)
        for reader, wanted in reads.get(index, []):
            state.read_windows(reader, wanted)
        made = invocation(draft, call, state.regions, state.constants(index), target)
        begin = max((flight.end for flight in state.flights if flight.due <= index), default=0.0)
        state.prefetch(index, pending, max(begin, clock.now) + made.cycles(cycles))
        state.wait_for(flight for flight in state.flights if flight.due <= index)
        before = state.take_steps()
        clock.compute(made.cycles(cycles))
        if made.completes:
            state.write_window(group, band)
        invocations.append(replace(made, before=before, after=state.take_steps()))
    state.wait_for(state.flights)
    plan = MemoryPlan(
        mode="streamed",
        pieces=draft.pieces,
        regions=(*fixed, *(load.region for load in state.placed)),
        spilled=tuple(l3),
        invocations=tuple(invocations),
        after=state.take_steps(),
        traffic=group_traffic(draft),
    )
    return plan, round(clock.now)


def without_streams(draft: Draft, fixed: Sequence[Region], target: ClusterTarget) -> MemoryPlan:
    """The plan of a placed draft whose constants are C arrays."""
    regions = {region.name: region for region in fixed}
    return MemoryPlan(
        mode="resident",
        pieces=draft.pieces,
        regions=tuple(fixed),
        spilled=(),
        invocations=tuple(invocation(draft, call, regions, None, target) for call in calls(draft)),
        after=(),
        traffic=group_traffic(draft),
    )


def _window_reads(draft: Draft, regions: Mapping[str, Region]) -> dict[int, list[tuple[GroupDraft, int]]]:
    """By call, the (group, band) whose windows are read before it, the most urgent first."""
    reads: dict[int, list[tuple[GroupDraft, int]]] = {}
    for group in draft.groups:
        inputs = [operand for operand, name in enumerate(group.group.inputs) if name in group.spilled]
        if not inputs:
            continue
        for band in range(len(group.bands)):
            if band:
                call = group.first_call(band - (group.slots - 1))
            else:
                call = max(regions[group.window(operand, 0)].first for operand in inputs)
            reads.setdefault(call, []).append((group, band))
    for wanted in reads.values():
        wanted.sort(key=lambda item: item[0].first_call(item[1]))
    return reads
