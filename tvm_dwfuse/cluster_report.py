"""What became of each block of a network on a cluster, from the plans, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from .choice import Costs, total
from .cluster_artifact import ClusterManifest, GroupReport, RunnerUp, Way
from .report import text_table
from .tiling.chain import Chain
from .tiling.elementwise import AddPlan

if TYPE_CHECKING:
    from .choose_groups import Chosen
    from .codegen_gap8.memory_plan import MemoryPlan
    from .codegen_gap8.plan import ClusterPlan
    from .groups import Group


def group_reports(plan: ClusterPlan) -> tuple[GroupReport, ...]:
    """A report of each group, in order of execution."""
    return tuple(_group_report(plan, group) for group in plan.grouped.groups)


def _group_report(plan: ClusterPlan, group: Group) -> GroupReport:
    traffic = plan.memory.traffic[group.name]
    return GroupReport(
        name=group.name,
        layers=tuple(layer.name for layer in group.layers),
        variant=group.variant,
        tile=tile_text(group),
        buffers={buffer.name.removeprefix("l1_"): buffer.bytes for buffer in group.plan.buffers},
        l2={name: _address(plan.memory, name) for name in (*group.inputs, group.output)},
        l1_bytes=group.plan.l1_bytes,
        activation_bytes=traffic.activation,
        constant_bytes=traffic.constant_in,
        l3_bytes=plan.l3_bytes[group.name],
        macs=group_macs(group),
        cycles=plan.cycles[group.name],
        stalls=plan.timeline.stalls[group.name],
        energy=plan.energy(group.name),
        memory=int(plan.chosen.options[group.name][1].costs.memory),
        alternatives=tuple(_way(each.name, each.costs) for each in plan.chosen.alternatives(group)),
        runner_up=_runner_up(plan.chosen, group),
        origin=group.tuned.origin if group.tuned else "default",
        shape=_shape(group.plan) if isinstance(group.plan, Chain) else None,
    )


def _shape(plan: Chain) -> dict[str, Any]:
    stages = [asdict(stage) for stage in plan.stages]
    return {"height": plan.height, "width": plan.width, "layouts": list(plan.layouts), "stages": stages}


def _way(variant: str, costs: Costs) -> Way:
    return Way(variant, *(int(value) for value in astuple(costs)))


def _runner_up(chosen: Chosen, group: Group) -> RunnerUp | None:
    found = chosen.runner_up(group)
    if found is None:
        return None
    layers = tuple(layer.name for option in found.options for layer in option.payload.layers)
    ways = (
        _way(" + ".join(option.name for option in options), total(options)) for options in (found.options, found.chosen)
    )
    return RunnerUp(layers, *ways)


def _address(memory: MemoryPlan, activation: str) -> int:
    """Where an activation lies in the L2 arena; -1 where it lives in L3."""
    return next((r.address for r in memory.regions if r.kind == "activation" and r.name == activation), -1)


def group_macs(group: Group) -> int:
    """Multiply-accumulates of a group; sums and pools have none."""
    if not isinstance(group.plan, Chain):
        return 0
    sizes = group.plan.sizes[:-1]
    return sum(stage.macs(*size) for stage, size in zip(group.plan.stages, sizes, strict=True))


def tile_text(group: Group) -> str:
    """The knobs of a group's plan in words, such as ``4 rows x 64 channels, weights 16, double x y``."""
    plan = group.plan
    if isinstance(plan, AddPlan):
        return f"{plan.chunk} of {plan.elements}" + (", double" if plan.double else "")
    if not isinstance(plan, Chain):
        return f"{plan.tile} of {plan.channels} channels" + (", double" if plan.double else "")
    tile = plan.tile
    text = f"{tile.rows}/{plan.out_rows} rows x {tile.channels}/{plan.tensor_channels[-1]} channels"
    streamed = [f"{tile.weights[i]}" for i in range(len(plan.stages)) if plan.streams_weights(i)]
    if streamed:
        text += f", weights by {'+'.join(streamed)}"
    slots = {"x": plan.input_slots, "y": plan.output_slots, "w": plan.weight_slots}
    doubled = [name for name, count in slots.items() if count > 1]
    return text + (f", double {' '.join(doubled)}" if doubled else "")


def manifest_text(manifest: ClusterManifest) -> str:
    """What ``dwfuse explain`` prints: a table of costs, then tile and buffers of each block."""
    options, groups = manifest.options, manifest.groups
    variant = f", variant {options['variant']}" if options["variant"] else ""
    memory = ", ".join(
        f"{name} {size:,}"
        for name, size in (("L1", manifest.l1_bytes), ("L2", manifest.l2_bytes), ("L3", manifest.l3_bytes))
    )
    rate = manifest.macs / manifest.cycles if manifest.cycles else 0.0
    return "\n".join(
        [
            f"{manifest.model} for {options['target']}, objective {options['objective']}{variant}",
            f"bytes used: {memory}",
            "",
            _cost_table(groups),
            "",
            *(line for group in groups for line in _details(group)),
            "",
            f"{manifest.macs:,} multiply-accumulates in {manifest.cycles:,} cycles by the model: {rate:.1f} a cycle",
            f"energy by the model {manifest.energy / 1e6:,.1f} uJ, peak of activations alive {manifest.memory:,} bytes",
        ]
    )


def _cost_table(groups: tuple[GroupReport, ...]) -> str:
    """Bytes moved and cycles of each block; L2-L1 bytes are those of activations and of constants."""
    header = ("block", "variant", "L1", "L2-L1 act.", "L2-L1 const.", "L3-L2", "MACs", "cycles", "waiting for L3")
    rows = [(group.name, group.variant, f"{group.l1_bytes:,}", *_costs([group])) for group in groups]
    return text_table(header, [*rows, ("total", "", "", *_costs(groups))])


def _costs(groups: Sequence[GroupReport]) -> list[str]:
    keys = ("activation_bytes", "constant_bytes", "l3_bytes", "macs", "cycles", "stalls")
    return [f"{sum(getattr(group, key) for group in groups):,}" for key in keys]


def _details(group: GroupReport) -> list[str]:
    buffers = ", ".join(f"{name} {size:,}" for name, size in group.buffers.items())
    places = ", ".join(f"{name} {'in L3' if at < 0 else f'at {at:,}'}" for name, at in group.l2.items())
    return [
        f"{group.name}: {' + '.join(group.layers)}",
        f"  tile {group.tile}: {group.origin}",
        f"  L1   {buffers}",
        f"  L2   {places}",
        *_else(group),
    ]


def _else(group: GroupReport) -> list[str]:
    """What the same layers would cost otherwise, and what the runner-up would."""
    lines = [
        f"  else {way.variant}: {_told(way)}, now {_told(chosen)}"
        for chosen in group.alternatives
        if chosen.variant == group.variant
        for way in group.alternatives
        if way is not chosen
    ]
    if other := group.runner_up:
        lines.append(
            f"  runner-up {other.instead.variant} of {' + '.join(other.layers)}: {_told(other.instead)}, "
            f"now {_told(other.chosen)}"
        )
    return lines


def _told(way: Way) -> str:
    return f"{way.cycles:,} cycles {way.bytes:,} bytes"
