"""What a tuning run is for: the tasks of some networks, and how much of their time each task has.

A network could be made of more kernels than it will be: a block fused, in each variant, and its stages alone. Trials
should go to those that are in use, and to rivals that may yet win.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import tvm

import relay_passes
from relay_passes.fusion_runs import Candidate, FusionRun, find_runs
from relay_passes.lift_composites import open_functions
from schedules.build import worthwhile_threads
from tvm_dwfuse import cpu_costs
from tvm_dwfuse.targets import CpuTarget

from .task import KernelTask, Task

#: By the key of a task: what it costs, infinite where that is not known.
Costs = Mapping[str, float]

#: A rival that would have to save so much of its cost to be taken is out of question,
_OUT_OF_REACH = 0.3
#: and one that would have to save so much by the cost model is not even tried.
_NOT_WORTH_TRYING = 0.35


class Scope(Protocol):
    """The tasks that are tuned together, and what for."""

    @property
    def tasks(self) -> Sequence[Task]:
        """Each once, in the order in which they are first tried."""

    def shares(self, costs: Costs) -> dict[str, float]:
        """How much one unit of a task's cost counts: how often it is in use, less for a rival of what is in use."""

    def total(self, costs: Costs) -> float:
        """The cost of all that is in use; infinite while something that is needed has none."""


class WeightedScope:
    """Tasks that are all in use, each as often as its weight says."""

    def __init__(self, weights: Mapping[Task, float]) -> None:
        self.tasks = list(weights)
        self._weights = {task.key: weight for task, weight in weights.items()}

    def shares(self, costs: Costs) -> dict[str, float]:
        """See :class:`Scope`."""
        del costs
        return dict(self._weights)

    def total(self, costs: Costs) -> float:
        """See :class:`Scope`."""
        return sum(weight * costs[key] for key, weight in self._weights.items())


@dataclass(frozen=True)
class _Piece:
    """A kernel that could compute stages ``first`` to ``last - 1`` of a run."""

    first: int
    last: int
    key: str


@dataclass(frozen=True)
class _Chain:
    """A run: its number of stages, and what could compute them."""

    length: int
    pieces: tuple[_Piece, ...]

    def best(self, costs: Costs) -> tuple[list[float], list[float]]:
        """The least cost of the stages before each place, and of those from it on."""
        before = [0.0] + [math.inf] * self.length
        for piece in sorted(self.pieces, key=lambda piece: piece.first):
            before[piece.last] = min(before[piece.last], before[piece.first] + costs[piece.key])
        after = [math.inf] * self.length + [0.0]
        for piece in sorted(self.pieces, key=lambda piece: -piece.last):
            after[piece.first] = min(after[piece.first], costs[piece.key] + after[piece.last])
        return before, after

    def slacks(self, costs: Costs) -> Iterable[tuple[_Piece, float]]:
        """For each piece with a cost: how much dearer the best cover with it is than the best of all."""
        before, after = self.best(costs)
        for piece in self.pieces:
            whole = before[piece.first] + costs[piece.key] + after[piece.last]
            if whole < math.inf:
                yield piece, whole - after[0]


class NetworkScope:
    """The kernels that some networks could be made of on a CPU, but for those that the cost model takes to be hopeless.

    Where there are several networks, each counts by the share of its own time that a kernel has.

    Args:
        modules: imported networks.
        machine, threads, unit: see :class:`KernelTask`.
    """

    def __init__(
        self, modules: Sequence[tvm.IRModule], machine: CpuTarget, threads: int = 1, unit: str = "seconds"
    ) -> None:
        self._tasks: dict[str, Task] = {}
        self._networks = [self._chains(module, machine, threads, unit) for module in modules]
        self.tasks: Sequence[Task] = list(self._tasks.values())

    def shares(self, costs: Costs) -> dict[str, float]:
        """See :class:`Scope`."""
        shares: dict[str, float] = defaultdict(float)
        for chains in self._networks:
            counts: dict[str, float] = defaultdict(float)
            for chain, times in chains.items():
                for key, share in _chain_shares(chain, costs).items():
                    counts[key] += share * times
            whole = self._time(chains, costs) if len(self._networks) > 1 else 1.0
            for key, share in counts.items():
                shares[key] += share / whole if whole < math.inf else share
        return dict(shares)

    def total(self, costs: Costs) -> float:
        """See :class:`Scope`."""
        return sum(self._time(chains, costs) for chains in self._networks)

    def _time(self, chains: Mapping[_Chain, int], costs: Costs) -> float:
        return sum(times * chain.best(costs)[1][0] for chain, times in chains.items())

    def _chains(self, module: tvm.IRModule, machine: CpuTarget, threads: int, unit: str) -> Mapping[_Chain, int]:
        canonical = tvm.transform.Sequential(relay_passes.canonicalize_passes())(module)
        runs = (run for gv, func in open_functions(canonical) for run in find_runs(gv.name_hint, func))
        return Counter(self._chain(run, machine, threads, unit) for run in runs)

    def _chain(self, run: FusionRun, machine: CpuTarget, threads: int, unit: str) -> _Chain:
        tasks = {each: _task(each, machine, threads, unit) for each in run.candidates}
        pieces = {each: _Piece(each.first, each.last, task.key) for each, task in tasks.items()}
        estimates = {task.key: _estimate(task) for task in tasks.values()}
        slacks = dict(_Chain(len(run.convs), tuple(pieces.values())).slacks(estimates))
        hopeful = {
            each: piece
            for each, piece in pieces.items()
            if slacks[piece] <= _NOT_WORTH_TRYING * estimates[piece.key] or each.last == each.first + 1
        }
        self._tasks |= {tasks[each].key: tasks[each] for each in hopeful if tasks[each].key not in self._tasks}
        return _Chain(len(run.convs), tuple(hopeful.values()))


def _task(candidate: Candidate, machine: CpuTarget, threads: int, unit: str) -> KernelTask:
    variant = candidate.variant.name if candidate.variant else None
    used = worthwhile_threads(candidate.block, threads)
    return KernelTask(candidate.block, variant, candidate.source, machine, used, unit)


def _estimate(task: KernelTask) -> float:
    """What the default costs by the cost model, in units of its own."""
    depth = task.space.default["depth"]
    return cpu_costs.latency(task.block, task.fused_variant, depth, task.machine, task.threads)


def _chain_shares(chain: _Chain, costs: Costs) -> dict[str, float]:
    """1 for each place of what is in use, up to half of that for a rival, 0 for what is out of reach."""
    shares: dict[str, float] = defaultdict(float)
    for piece, slack in chain.slacks(costs):
        needed = slack / costs[piece.key]
        in_use = needed < 1e-9
        shares[piece.key] += 1.0 if in_use else 0.5 * max(0.0, 1 - needed / _OUT_OF_REACH)
    return dict(shares)
