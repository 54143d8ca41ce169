"""The data of a report from the manifest of an application for a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..cluster_artifact import ClusterManifest, GroupReport, Way
from ..variants import VARIANTS
from .layers import geometry, layers_of
from .model import CYCLES, Block, Buffer, Build, Layer, Limit, Rival, Total, origins
from .tuning_curves import Kernels

#: Between which memories bytes are moved.
LEVELS = ("L2-L1, activations", "L2-L1, constants", "L3-L2")

#: Kinds of buffers by the letters that their names begin with.
_KINDS = {"x": "input", "a": "input", "b": "input", "m": "between stages", "y": "output"}


def cluster_build(manifest: ClusterManifest) -> Build:
    """What the report shows of an application."""
    # Takes a second, as TVM comes with it.
    from ..targets.gap8 import CLUSTER_TARGETS

    options = manifest.options
    target = CLUSTER_TARGETS[options["target"]]
    l1_bytes = options.get("l1_bytes") or target.l1_bytes
    blocks = tuple(map(_block, manifest.groups))
    return Build(
        model=manifest.model,
        target=options["target"],
        objective=str(options["objective"]),
        unit=CYCLES,
        source="the cost model",
        levels=LEVELS,
        limits=(Limit("L1 for data", l1_bytes),),
        blocks=blocks,
        totals=_totals(blocks),
        facts=_facts(manifest),
        caveat="Other ways are compared without transfers to and from L3.",
        missing=_missing(blocks),
    )


def cluster_kernels(manifest: ClusterManifest) -> Kernels:
    """The kernels of an application, to be found in a tuning database."""

    def wants(key: Mapping[str, Any]) -> bool:
        return key.get("cluster") == manifest.options["target"]

    def blocks(key: Mapping[str, Any]) -> list[str]:
        wanted = {**key["shape"], "layouts": key["layouts"]}
        same = (group for group in manifest.groups if group.variant == key["variant"])
        return [group.name for group in same if group.shape == wanted]

    return Kernels(wants, blocks)


def _block(group: GroupReport) -> Block:
    *reads, writes = group.l2
    other = group.runner_up
    return Block(
        name=group.name,
        layers=_layers(group),
        variant=group.variant,
        reads=tuple(reads),
        writes=writes,
        cost=group.cycles,
        moved=dict(zip(LEVELS, (group.activation_bytes, group.constant_bytes, group.l3_bytes), strict=True)),
        buffers=tuple(Buffer(name, _buffer_kind(name), size) for name, size in group.buffers.items()),
        unfused=_unfused(group),
        runner_up=_rival(other.layers, other.instead, other.chosen) if other else None,
        tile=group.tile,
        origin=group.origin,
    )


def _unfused(group: GroupReport) -> Rival | None:
    """Its layers one by one, against itself; None for a single layer, and in manifests that do not tell."""
    ways = {way.variant: way for way in group.alternatives}
    if len(group.layers) == 1 or not {"unfused", group.variant} <= ways.keys():
        return None
    return _rival(group.layers, ways["unfused"], ways[group.variant])


def _rival(layers: tuple[str, ...], other: Way, chosen: Way) -> Rival:
    return Rival(other.variant, layers, other.cycles, chosen.cycles, other.bytes, chosen.bytes)


def _layers(group: GroupReport) -> tuple[Layer, ...]:
    """Kinds as the shape tells them; without one, as the variant's order or the group's name do, such as ``g07_dw``."""
    if group.shape:
        stages = {name: group.shape[name] for name in ("height", "width", "stages")}
        return layers_of(group.layers, geometry({**stages, "batch": 1}))
    if group.variant in VARIANTS:
        order = VARIANTS[group.variant].order
        kinds = [order[at : at + 2] for at in range(0, len(order), 2)]
    else:
        kinds = [_KIND_OF_OPERATOR.get(group.name.partition("_")[2], "other")]
    return tuple(Layer(name, kind) for name, kind in zip(group.layers, kinds, strict=True))


_KIND_OF_OPERATOR = {"pw": "pw", "dw": "dw", "add": "add", "averagepool": "pool"}


def _buffer_kind(name: str) -> str:
    if name[0] in "wq":
        return "constants"
    return "scratch" if name == "scratch" else _KINDS.get(name[0], "scratch")


def _totals(blocks: Sequence[Block]) -> tuple[Total, ...]:
    """As chosen, and with the layers of fused blocks one by one where it is known what these cost."""
    cost = sum(block.cost for block in blocks)
    moved = sum(block.moved[LEVELS[0]] for block in blocks)
    rivals = [block.unfused for block in blocks if block.fused]
    known = [rival for rival in rivals if rival]
    chosen = Total("as chosen", cost, moved)
    if not known or len(known) < len(rivals):
        return (chosen,)
    extra = sum(rival.extra for rival in known)
    return chosen, Total("nothing fused", cost + extra, moved + sum(rival.extra_moved for rival in known))


def _facts(manifest: ClusterManifest) -> tuple[tuple[str, str], ...]:
    options = manifest.options
    used = (("L1", manifest.l1_bytes), ("L2", manifest.l2_bytes), ("L3", manifest.l3_bytes))
    rate = manifest.macs / manifest.cycles if manifest.cycles else 0.0
    return (
        ("Input", str(manifest.input.info)),
        ("Output", str(manifest.output.info)),
        ("Objective", str(options["objective"])),
        ("Variant asked for", options.get("variant") or "the best for each block"),
        ("Transfers beside kernels", "yes" if options.get("double_buffer", True) else "no"),
        ("Tiles", origins(group.origin for group in manifest.groups)),
        ("Memory used", ", ".join(f"{name} {size:,} bytes" for name, size in used)),
        ("Peak of activations alive", f"{manifest.memory:,} bytes" if manifest.memory else "not known"),
        ("Energy by the model", f"{manifest.energy / 1e6:,.1f} uJ" if manifest.energy else "not known"),
        ("Multiply-accumulates", f"{manifest.macs:,}, {rate:.1f} a cycle"),
    )


def _missing(blocks: Sequence[Block]) -> tuple[str, ...]:
    if all(block.unfused for block in blocks if block.fused):
        return ()
    return (
        "What fusing saved, and runners-up: this application was written before its manifest said so. Compile the "
        "model again with `dwfuse compile`.",
    )
