"""What is decided of a network before code is written: its groups, their tiles, and the use of the memories."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..choose_groups import choose_groups
from ..cluster_options import UNFUSED, ClusterOptions, Objective
from ..groups import GroupedNetwork
from ..integer_network import Network
from ..targets import ClusterTarget
from ..tiling.cost import Cost, cost
from .memory import estimate, plan_memory
from .memory_plan import L3Transfer, MemoryPlan
from .memory_streams import Timeline

#: Two plans of a network that the cost model tells apart by less than this may be the other way round on the machine.
MODEL_ERROR = 0.02


@dataclass(frozen=True, eq=False)
class ClusterPlan:
    """A network cut into groups, and L2 and L3 planned for them.

    Args:
        machine: the target, with the L1 that may be used.
        grouped: groups with variants and tiles.
        memory: of L2 and L3.
        costs: of each group alone, weights in L2, by name.
    """

    machine: ClusterTarget
    grouped: GroupedNetwork
    memory: MemoryPlan
    costs: dict[str, Cost]

    @property
    def l1_bytes(self) -> int:
        """L1 that the network needs."""
        return max((cost.l1_bytes for cost in self.costs.values()), default=0)

    @property
    def l2_bytes(self) -> int:
        """L2 that activations and constants need."""
        resident = self.memory.constant_bytes if self.memory.mode == "resident" else 0
        return self.memory.l2_bytes + resident

    @cached_property
    def timeline(self) -> Timeline:
        """A run by the model, L3 transfers behind the computation."""
        return estimate(self.memory, self._alone, self.machine)

    @cached_property
    def cycles(self) -> dict[str, int]:
        """Cycles of each group by the model, calls and waiting for L3 included."""
        return self.timeline.cycles

    @cached_property
    def l3_bytes(self) -> dict[str, int]:
        """Bytes that move between L3 and L2 around the calls of each group."""
        totals = {group.name: 0 for group in self.grouped.groups}
        for call in self.memory.invocations:
            steps = (step for step in (*call.before, *call.after) if isinstance(step, L3Transfer))
            totals[call.group] += sum(step.bytes for step in steps)
        return totals

    def key(self, objective: Objective) -> tuple[int, int]:
        """What ``objective`` minimises of the whole run, then what decides between equals."""
        cycles, moved = self.timeline.total, self.memory.total_traffic.activation
        return (cycles, moved) if objective == "latency" else (moved, cycles)

    def counters(self) -> dict[str, int]:
        """The bytes that a run moves, by the names under which the program counts them."""
        traffic = self.memory.total_traffic
        return {
            "activation_in": traffic.activation_in,
            "activation_out": traffic.activation_out,
            "constant_in": traffic.constant_in,
            "l3_in": self.memory.l3_in,
            "l3_out": self.memory.l3_out,
        }

    @property
    def _alone(self) -> dict[str, int]:
        return {name: cost.cycles for name, cost in self.costs.items()}


def plan_network(network: Network, options: ClusterOptions, baseline: bool = False) -> ClusterPlan:
    """Choose groups, variants and tiles, and plan the memories.

    Args:
        network: the layers.
        options: target, objective, variant, memory.
        baseline: compile the way of the published kernels, to compare with; see :func:`~tvm_dwfuse.choose_groups.
            choose_groups`.

    Raises:
        DwfuseError: a layer does not fit L1, L2 or L3, or the variant asked for is legal nowhere.
    """
    if options.variant is not None or baseline:
        return _plan(network, options, options.variant, baseline)
    # The choice of groups does not see how the constants stream from L3: without fusing there may be less to wait for.
    fused, unfused = (_plan(network, options, variant) for variant in (None, UNFUSED))
    if options.objective == "traffic":
        return min(fused, unfused, key=lambda plan: plan.key("traffic"))
    return fused if fused.timeline.total < (1 - MODEL_ERROR) * unfused.timeline.total else unfused


def _plan(network: Network, options: ClusterOptions, variant: str | None, baseline: bool = False) -> ClusterPlan:
    machine = options.machine()
    grouped = choose_groups(network, machine, options.objective, variant, options.double_buffer, baseline=baseline)
    costs = {group.name: cost(group.plan, machine) for group in grouped.groups}
    cycles = {name: each.cycles for name, each in costs.items()}
    return ClusterPlan(machine, grouped, plan_memory(grouped, machine, cycles, options.objective), costs)
