"""The data of a report from the manifest of an artifact for a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .layers import geometry, layers_of
from .model import MICROSECONDS, Block, Buffer, Build, Limit, Operator, Rival, Total, origins
from .tuning_curves import Kernels

if TYPE_CHECKING:
    from ..artifact import Manifest
    from ..choice import Costs
    from ..chosen import Choice, Step
    from ..network import OperatorTime

#: Bytes move between caches and memory as the machine sees fit; known is what kernels read and write.
LEVEL = "activations read and written"

_COMPILE_AGAIN = (
    "Blocks, their costs and what else there was: this artifact was written before its manifest said so. "
    "Compile the model again with `dwfuse compile`."
)


def cpu_build(manifest: Manifest, profile: Sequence[OperatorTime] = ()) -> Build:
    """What the report shows of an artifact; ``profile`` has the times of its operators, where they were taken."""
    choice = manifest.choice
    times = {row.name: row.median_ms * 1e-3 / row.calls for row in profile}
    blocks = tuple(_block(at, step, times.get(step.kernel)) for at, step in enumerate(choice.steps)) if choice else ()
    return Build(
        model=manifest.model,
        target=manifest.target.name,
        objective=choice.objective if choice else "",
        unit=MICROSECONDS,
        source=_source(choice) if choice else "",
        levels=(LEVEL,),
        limits=(Limit("L1", choice.l1_bytes), Limit("L2", choice.l2_bytes)) if choice else (),
        blocks=blocks,
        totals=_totals(choice) if choice else (),
        facts=tuple(_facts(manifest)),
        operators=tuple(Operator(row.name, row.calls, row.median_ms) for row in profile),
        missing=() if choice else (_COMPILE_AGAIN,),
    )


def cpu_kernels(manifest: Manifest) -> Kernels:
    """The kernels of an artifact, to be found in a tuning database."""
    steps = manifest.choice.steps if manifest.choice else ()

    def blocks(key: Mapping[str, Any]) -> list[str]:
        wanted = (key["shape"], key["variant"], key["source"])
        return [_name(at, step) for at, step in enumerate(steps) if _task(step) == wanted]

    def wants(key: Mapping[str, Any]) -> bool:
        return "cpu" in key and key["threads"] == manifest.threads

    return Kernels(wants, blocks)


def _task(step: Step) -> tuple[dict[str, Any], str, str | None]:
    """What the key of a task says of its kernel."""
    return step.block, step.variant or geometry(step.block).order, step.source


def _name(at: int, step: Step) -> str:
    return f"k{at:02d}_{geometry(step.block).order}"


def _block(at: int, step: Step, seconds: float | None) -> Block:
    shape = geometry(step.block)
    between = Buffer("intermediates of a step", "between stages", step.intermediate_bytes)
    other = step.runner_up
    return Block(
        name=_name(at, step),
        layers=layers_of(step.layers, shape),
        variant=step.variant or "unfused",
        reads=tuple(str(source) for source in step.inputs if source >= 0),
        writes=str(at),
        cost=step.costs.latency,
        unfused=_rival("unfused", step.layers, step.unfused, step.costs) if step.unfused else None,
        runner_up=_rival(" + ".join(other.options), other.layers, other.costs, other.chosen) if other else None,
        moved={LEVEL: round(step.costs.traffic)},
        buffers=(between,) if step.intermediate_bytes else (),
        tile=", ".join(f"{name} {value}" for name, value in step.knobs.items()),
        origin=step.origin,
        measured=seconds,
    )


def _rival(name: str, layers: tuple[str, ...], costs: Costs, chosen: Costs) -> Rival:
    return Rival(name, layers, costs.latency, chosen.latency, round(costs.traffic), round(chosen.traffic))


def _source(choice: Choice) -> str:
    measured = sum(step.measured for step in choice.steps)
    if not measured:
        return "estimate"
    if measured == len(choice.steps):
        return "tuned records"
    return f"tuned records ({measured} of {len(choice.steps)} blocks) and estimate"


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    target, choice = manifest.target, manifest.choice
    facts = [
        ("Inputs", ", ".join(map(str, manifest.inputs))),
        ("Outputs", ", ".join(map(str, manifest.outputs))),
        ("CPU", f"{target.mcpu or target.name} ({target.arch})"),
        ("Threads", str(manifest.threads)),
    ]
    if choice is None:
        return [*facts, ("Fused blocks", ", ".join(f"{n} {name}" for name, n in manifest.fused.items()) or "none")]
    return [
        *facts,
        ("Objective", choice.objective),
        ("Chosen by", choice.rule),
        ("Knobs", origins(step.origin for step in choice.steps)),
        ("Peak of activations alive", f"{choice.costs.memory:,.0f} bytes"),
        ("Energy, estimated", f"{choice.costs.energy * 1e6:,.1f} uJ"),
    ]


def _totals(choice: Choice) -> tuple[Total, ...]:
    """As chosen, and both extremes."""
    costs = (("as chosen", choice.costs), ("nothing fused", choice.unfused), ("everything fused", choice.fused))
    return tuple(Total(name, cost.latency, round(cost.traffic)) for name, cost in costs)
