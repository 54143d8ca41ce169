"""What a tuning run is for: the tasks of some networks, and how much of their time each task has.

A network could be made of more kernels than it will be: a block fused, in each variant, and its stages alone. Trials
should go to those that are in use, and to rivals that may yet win.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import tvm

import relay_passes
from relay_passes.fusion_runs import Candidate, FusionRun, find_runs
from relay_passes.lift_composites import open_functions
from schedules.build import worthwhile_threads
from tvm_dwfuse import cpu_costs
from tvm_dwfuse.targets import CpuTarget

from .detours import Step, detours, least_cost, share
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


@dataclass(frozen=True)
class _Piece:
    """A kernel that could compute stages ``first`` to ``last - 1`` of a run."""

    first: int
    last: int
    key: str


@dataclass(frozen=True)
class _Chain:
    """A run: its number of stages, and what could compute them, in the order of their first stages."""

    length: int
    pieces: tuple[_Piece, ...]

    def best(self, costs: Costs) -> float:
        """The least cost of the run."""
        return least_cost(0, self.length, self._steps(costs))

    def detours(self, costs: Costs) -> Iterator[tuple[_Piece, float]]:
        """For each piece, how much dearer the best cover with it is than the best of all."""
        return zip(self.pieces, detours(0, self.length, self._steps(costs)), strict=True)

    def _steps(self, costs: Costs) -> list[Step]:
        return [Step(piece.first, piece.last, costs[piece.key]) for piece in self.pieces]


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
                for piece, detour in chain.detours(costs):
                    counts[piece.key] += times * share(detour, costs[piece.key], _OUT_OF_REACH)
            whole = self._time(chains, costs) if len(self._networks) > 1 else 1.0
            for key, count in counts.items():
                shares[key] += count / whole if whole < math.inf else count
        return dict(shares)

    def total(self, costs: Costs) -> float:
        """See :class:`Scope`."""
        return sum(self._time(chains, costs) for chains in self._networks)

    def _time(self, chains: Mapping[_Chain, int], costs: Costs) -> float:
        return sum(times * chain.best(costs) for chain, times in chains.items())

    def _chains(self, module: tvm.IRModule, machine: CpuTarget, threads: int, unit: str) -> Mapping[_Chain, int]:
        canonical = tvm.transform.Sequential(relay_passes.canonicalize_passes())(module)
        runs = (run for gv, func in open_functions(canonical) for run in find_runs(gv.name_hint, func))
        return Counter(self._chain(run, machine, threads, unit) for run in runs)

    def _chain(self, run: FusionRun, machine: CpuTarget, threads: int, unit: str) -> _Chain:
        tasks = {each: _task(each, machine, threads, unit) for each in run.candidates}
        candidates = sorted(tasks, key=lambda each: each.first)
        pieces = tuple(_Piece(each.first, each.last, tasks[each].key) for each in candidates)
        estimates = {task.key: _estimate(task) for task in tasks.values()}
        hopeful = tuple(
            piece
            for piece, detour in _Chain(len(run.convs), pieces).detours(estimates)
            if piece.last == piece.first + 1 or detour <= _NOT_WORTH_TRYING * estimates[piece.key]
        )
        keys = {piece.key for piece in hopeful}
        for task in tasks.values():
            if task.key in keys:
                self._tasks.setdefault(task.key, task)
        return _Chain(len(run.convs), hopeful)


def _task(candidate: Candidate, machine: CpuTarget, threads: int, unit: str) -> KernelTask:
    variant = candidate.variant.name if candidate.variant else None
    used = worthwhile_threads(candidate.block, threads)
    return KernelTask(candidate.block, variant, candidate.source, machine, used, unit)


def _estimate(task: KernelTask) -> float:
    """What the default costs by the cost model, in units of its own."""
    depth = task.space.default["depth"]
    return cpu_costs.latency(task.block, task.fused_variant, depth, task.machine, task.threads)
