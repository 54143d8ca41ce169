"""What each kernel that could compute a part of a network would cost, tuned or not, measured or estimated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING

from schedules import Knobs, default_knobs
from schedules.build import worthwhile_threads
from schedules.space import knobs_at
from tvm_dwfuse import cpu_costs
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.choice import Costs
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant

from .fusion_runs import Candidate, FusionRun

if TYPE_CHECKING:
    from tvm_dwfuse.tuning.records import Record, Records

#: What :attr:`Price.origin` says of knobs that nobody has tuned.
DEFAULT = "default"

#: What the costs of records can be compared within: their unit, and whether they are of this machine.
_Scale = tuple[str, bool]


@dataclass(frozen=True)
class Price:
    """What a kernel costs, and how it would be built.

    Attributes:
        costs: latency in seconds, traffic in bytes, energy in joules, memory in bytes.
        knobs: that it is built with.
        origin: where these come from, in words; :data:`DEFAULT` if nobody has tuned it.
        measured: whether the latency is that of a tuning record, and no estimate.
        intermediate_bytes: that one step of its schedule keeps between its stages.
    """

    costs: Costs
    knobs: Knobs
    origin: str
    measured: bool
    intermediate_bytes: int


@dataclass(frozen=True)
class _Quote:
    """What is known of a kernel by itself; ``seconds`` is the estimate."""

    knobs: Knobs
    seconds: float
    record: Record | None

    @property
    def scale(self) -> _Scale | None:
        return (self.record.unit, self.record.here) if self.record else None

    @property
    def ratio(self) -> float:
        """What the record says by what the estimate says."""
        assert self.record is not None
        return self.record.cost / self.seconds


class KernelPrices:
    """The prices of kernels on a machine.

    Args:
        machine: that they run on.
        threads: that each uses.
        records: of tuning; None for none, and then all knobs are at their defaults.
    """

    def __init__(self, machine: CpuTarget, threads: int = 1, records: Records | None = None) -> None:
        self.machine = machine
        self.threads = threads
        self._records = records
        self._quotes: dict[tuple[Block, Variant | None, Layout | None], _Quote] = {}

    def tuned_knobs(self, block: Block, variant: Variant | None, source: Layout | None) -> Knobs | None:
        """The knobs of the kernel's record, None if there is none; what ``LowerComposites(knobs_for=...)`` takes."""
        quote = self._quote(block, variant, source)
        return quote.knobs if quote.record else None

    def of(self, runs: Sequence[FusionRun]) -> dict[Candidate, Price]:
        """The prices of all candidates of the runs of a network.

        Costs that are compared must be of one scale. A record of this machine in seconds is taken as it is. Records of
        another machine, or counts of instructions, tell how candidates compare with each other, but not with those of
        the first kind: each such group is multiplied by the factor that brings the mean of what it says by what the
        estimate says to that of the first kind (or to 1, where there is none). A candidate without a record has the
        estimate, multiplied by what records of the same layers say by what the estimate says of these, as layers that
        the estimate takes for too cheap fused will be so unfused; where they have none, by the mean of all records.
        """
        quotes = {each: self._quote(each.block, each.variant, each.source) for run in runs for each in run.candidates}
        known = _on_one_scale(quotes)
        mean = _mean(known[each] / quotes[each].seconds for each in known)
        prices = {}
        for run in runs:
            recorded = [each for each in run.candidates if each in known]
            for candidate in run.candidates:
                related = [known[each] / quotes[each].seconds for each in recorded if each.overlaps(candidate)]
                estimate = quotes[candidate].seconds * (_mean(related) if related else mean)
                prices[candidate] = self._price(candidate, quotes[candidate], known.get(candidate, estimate))
        return prices

    def _quote(self, block: Block, variant: Variant | None, source: Layout | None) -> _Quote:
        key = (block, variant, source)
        if key not in self._quotes:
            self._quotes[key] = self._new_quote(*key)
        return self._quotes[key]

    def _new_quote(self, block: Block, variant: Variant | None, source: Layout | None) -> _Quote:
        name = variant.name if variant else None
        record = self._records.find(block, name, self.machine, self.threads, source) if self._records else None
        if record is None:
            knobs = default_knobs(block, variant, self.machine, self.threads, source)
        else:
            knobs = knobs_at(block, variant, self.machine, record.point, self.threads, source)
        seconds = cpu_costs.latency(block, variant, knobs.depth, self.machine, self.threads)
        return _Quote(knobs, seconds, record)

    def _price(self, candidate: Candidate, quote: _Quote, seconds: float) -> Price:
        block, variant, depth = candidate.block, candidate.variant, quote.knobs.depth
        kept = cpu_costs.intermediate_bytes(block, variant, depth)
        costs = Costs(
            latency=seconds + cpu_costs.latency_in_network(block, self.machine),
            traffic=cpu_costs.traffic(block, variant, depth, self.machine),
            energy=cpu_costs.energy(block, variant, depth, self.machine),
            memory=candidate.memory + kept * worthwhile_threads(block, self.threads),
        )
        if candidate.scales_apart:
            apart = cpu_costs.scaling(block, self.machine)
            costs = replace(costs + apart, memory=costs.memory + apart.memory)
        origin = quote.record.origin if quote.record else DEFAULT
        return Price(costs, quote.knobs, origin, quote.record is not None, kept)


def _on_one_scale(quotes: dict[Candidate, _Quote]) -> dict[Candidate, float]:
    """Seconds of the candidates that have records; see :meth:`KernelPrices.of`."""
    groups: dict[_Scale, list[Candidate]] = defaultdict(list)
    for candidate, quote in quotes.items():
        if quote.scale is not None:
            groups[quote.scale].append(candidate)
    own = ("seconds", True)
    level = _mean(quotes[each].ratio for each in groups[own])
    seconds = {}
    for scale, members in groups.items():
        factor = 1.0 if scale == own else level / _mean(quotes[each].ratio for each in members)
        for each in members:
            record = quotes[each].record
            assert record is not None
            seconds[each] = record.cost * factor
    return seconds


def _mean(ratios: Iterable[float]) -> float:
    """The geometric mean; 1 of none."""
    logarithms = [log(ratio) for ratio in ratios]
    return exp(sum(logarithms) / len(logarithms)) if logarithms else 1.0
