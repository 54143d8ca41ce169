"""Networks on a cluster with what is fused chosen exactly, by simpler rules, and as the compiler does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from tvm_dwfuse.choice import METRICS
from tvm_dwfuse.choose_groups import Rule
from tvm_dwfuse.cluster_options import ClusterOptions
from tvm_dwfuse.codegen_gap8.plan import ClusterPlan, plan_by_rule, plan_network
from tvm_dwfuse.integer_network import Network
from tvm_dwfuse.report import text_table

COMPILED = "compiled"

RULES: tuple[Rule, ...] = get_args(Rule)

LEGEND = (
    "Cost of the objective by the model: cycles, bytes of activations between L2 and L1, picojoules, or the peak of "
    "bytes of activations alive. Of the groups: each with its constants in L2; of a run: with all L3 transfers. "
    f"{COMPILED!r} is what `dwfuse compile` takes."
)

#: Called with the objective and the way of choosing at hand.
OnWay = Callable[[str, str], None]


@dataclass(frozen=True)
class Row:
    """A network with its groups chosen in one way; ``groups`` and ``run`` are costs by its objective."""

    model: str
    objective: str
    way: str
    groups: float
    run: float
    fused: int


def compare(
    name: str,
    network: Network,
    target: str = "gap8",
    objectives: Sequence[str] = METRICS,
    on_way: OnWay | None = None,
) -> list[Row]:
    """A row for each objective, one of :data:`~tvm_dwfuse.choice.METRICS`, and way of choosing.

    Raises:
        DwfuseError: the network does not fit, or the target or an objective is none.
    """
    report = on_way or (lambda objective, way: None)
    rows = []
    for objective in objectives:
        options = ClusterOptions(target, objective)
        report(objective, COMPILED)
        rows.append(_row(name, objective, COMPILED, plan_network(network, options)))
        for rule in RULES:
            report(objective, rule)
            rows.append(_row(name, objective, rule, plan_by_rule(network, options, rule)))
    return rows


def broken_promises(rows: Sequence[Row]) -> list[str]:
    """Where the exact choice of groups is worse than a rule's, or a compiled run than with all or nothing fused."""
    costs = {(row.model, row.objective, row.way): row for row in rows}
    broken = []
    for (model, objective, way), row in costs.items():
        exact, compiled = costs[model, objective, "exact"], costs[model, objective, COMPILED]
        if exact.groups > row.groups and way != COMPILED:
            broken.append(f"{model}, {objective}: the exact choice is worse than {way!r}")
        if compiled.run > row.run and way in ("fuse everything", "fuse nothing"):
            broken.append(f"{model}, {objective}: compiled it is worse than with {way!r}")
    return broken


def choices_text(rows: Sequence[Row]) -> str:
    """A table: each network and objective, and what the ways of choosing come to."""
    header = ("network", "objective", "choice", "groups", "run", "against compiled", "fused")
    compiled = {(row.model, row.objective): row.run for row in rows if row.way == COMPILED}
    cells = [
        (
            row.model,
            row.objective,
            row.way,
            f"{row.groups:,.0f}",
            f"{row.run:,.0f}",
            f"{100 * (row.run / compiled[row.model, row.objective] - 1):+.1f}%",
            str(row.fused),
        )
        for row in rows
    ]
    return f"{LEGEND}\n\n{text_table(header, cells)}"


def _row(name: str, objective: str, way: str, plan: ClusterPlan) -> Row:
    fused = sum(len(group.layers) > 1 for group in plan.grouped.groups)
    return Row(name, objective, way, getattr(plan.chosen.costs, objective), getattr(plan.total, objective), fused)
