"""The measurements of ``scripts/bench_armv8.py``, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from schedules.depthwise import build_depthwise
from tvm_dwfuse.bench.depthwise_layers import all_layers
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets.armv8 import ARMV8_TARGETS

from . import tools
from .aims import NETWORKS
from .analysis import analyse
from .emulation import Counts, require_plugins
from .layers import count_depthwise, count_pointwise
from .peers import layers_of, peer_layers, peer_networks
from .report import LAYOUTS, OURS, Armv8Report, CycleRow, LayerRow, NetworkRow

#: What ``--quick`` measures: a large, a small and a strided layer.
QUICK_LAYERS = ("128@56", "512@14 s2", "1024@7")
#: The layers whose loops llvm-mca looks at, and the targets it does so for; the first ones with ``--quick``.
CYCLES_LAYERS = ("128@56", "512@14")
CYCLES_TARGETS = ("cortex-a72", "cortex-a57", "neoverse-n1", "kunpeng-920")


@dataclass(frozen=True)
class Step:
    """A measurement: what is going on, and the function that adds it to a report."""

    name: str
    run: Callable[[Armv8Report], None]


def require_tools() -> None:
    """Fail early.

    Raises:
        DwfuseError: a compiler, qemu with plugins or llvm-mca is missing; the message names the package.
    """
    for find in (tools.cross_compiler, tools.plugin_compiler, tools.qemu, tools.llvm_mca):
        find()
    tools.binutil("objdump")
    require_plugins()


def all_steps(quick: bool) -> Iterator[Step]:
    """Every measurement; with ``quick`` some layers, one core's cycles, and no whole network."""
    for procedure in PROCEDURES:
        for layer in _chosen(layers_of(procedure), quick):
            yield _depthwise_step(procedure, layer)
    for layer in layers_of("pointwise")[: 1 if quick else None]:
        yield Step(f"pointwise, {layer}", partial(_add_pointwise, layer))
    for network in () if quick else NETWORKS:
        yield Step(network, partial(_add_network, network))
    first = 1 if quick else None
    for layer, procedure, layout in product(CYCLES_LAYERS[:first], PROCEDURES, LAYOUTS):
        for target in CYCLES_TARGETS[:first]:
            yield _cycles_step(layer, procedure, layout, target)


def run_step(report: Armv8Report, step: Step) -> None:
    """Add a measurement, or its failure, to the report."""
    try:
        step.run(report)
    except DwfuseError as error:
        report.failures.append(f"{step.name}: {error}")


def _chosen(layers: list[str], quick: bool) -> list[str]:
    return [layer for layer in layers if layer in QUICK_LAYERS] if quick else layers


def _geometry(layer: str, layout: Layout) -> Depthwise:
    return replace(all_layers()[layer].conv, layout=layout)


def _depthwise_step(procedure: Procedure, layer: str) -> Step:
    def add(report: Armv8Report) -> None:
        report.rows += _peer_rows(procedure, layer)
        for layout in LAYOUTS:
            conv = _geometry(layer, layout)
            counts = count_depthwise(procedure, conv, ARMV8_TARGETS[report.core])
            report.rows.append(_row(layer, procedure, layout, counts, conv.macs))

    return Step(f"{procedure}, {layer}", add)


def _add_pointwise(layer: str, report: Armv8Report) -> None:
    source, _, out_channels = layer.partition(" -> ")
    channels, size = map(int, source.split("@"))
    counts = count_pointwise(channels, size, int(out_channels), ARMV8_TARGETS[report.core])
    macs = channels * size * size * int(out_channels)
    report.rows += [_row(layer, "pointwise", "NHWC", counts, macs), *_peer_rows("pointwise", layer)]


def _add_network(network: str, report: Armv8Report) -> None:
    from .networks import count_network

    counts = count_network(network, ARMV8_TARGETS[report.core]).counts
    report.networks.append(NetworkRow(network, OURS, counts.instructions / 1e6))
    report.networks += [
        NetworkRow(network, engine, millions) for (at, engine), millions in peer_networks().items() if at == network
    ]


def _cycles_step(layer: str, procedure: Procedure, layout: Layout, target: str) -> Step:
    def add(report: Armv8Report) -> None:
        conv, machine = _geometry(layer, layout), ARMV8_TARGETS[target]
        hot, (found,) = analyse(build_depthwise(procedure, conv, machine), machine, [machine.mcpu])
        vectors = found.multiplies / (conv.kernel[0] * conv.kernel[1])
        row = CycleRow(
            layer=layer,
            procedure=procedure,
            layout=layout,
            core=machine.mcpu,
            cycles=found.cycles / vectors,
            floor=found.floor / vectors,
            with_stores=found.with_stores / vectors,
            loads=found.loads / vectors,
            stores=found.stores / vectors,
            busiest=found.busiest,
            share=hot.share,
            stack_accesses=hot.loop.stack_accesses / vectors,
            border_checks=len(hot.loop.border_checks),
        )
        report.cycles.append(row)

    return Step(f"cycles of {procedure}, {layer}, {layout}, {target}", add)


def _row(layer: str, procedure: str, layout: str, counts: Counts, macs: int) -> LayerRow:
    numbers = (counts.instructions / macs, counts.loads / macs, counts.stores / macs)
    return LayerRow(layer, procedure, layout, OURS, *numbers)


def _peer_rows(procedure: str, layer: str) -> list[LayerRow]:
    return [
        LayerRow(layer, procedure, "", engine, value)
        for (at, name, engine), value in peer_layers().items()
        if (at, name) == (procedure, layer)
    ]
