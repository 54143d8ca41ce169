"""The choice: which layers are computed together, by which variant, and in which layouts activations lie in L2.

Activations that several layers read, those of sums, and the network's own inputs and outputs are HWC. Between them
the network falls apart into runs of layers that follow each other; :mod:`tvm_dwfuse.choice` finds the best of all
groupings and layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

from .choice import (
    Alternative,
    Costs,
    Front,
    NoCover,
    Objective,
    Option,
    Run,
    RunnerUp,
    alternatives,
    best_covers,
    best_values,
    block_by_block,
    difference,
    front,
    fuse_everything,
    fuse_nothing,
    network_costs,
    runner_up,
)
from .choice.pareto_front import MOST_WAYS, OnPlace
from .errors import DwfuseError
from .fusion_candidates import (
    Candidate,
    Request,
    baseline_candidates,
    check_supported,
    fused_candidates,
    illegality,
    l1_need,
    l2_need,
    legal_variants,
    order_of,
    same_in_both_layouts,
    unfused_candidates,
    unfused_l1_need,
)
from .groups import Group, GroupedNetwork
from .integer_network import Layer, Network
from .layer_runs import LiveActivations, layer_runs
from .targets.gap8 import ClusterTarget
from .tiling.search import PlanObjective
from .tiling.tuned import TunedPlans
from .variants import Variant

#: Calls of a layer that L2 has room for the code of, on average; more where weights or activations come in pieces.
_CALLS_PER_LAYER = 4
#: Most layers in a group.
_MOST_LAYERS = 3
#: Reasons that a message lists.
_MOST_REASONS = 3

#: How to choose: exactly, or by one of the rules of :mod:`tvm_dwfuse.choice.rules`, to compare with.
Rule = Literal["exact", "block by block", "fuse everything", "fuse nothing"]

_RULES: dict[str, Callable[[Run, Objective, Costs | None], list[Option]]] = {
    "block by block": block_by_block,
    "fuse everything": fuse_everything,
    "fuse nothing": fuse_nothing,
}


def choose_groups(
    network: Network,
    target: ClusterTarget,
    objective: str = "latency",
    variant: str | None = None,
    double_buffer: bool = True,
    baseline: bool = False,
) -> GroupedNetwork:
    """Group the layers of ``network`` so that the objective is least on ``target``; see :class:`GroupChoice`.

    Raises:
        DwfuseError: a layer does not fit L1 or does not run on clusters, or ``variant`` is legal nowhere; with reasons.
    """
    return GroupChoice(network, target, objective, variant, double_buffer, baseline).best.grouped


@dataclass(frozen=True, eq=False)
class Chosen:
    """Groups that were chosen, and why.

    Args:
        grouped: the network cut into groups.
        costs: of all groups: cycles, bytes of activations between L2 and L1, picojoules, and the peak of bytes of
            activations alive at once. Whole activations are counted; those that L2 cannot hold live in L3.
        options: by a group's name, the index of its run, and what it was chosen as there.
        choice: what was chosen from.
    """

    grouped: GroupedNetwork
    costs: Costs
    options: dict[str, tuple[int, Option]]
    choice: GroupChoice

    def alternatives(self, group: Group) -> list[Alternative]:
        """The ways to compute the layers of a group between the same layouts, itself included, the best first."""
        run, option = self.options[group.name]
        return alternatives(self.choice.runs[run], option, self.choice.objective, self.choice.best_of_each)

    def runner_up(self, group: Group) -> RunnerUp | None:
        """What would be taken if the layers of a group must not be computed by its variant together, if anything.

        It may reach beyond these layers; the payload of each option is a :class:`~.fusion_candidates.Candidate`.
        """
        at, option = self.options[group.name]
        other = runner_up(self.choice.runs[at], option, self.choice.objective, self.choice.best_of_each)
        cover = [each for run, each in self.options.values() if run == at]
        return None if other is None else difference(cover, other)


class GroupChoice:
    """The choice of groups for a network: all candidates with their costs, and what is the best of them."""

    def __init__(
        self,
        network: Network,
        target: ClusterTarget,
        objective: str = "latency",
        variant: str | None = None,
        double_buffer: bool = True,
        baseline: bool = False,
        several_plans: bool = False,
        tuned: TunedPlans | None = None,
    ) -> None:
        """Find all candidates.

        Args:
            network: the layers.
            target: the machine; its ``l1_bytes`` bound every group.
            objective: see :class:`tvm_dwfuse.cluster_options.ClusterOptions`.
            variant: None takes the best of unfused and all variants; "none" fuses nothing; a name takes that variant
                in as many places as possible and fuses nothing else.
            double_buffer: whether transfers may run beside kernels.
            baseline: nothing fused, every transfer awaited, HWC throughout L2 and depthwise inputs turned to CHW by
                the DMA: the way of the published kernels, to compare with.
            several_plans: whether a group has all plans that may be the best for somebody, as the Pareto front needs;
                a weighted sum of objectives always has.
            tuned: plans on record, taken where latency is the objective.

        Raises:
            DwfuseError: a layer does not run on clusters, or the objective is none.
        """
        for layer in network.layers:
            check_supported(layer)
        layers = len(network.layers)
        self.network = network
        self.objective = Objective.parse(objective)
        self._wanted = Variant.parse(variant) if variant not in (None, "none") else None
        self._fuse = variant != "none" and not baseline
        self._baseline = baseline
        self._request = Request(
            target.without_code(layers, _CALLS_PER_LAYER * layers),
            None if several_plans else _plan_objective(self.objective),
            double_buffer and not baseline,
            tuned,
        )
        self._layers = list(layer_runs(network))
        self._live = LiveActivations(network, self._layers, _MOST_LAYERS)

    @property
    def target(self) -> ClusterTarget:
        """The machine, with the L2 that the network's code leaves."""
        return self._request.target

    @cached_property
    def runs(self) -> list[Run]:
        """The options for each run of layers."""
        return [Run(len(layers), tuple(self._options(layers))) for layers in self._layers]

    @cached_property
    def best_of_each(self) -> Costs | None:
        """The best of each metric alone, which a weighted sum is relative to; None for other objectives."""
        return None if self.objective.single else best_values(self.runs)

    @cached_property
    def best(self) -> Chosen:
        """The exact best.

        Raises:
            DwfuseError: a layer does not fit L1, or the wanted variant is legal nowhere.
        """
        return self.by("exact")

    def by(self, rule: Rule) -> Chosen:
        """What is chosen by a rule.

        Raises:
            DwfuseError: see :attr:`best`.
        """
        try:
            if rule == "exact":
                covers = best_covers(self.runs, self.objective, best=self.best_of_each)
            else:
                covers = [_RULES[rule](run, self.objective, self.best_of_each) for run in self.runs]
        except NoCover as error:
            raise DwfuseError(self._too_large(error.run)) from None
        return self.chosen(covers)

    def front(self, most_ways: int = MOST_WAYS, on_place: OnPlace | None = None) -> Front:
        """The Pareto front over latency, traffic, energy and memory; see :func:`tvm_dwfuse.choice.front`.

        Raises:
            DwfuseError: a layer does not fit L1.
        """
        try:
            return front(self.runs, most_ways=most_ways, on_place=on_place)
        except NoCover as error:
            raise DwfuseError(self._too_large(error.run)) from None

    def chosen(self, covers: Sequence[Sequence[Option]]) -> Chosen:
        """The groups of covers of all runs.

        Raises:
            DwfuseError: the wanted variant is not among them.
        """
        options = [(index, option) for index, cover in enumerate(covers) for option in cover]
        if self._wanted and not any(option.name == self._wanted.name for _, option in options):
            raise DwfuseError(_illegal_everywhere(self.network, self._wanted, self._request))
        position = {layer.name: i for i, layer in enumerate(self.network.layers)}
        options.sort(key=lambda each: position[each[1].payload.layers[-1].name])
        grouped = _grouped(self.network, [option.payload for _, option in options])
        names = (group.name for group in grouped.groups)
        return Chosen(grouped, network_costs(covers), dict(zip(names, options, strict=True)), self)

    # --- candidates ---------------------------------------------------------------------------------------------------

    def _options(self, run: tuple[Layer, ...]) -> Iterator[Option]:
        """All ways to compute layers of a run in one group."""
        place = {layer.name: i for i, layer in enumerate(run)}
        for start in range(len(run)):
            for candidate in self._candidates(run, start):
                first = place[candidate.layers[0].name]
                wanted = self._wanted is not None and candidate.variant == self._wanted.name
                yield Option(
                    first,
                    first + len(candidate.layers),
                    candidate.variant,
                    _layout(self.network, candidate.layers[0].inputs[0], candidate.source),
                    _layout(self.network, candidate.layers[-1].output, candidate.sink),
                    self._costs(run, candidate),
                    candidate,
                    rank=-int(wanted),
                )

    def _costs(self, run: tuple[Layer, ...], candidate: Candidate) -> Costs:
        cost = candidate.cost
        return Costs(cost.cycles, cost.activation_bytes, cost.energy, self._live.during(run, candidate.layers))

    def _candidates(self, run: tuple[Layer, ...], start: int) -> Iterator[Candidate]:
        """All ways to compute the layers of a run from ``start`` on, in one group, that find room in L2.

        Where no way of a single layer does, all are given: the planner of L2 knows best what to say.
        """
        network, request = self.network, self._request
        alone = baseline_candidates if self._baseline else unfused_candidates
        single = list(alone(network, run[start], request))
        yield from [each for each in single if self._fits_l2(each)] or single
        if not self._fuse:
            return
        for end in range(start + 2, min(start + _MOST_LAYERS, len(run)) + 1):
            layers = run[start:end]
            for variant in legal_variants(layers):
                if self._wanted in (None, variant):
                    yield from filter(self._fits_l2, fused_candidates(network, layers, variant, request))

    def _fits_l2(self, candidate: Candidate) -> bool:
        return l2_need(self.network, candidate) <= self._request.target.l2_bytes

    def _too_large(self, run: int) -> str:
        request = self._request
        needs = [(unfused_l1_need(self.network, layer, request), layer.name) for layer in self._layers[run]]
        need, name = max(needs)
        return (
            f"{name}: its smallest tile needs {need} bytes of L1, and {request.target.name} has "
            f"{request.target.l1_bytes} for data; give more L1, or use a smaller resolution or width"
        )


def _plan_objective(objective: Objective) -> PlanObjective | None:
    """What the plan of each group is chosen for; a tile changes nothing of the activations alive beside it."""
    if objective.single == "memory":
        return "latency"
    return cast(PlanObjective | None, objective.single)


def _layout(network: Network, name: str, layout: str) -> str:
    """The layout's name; "hwc" where both are the same."""
    return "hwc" if same_in_both_layouts(network.activations[name]) else layout


def _grouped(network: Network, chosen: list[Candidate]) -> GroupedNetwork:
    """The groups of candidates in the order of their last layers, which is an order of execution."""
    layouts = dict.fromkeys((*network.inputs, *network.outputs), "hwc")
    groups = []
    for index, candidate in enumerate(chosen):
        kind = order_of(candidate.layers) or type(candidate.layers[0].operator).__name__.lower()
        group = Group(f"g{index:02d}_{kind}", candidate.layers, candidate.variant, candidate.plan, candidate.tuned)
        groups.append(group)
        for name in group.inputs:
            layouts[name] = _layout(network, name, candidate.source)
        layouts[group.output] = _layout(network, group.output, candidate.sink)
    return GroupedNetwork(network, tuple(groups), layouts)


# --- refusals -----------------------------------------------------------------------------------------------------


def _illegal_everywhere(network: Network, variant: Variant, request: Request) -> str:
    reasons = list(_reasons(network, variant, request))
    if not reasons:
        reasons = [f"the network has no layers in the order {variant.order}"]
    more = f"; and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
    return (
        f"variant {variant.name} is legal for no block: {'; '.join(reasons[:_MOST_REASONS])}{more}; choose another one"
    )


def _reasons(network: Network, variant: Variant, request: Request) -> Iterator[str]:
    """Why each place in the variant's order cannot be computed by it."""
    count = 3 if variant.order == "pwdwpw" else 2
    for layer in network.layers:
        layers = [layer]
        while len(layers) < count and (users := network.users(layers[-1].output)):
            layers.append(users[0])
        if order_of(tuple(layers)) != variant.order:
            continue
        yield f"{' + '.join(layer.name for layer in layers)}: {_reason(network, tuple(layers), variant, request)}"


def _reason(network: Network, layers: tuple[Layer, ...], variant: Variant, request: Request) -> str:
    for layer in layers[:-1]:
        if len(network.users(layer.output)) > 1 or layer.output in network.outputs:
            return f"the output of {layer.name} is read elsewhere, too"
    reason = illegality(layers, variant)
    if reason:
        return reason
    need = l1_need(network, layers, variant, request)
    if need > request.target.l1_bytes:
        return f"needs {need} bytes of L1, there are {request.target.l1_bytes}"
    return "its layouts do not fit those around it"
