"""The Pareto front of a network on a cluster, and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .choice import Costs, Front, Option
from .choice.pareto_front import OnPlace
from .choose_groups import GroupChoice
from .cluster_options import ClusterOptions
from .front_report import front_report
from .integer_network import Network


def cluster_front(network: Network, options: ClusterOptions, on_place: OnPlace | None = None) -> Front:
    """All plans of a network that no other is better than in cycles, traffic, energy and peak memory at once.

    Costs are those of :class:`~tvm_dwfuse.choose_groups.Chosen`: of all groups, constants in L2.

    Args:
        network: the layers.
        options: target, L1, variant and double buffers; the objective does not matter.
        on_place: called as it goes on.

    Raises:
        DwfuseError: a layer does not fit.
    """
    choice = GroupChoice(
        network,
        options.machine(),
        variant=options.variant,
        double_buffer=options.double_buffer,
        several_plans=True,
    )
    return choice.front(on_place=on_place)


def front_text(name: str, front: Front) -> str:
    """A table of the front, the fastest plan first."""
    return front_report(
        name,
        front,
        ("cycles", "L2-L1 act. bytes", "energy uJ", "peak bytes alive", "fused"),
        lambda costs, covers: (*_told(costs), _fused(covers)),
        "by the model, constants in L2; energy is made of public figures, see targets/gap8.py",
    )


def _told(costs: Costs) -> tuple[str, ...]:
    return (
        f"{costs.latency:,.0f}",
        f"{costs.traffic:,.0f}",
        f"{costs.energy / 1e6:,.1f}",
        f"{costs.memory:,.0f}",
    )


def _fused(covers: Sequence[Sequence[Option]]) -> str:
    """How many blocks are fused in which order."""
    fused = [option for cover in covers for option in cover if option.stages > 1]
    counts = Counter(option.name.partition("_")[0] for option in fused)
    return ", ".join(f"{count} {order}" for order, count in sorted(counts.items())) or "none"
