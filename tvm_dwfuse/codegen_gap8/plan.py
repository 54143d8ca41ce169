"""What is decided of a network before code is written: its groups, their tiles, and the use of the memories."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..choice import Costs
from ..choose_groups import Chosen, GroupChoice, Rule
from ..cluster_options import ClusterOptions
from ..groups import GroupedNetwork
from ..integer_network import Network
from ..targets import ClusterTarget
from ..tiling.cost import Cost
from ..tiling.tuned import TunedPlans
from .memory import estimate, plan_memory
from .memory_plan import L3Transfer, MemoryPlan
from .memory_streams import Timeline

#: Ways of choosing groups of which the one is taken that is best in the end.
CONTENDERS: tuple[Rule, ...] = ("exact", "fuse nothing", "fuse everything")


@dataclass(frozen=True, eq=False)
class ClusterPlan:
    """A network cut into groups, and L2 and L3 planned for them.

    Args:
        machine: the target, with the L1 that may be used.
        chosen: groups with variants and tiles, and what they were chosen from.
        memory: of L2 and L3.
        costs: of each group alone, weights in L2, by name.
    """

    machine: ClusterTarget
    chosen: Chosen
    memory: MemoryPlan
    costs: dict[str, Cost]

    @property
    def grouped(self) -> GroupedNetwork:
        """The groups."""
        return self.chosen.grouped

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

    def energy(self, group: str) -> int:
        """Picojoules of a group by the model of the target, L3 included."""
        traffic = self.memory.traffic[group]
        l1_l2_bytes = traffic.activation + traffic.constant_in
        return self.machine.energy(self.cycles[group], l1_l2_bytes, self.l3_bytes[group])

    @cached_property
    def total(self) -> Costs:
        """The costs of a run, calls and L3 included; memory is the peak of bytes of activations alive at once."""
        energy = sum(self.energy(group.name) for group in self.grouped.groups)
        return Costs(self.timeline.total, self.memory.total_traffic.activation, energy, self.chosen.costs.memory)

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


def plan_network(
    network: Network, options: ClusterOptions, baseline: bool = False, tuned: TunedPlans | None = None
) -> ClusterPlan:
    """Choose groups, variants and tiles, and plan the memories.

    Args:
        network: the layers.
        options: target, objective, variant, memory.
        baseline: compile the way of the published kernels, to compare with; see :func:`~tvm_dwfuse.choose_groups.
            choose_groups`.
        tuned: plans on record, taken where latency is the objective.

    Raises:
        DwfuseError: a layer does not fit L1, L2 or L3, or the variant asked for is legal nowhere.
    """
    choice = _choice(network, options, baseline, tuned)
    if options.variant is not None or baseline:
        return _planned(choice, options, choice.best)
    # The choice of groups does not see how constants stream from L3: where that takes long, simpler ones may wait less.
    contenders: dict[tuple[object, ...], Chosen] = {}
    for rule in CONTENDERS:
        chosen = choice.by(rule)
        contenders.setdefault(tuple(chosen.options.values()), chosen)
    plans = [_planned(choice, options, chosen) for chosen in contenders.values()]
    return min(plans, key=lambda plan: choice.objective.key(plan.total, plans[0].total))


def plan_by_rule(network: Network, options: ClusterOptions, rule: Rule) -> ClusterPlan:
    """The plan where groups are chosen by a rule, and by nothing else; to compare with.

    Raises:
        DwfuseError: see :func:`plan_network`.
    """
    choice = _choice(network, options)
    return _planned(choice, options, choice.by(rule))


def _choice(
    network: Network, options: ClusterOptions, baseline: bool = False, tuned: TunedPlans | None = None
) -> GroupChoice:
    return GroupChoice(
        network,
        options.machine(),
        options.objective,
        options.variant,
        options.double_buffer,
        baseline,
        tuned=tuned,
    )


def _planned(choice: GroupChoice, options: ClusterOptions, chosen: Chosen) -> ClusterPlan:
    machine, groups = options.machine(), chosen.grouped.groups
    costs = {group.name: group.cost(machine) for group in groups}
    cycles = {name: each.cycles for name, each in costs.items()}
    return ClusterPlan(machine, chosen, plan_memory(chosen.grouped, machine, cycles, options.objective), costs)
