"""The plan of a network's kernels in the plain form that the manifest of an artifact has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import tvm

from relay_passes import FusionPlan, PlannedKernel
from relay_passes.lower_composites import KERNEL_BLOCK_ATTR, KERNEL_VARIANT_ATTR, kernel_name
from schedules.space import point_of

from .choice import Front, Option
from .chosen import Choice, RunnerUp, Step
from .front_report import front_report
from .targets import CpuTarget


def choice_of(plan: FusionPlan, machine: CpuTarget, lowered: tvm.IRModule | None = None) -> Choice:
    """What ``plan`` chose on ``machine``.

    ``lowered`` is the module that was lowered by it and tells the names of the kernels; without it, a name is that of
    the first kernel for such a block.
    """
    names = _names(plan.kernels, _called(lowered) if lowered else [])
    return Choice(
        objective=str(plan.objective),
        rule=plan.rule,
        costs=plan.costs,
        unfused=plan.unfused,
        fused=plan.fused,
        steps=tuple(_step(kernel, name) for kernel, name in zip(plan.kernels, names, strict=True)),
        l1_bytes=machine.l1_bytes,
        l2_bytes=machine.l2_bytes,
    )


def front_text(name: str, front: Front) -> str:
    """A table of the Pareto front of a network's plans, the fastest first."""
    return front_report(
        name,
        front,
        ("ms", "MB moved", "mJ", "MB alive", "kernels"),
        lambda costs, covers: (
            f"{costs.latency * 1e3:.3f}",
            f"{costs.traffic / 1e6:.2f}",
            f"{costs.energy * 1e3:.3f}",
            f"{costs.memory / 1e6:.2f}",
            _kernels(covers),
        ),
        "latencies from tuning records where there are some, else by the model; energy is made of public figures, "
        "see cpu_costs.py",
    )


def _kernels(covers: Sequence[Sequence[Option]]) -> str:
    """How many kernels of each variant, or order of a single stage, the covers of a network's runs have."""
    names = Counter(option.name for cover in covers for option in cover if option.payload is not None)
    return ", ".join(f"{count} {name}" for name, count in sorted(names.items()))


def _step(kernel: PlannedKernel, name: str) -> Step:
    candidate, price = kernel.candidate, kernel.price
    return Step(
        kernel=name,
        layers=candidate.match.convs,
        block=json.loads(candidate.block.to_json()),
        inputs=kernel.inputs,
        variant=candidate.variant.name if candidate.variant else None,
        source=candidate.source,
        knobs=point_of(price.knobs),
        origin=price.origin,
        measured=price.measured,
        costs=price.costs,
        intermediate_bytes=price.intermediate_bytes,
        unfused=kernel.unfused,
        runner_up=_runner_up(kernel),
    )


def _runner_up(kernel: PlannedKernel) -> RunnerUp | None:
    rival = kernel.rival
    if rival is None:
        return None
    return RunnerUp(tuple(each.name for each in rival.candidates), rival.convs, rival.costs, rival.chosen)


def _names(kernels: Sequence[PlannedKernel], called: list[tuple[str, str, str | None]]) -> Iterator[str]:
    """The name of each kernel of a plan. Calls stand in its order; a call that nobody read is gone."""
    at = 0
    for kernel in kernels:
        candidate = kernel.candidate
        wanted = (candidate.block.to_json(), candidate.variant.name if candidate.variant else None)
        found = next((i for i in range(at, len(called)) if called[i][1:] == wanted), None)
        if found is None:
            yield kernel_name(candidate.block, candidate.variant)
            continue
        at = found + 1
        yield called[found][0]


def _called(lowered: tvm.IRModule) -> list[tuple[str, str, str | None]]:
    """Name, block and variant of each kernel of ours that ``main`` calls, in order."""
    kernels = {
        gv.name_hint: func.attrs
        for gv, func in lowered.functions_items()
        if func.attrs and KERNEL_BLOCK_ATTR in func.attrs
    }
    calls: list[tuple[str, str, str | None]] = []

    def visit(expr: Any) -> None:
        if not isinstance(expr, tvm.relax.Call) or expr.op != tvm.ir.Op.get("relax.call_tir"):
            return
        attrs = kernels.get(expr.args[0].name_hint)
        if attrs is not None:
            variant = str(attrs[KERNEL_VARIANT_ATTR]) if KERNEL_VARIANT_ATTR in attrs else None
            calls.append((expr.args[0].name_hint, str(attrs[KERNEL_BLOCK_ATTR]), variant))

    tvm.relax.analysis.post_order_visit(lowered["main"].body, visit)
    return calls
