"""ChooseFusion: the kernels that compute a network, chosen together so that their costs are least."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import tvm
from tvm import relax

from schedules import legal_variants
from tvm_dwfuse.choice import (
    Costs,
    Front,
    NoCover,
    Objective,
    Option,
    Run,
    best_covers,
    best_values,
    front,
    network_costs,
    runner_up,
    total,
)
from tvm_dwfuse.errors import DwfuseError

from .choose_variants import Choose, same_layout_first
from .composite import activations
from .dataflow import Dataflow
from .fusion_runs import Candidate, FusionRun, find_runs, other_memory
from .lift_composites import lift_composites, open_functions
from .match_blocks import Match, Resolve, choose_blocks, program_order
from .price_candidates import KernelPrices, Price

#: Part of a run's latency that a mix must gain over what the default rule fuses. Estimates err by more, and a kernel by
#: itself is not the kernel in a network: a mix for MobileNetV1 that was 5% less on record came out between 1% less and
#: 3% more.
_SURE = 0.06

_Covers = list[list[Option]]

_LAYOUTS = {"NHWC": "hwc", "NCHW": "chw"}


@dataclass(frozen=True)
class Rival:
    """What would be taken if a chosen kernel were not: ``candidates``, and what they cost.

    ``chosen`` is what the chosen kernels cost that compute the same stages, ``convs`` these stages' convolutions.
    """

    candidates: tuple[Candidate, ...]
    costs: Costs
    chosen: Costs
    convs: tuple[str, ...]


@dataclass(frozen=True)
class PlannedKernel:
    """A kernel of a plan.

    ``unfused`` is what its stages cost alone, None if it has one; ``rival`` the next best, None if there is no other.
    ``inputs`` are the kernels of the plan whose results it reads, at once or through other operators, -1 for a
    parameter of the function.
    """

    candidate: Candidate
    price: Price
    unfused: Costs | None
    rival: Rival | None
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class FusionPlan:
    """The kernels that compute the convolutions and dense layers of a module.

    Attributes:
        rule: how they were chosen, in words.
        objective: what was, or would have been, minimised.
        kernels: in the order in which they run.
        costs: of all of them.
        unfused: if every layer were computed alone.
        fused: if all blocks were fused that :func:`program_order` takes, by :func:`same_layout_first`.
    """

    rule: str
    objective: Objective
    kernels: tuple[PlannedKernel, ...]
    costs: Costs
    unfused: Costs
    fused: Costs

    def blocks(self, function: str) -> list[Match]:
        """The matches of more than one stage in the function of that name, their variants chosen."""
        matches = (kernel.candidate.match for kernel in self.kernels)
        return [match for match in matches if match.function == function and len(match.block.stages) > 1]

    def resolve(self, matches: list[Match]) -> list[Match]:
        """Of the matches of a function, those that the plan fuses; a rule for ``explain_blocks``."""
        fused = {match.positions for match in self.blocks(matches[0].function)} if matches else set()
        return [match for match in matches if match.positions in fused]


@dataclass(frozen=True)
class FixedRule:
    """Blocks and variants by rules that know no costs; ``name`` says which."""

    name: str
    resolve: Resolve = program_order
    choose: Choose = same_layout_first


FUSED = FixedRule("program order")
UNFUSED = FixedRule("unfused", resolve=lambda matches: [])


class FusionPlanner:
    """Makes plans.

    Args:
        prices: of the kernels.
        objective: what is minimised.
        rule: None takes the cheapest kernels; else the rule says which, and costs are only reported.
        memory_limit: bytes of activations that may be alive at once; None for any number.
    """

    def __init__(
        self,
        prices: KernelPrices,
        objective: Objective | None = None,
        rule: FixedRule | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self.prices = prices
        self.objective = objective or Objective.parse("latency")
        self.rule = rule
        self.memory_limit = memory_limit

    def plan(self, mod: tvm.IRModule) -> FusionPlan:
        """The plan for a module of canonical operators.

        Raises:
            DwfuseError: no kernels fit the limit of memory.
            ValueError: the rule takes two blocks that overlap.
        """
        network = _Network(mod, self.prices)
        unfused, fused = (network.covers_by(rule) for rule in (UNFUSED, FUSED))
        covers = network.covers_by(self.rule) if self.rule else self._cheapest(network, (unfused, fused))
        return FusionPlan(
            self.rule.name if self.rule else "cheapest",
            self.objective,
            tuple(network.planned(covers, self.objective, self.memory_limit)),
            *(network_costs(each) + network.rest for each in (covers, unfused, fused)),
        )

    def pareto(self, mod: tvm.IRModule) -> Front:
        """All plans for ``mod`` none of which is as good as another in everything; see :func:`front`.

        Raises:
            DwfuseError: no kernels fit the limit of memory.
        """
        network = _Network(mod, self.prices)
        try:
            return front(network.solved_runs, self.memory_limit)
        except NoCover as error:
            raise network.too_large(error, self.memory_limit) from error

    def _cheapest(self, network: _Network, simple: tuple[_Covers, _Covers]) -> _Covers:
        try:
            covers = best_covers(network.solved_runs, self.objective, self.memory_limit)[: len(network.runs)]
        except NoCover as error:
            raise network.too_large(error, self.memory_limit) from error
        if self.objective.single != "latency":
            return covers
        return [self._surely(*options) for options in zip(covers, *simple, strict=True)]

    def _surely(self, best: list[Option], unfused: list[Option], fused: list[Option]) -> list[Option]:
        """The best cover of a run; if that gains less than is sure, what the default rule fuses, or else nothing."""
        limit = inf if self.memory_limit is None else self.memory_limit
        rival = next((cover for cover in (fused, unfused) if total(cover).memory <= limit), best)
        return best if total(best).latency < (1 - _SURE) * total(rival).latency else rival


@tvm.transform.module_pass(opt_level=0, name="ChooseFusion")
class ChooseFusion:
    """Lifts the separable blocks that a plan fuses into composites, with the variants that it chose.

    It stands where :class:`~relay_passes.FuseSeparableBlocks` would, which knows no costs; composites are the same.

    Args:
        plan_for: makes the plan of a module, such as :meth:`FusionPlanner.plan`. What it raises when the pass is run,
            TVM makes a RuntimeError.
    """

    def __init__(self, plan_for: Callable[[tvm.IRModule], FusionPlan]) -> None:
        self.plan_for = plan_for

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with its blocks lifted; ``mod`` itself stays as it is."""
        plan = self.plan_for(mod)
        return lift_composites(mod, lambda name, func: plan.blocks(name))


class _Network:
    """The runs of a module, and the same as the solver sees them."""

    def __init__(self, mod: tvm.IRModule, prices: KernelPrices) -> None:
        self._functions = {gv.name_hint: func for gv, func in open_functions(mod)}
        self.runs: list[FusionRun] = []
        peak = 0
        for name, func in self._functions.items():
            runs = find_runs(name, func)
            peak = max(peak, other_memory(func, runs))
            self.runs += runs
        self.prices = prices.of(self.runs)
        #: What runs beside the kernels costs: only its memory is known.
        self.rest = Costs(memory=peak)
        rest = Run(1, (Option(0, 1, "rest", "hwc", "hwc", self.rest),))
        self.solved_runs = [*(self._solved(run) for run in self.runs), rest]

    def _solved(self, run: FusionRun) -> Run:
        layout = _LAYOUTS[run.layout]
        options = [
            Option(each.first, each.last, each.name, layout, layout, self.prices[each].costs, each)
            for each in run.candidates
        ]
        return Run(len(run.convs), tuple(options), layout, layout)

    def covers_by(self, rule: FixedRule) -> _Covers:
        """The options of each run that a rule takes. A block that no variant computes is left to its single stages."""
        taken: dict[str, dict[tuple[int, ...], str]] = {}
        for name, func in self._functions.items():
            matches = choose_blocks(name, func, rule.resolve)
            legal = {match.positions: (match.block, legal_variants(match.block)) for match in matches}
            taken[name] = {at: rule.choose(block, found).name for at, (block, found) in legal.items() if found}
        return [_cover(solved, taken[run.function]) for run, solved in zip(self.runs, self.solved_runs, strict=False)]

    def planned(
        self, covers: Sequence[Sequence[Option]], objective: Objective, memory_limit: float | None
    ) -> list[PlannedKernel]:
        """The kernels of covers in the order of the program, with what else could have been chosen."""
        best = None if objective.single else best_values(self.solved_runs, memory_limit)
        kernels = []
        for run, solved, cover in zip(self.runs, self.solved_runs, covers, strict=False):
            for option in cover:
                other = runner_up(solved, option, objective, best, memory_limit)
                rival = _rival(run, cover, option, other) if other else None
                unfused = _unfused(solved, option) if option.stages > 1 else None
                kernels.append(PlannedKernel(option.payload, self.prices[option.payload], unfused, rival))
        functions = list(self._functions)
        kernels.sort(key=lambda kernel: _order(functions, kernel.candidate.match))
        readings = [sources for name, func in self._functions.items() for sources in _sources(name, func, kernels)]
        return [replace(kernel, inputs=sources) for kernel, sources in zip(kernels, readings, strict=True)]

    def too_large(self, error: NoCover, memory_limit: int | None) -> DwfuseError:
        """The error that no plan fits the limit."""
        if error.run < len(self.runs):
            what = f"the run of {' -> '.join(self.runs[error.run].convs)}"
        else:
            what = "what stands between the convolutions"
        return DwfuseError(
            f"a memory limit of {memory_limit:,} bytes: {what} needs more whatever is fused; allow more, or use a "
            "smaller resolution or width"
        )


def _cover(run: Run, taken: dict[tuple[int, ...], str]) -> list[Option]:
    """The options of a run that stand for the blocks taken (variants by the match's positions), and single stages."""
    cover: list[Option] = []
    at = 0
    while at < run.length:
        here = [option for option in run.options if option.first == at]
        wanted = [each for each in here if taken.get(each.payload.match.positions) == each.name]
        cover.append(wanted[0] if wanted else next(each for each in here if each.stages == 1))
        at = cover[-1].last
    return cover


def _unfused(run: Run, option: Option) -> Costs:
    single = (each for each in run.options if each.stages == 1 and option.first <= each.first < option.last)
    return total(list(single))


def _rival(run: FusionRun, cover: Sequence[Option], option: Option, other: Sequence[Option]) -> Rival:
    """What ``other``, another cover of the run, does instead of ``option``: up to where both have a cut again."""
    cuts = {0} | ({each.last for each in cover} & {each.last for each in other})
    first = max(cut for cut in cuts if cut <= option.first)
    last = min(cut for cut in cuts if cut >= option.last)

    def within(options: Sequence[Option]) -> list[Option]:
        return [each for each in options if first <= each.first and each.last <= last]

    instead = within(other)
    return Rival(tuple(each.payload for each in instead), total(instead), total(within(cover)), run.convs[first:last])


def _sources(name: str, func: relax.Function, kernels: Sequence[PlannedKernel]) -> Iterator[tuple[int, ...]]:
    """Which kernels each kernel of a function reads, in their order; see :attr:`PlannedKernel.inputs`."""
    flow = Dataflow(func)
    makers: dict[relax.Var, frozenset[int]] = {param: frozenset({-1}) for param in func.params}

    def made_by(expr: relax.Expr) -> frozenset[int]:
        return frozenset().union(*(makers.get(var, frozenset()) for var in relax.analysis.free_vars(expr)))

    at_position = {
        kernel.candidate.match.positions[-1]: index
        for index, kernel in enumerate(kernels)
        if kernel.candidate.match.function == name
    }
    for at, binding in enumerate(flow.bindings):
        index = at_position.get(at)
        if index is None:
            makers[flow.var(at)] = made_by(binding.value)
            continue
        makers[flow.var(at)] = frozenset({index})
        read = activations(kernels[index].candidate.match).values()
        yield tuple(sorted(frozenset().union(*(makers[var] for var in read))))


def _order(functions: list[str], match: Match) -> tuple[int, int]:
    return functions.index(match.function), match.positions[-1]
