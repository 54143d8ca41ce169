"""What a tuning run for a cluster is for: layers and groups that may become part of the best groups of networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tvm_dwfuse.choice.options import Move, Run
from tvm_dwfuse.choose_groups import GroupChoice
from tvm_dwfuse.fusion_candidates import Candidate
from tvm_dwfuse.integer_network import Network
from tvm_dwfuse.targets import ClusterTarget
from tvm_dwfuse.tiling.chain import Chain

from .cluster_task import GVSOC_UNIT, MODEL_UNIT, ClusterTask
from .detours import Step, detours, least_cost, share
from .scope import Costs

#: A rival that would have to save more than this part of its cycles to be taken is out of question.
_OUT_OF_REACH = 0.2


@dataclass(frozen=True)
class _Piece:
    """A move of a run, its cycles by the model, and its task unless it has none."""

    move: Move
    cycles: float
    task: ClusterTask | None


@dataclass(frozen=True)
class _Chain:
    """A run of layers and all its moves."""

    run: Run
    pieces: tuple[_Piece, ...]

    def best(self, costs: Costs) -> float:
        """The least cost of the run."""
        return least_cost(self.run.begin_state, self.run.end_state, self._steps(costs))

    def detours(self, costs: Costs) -> Iterator[tuple[ClusterTask, float, float]]:
        """For each task at each place: its cost, and how much dearer the best cover with it is than the best of all."""
        steps = self._steps(costs)
        found = detours(self.run.begin_state, self.run.end_state, steps)
        for piece, step, detour in zip(self.pieces, steps, found, strict=True):
            if piece.task:
                yield piece.task, step.cost, detour

    def _steps(self, costs: Costs) -> list[Step]:
        """The moves, which cost what ``costs`` says, or else the model."""
        return [
            Step(each.move.begin, each.move.end, costs.get(each.task.key, each.cycles) if each.task else each.cycles)
            for each in self.pieces
        ]


class ClusterScope:
    """The layers and legal groups of quantized networks that may become part of their best groups on a cluster.

    Where there are several networks, each counts by the share of its own cycles that a task has. A simulation has all
    operands in L2: larger layers are no tasks for it.

    Args:
        networks: their layers.
        machine: the cluster; its ``l1_bytes`` bound every plan.
        unit: what costs are measured in.

    Raises:
        DwfuseError: a layer does not run on clusters, or fits L1 in no way.
    """

    def __init__(self, networks: Sequence[Network], machine: ClusterTarget, unit: str = MODEL_UNIT) -> None:
        self._unit = unit
        self._networks = [self._chains(GroupChoice(network, machine)) for network in networks]
        all_tasks = (piece.task for chains in self._networks for chain in chains for piece in chain.pieces)
        known = {task.key: task for task in all_tasks if task}
        shares = self.shares({})
        self.tasks: Sequence[ClusterTask] = [task for key, task in known.items() if shares[key] > 0]

    def shares(self, costs: Costs) -> dict[str, float]:
        """See :class:`tvm_dwfuse.tuning.scope.Scope`; tasks without a finite cost cost what the model says."""
        known = {key: cost for key, cost in costs.items() if cost < float("inf")}
        shares: dict[str, float] = defaultdict(float)
        for chains in self._networks:
            whole = sum(chain.best(known) for chain in chains) if len(self._networks) > 1 else 1.0
            for chain in chains:
                for task, cost, detour in chain.detours(known):
                    shares[task.key] += share(detour, cost, _OUT_OF_REACH) / whole
        return dict(shares)

    def total(self, costs: Costs) -> float:
        """See :class:`tvm_dwfuse.tuning.scope.Scope`; what is no task costs what the model says."""
        return sum(chain.best(costs) for chains in self._networks for chain in chains)

    def _chains(self, choice: GroupChoice) -> list[_Chain]:
        return [_Chain(run, tuple(self._piece(choice, move) for move in run.moves)) for run in choice.runs]

    def _piece(self, choice: GroupChoice, move: Move) -> _Piece:
        candidates: list[Candidate] = [option.payload for option in move.options]
        tasks = (
            ClusterTask.of(each.plan, each.variant, choice.target, self._unit)
            for each in candidates
            if isinstance(each.plan, Chain)
        )
        task = next(tasks, None)
        if task and self._unit == GVSOC_UNIT and task.operand_bytes > choice.target.l2_bytes:
            task = None
        return _Piece(move, move.costs.latency, task)
