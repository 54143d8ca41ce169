"""Zoo networks on a cluster: unfused, each variant wherever it is legal, and the best of all, by bytes and by cycles.

Cycles are those of the cost model; where the GAP SDK is found, GVSOC runs the applications and its cycles are
reported beside.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tvm_dwfuse import zoo
from tvm_dwfuse.api import OnPhase
from tvm_dwfuse.api_cluster import ClusterRun, compile_application
from tvm_dwfuse.cluster_artifact import ClusterManifest
from tvm_dwfuse.cluster_options import ClusterOptions
from tvm_dwfuse.cluster_report import group_macs
from tvm_dwfuse.codegen_gap8.build import example_input, import_network
from tvm_dwfuse.codegen_gap8.plan import ClusterPlan, plan_network
from tvm_dwfuse.codegen_gap8.project import write_project
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.integer_network import Network
from tvm_dwfuse.quantization import run_network
from tvm_dwfuse.quantize import quantize
from tvm_dwfuse.report import markdown_table, text_table
from tvm_dwfuse.runners import gvsoc
from tvm_dwfuse.variants import VARIANTS
from tvm_dwfuse.zoo.probe import probe_images

#: How each mode is compiled. "baseline" is the way of the published kernels: unfused, every transfer awaited, depthwise
#: tiles turned to CHW by the DMA. "unfused" is our best without fusing, by cycles; "unfused traffic" that by bytes.
MODES: dict[str, ClusterOptions] = {
    "baseline": ClusterOptions(variant="none"),
    "unfused": ClusterOptions(variant="none"),
    "unfused traffic": ClusterOptions(variant="none", objective="traffic"),
    **{name: ClusterOptions(variant=name) for name in VARIANTS},
    "traffic": ClusterOptions(objective="traffic"),
    "latency": ClusterOptions(objective="latency"),
}

#: What bytes and cycles of the other modes are compared with.
BYTES_AGAINST, CYCLES_AGAINST = "unfused traffic", "baseline"

LEGEND = (
    f"Activation bytes between L2 and L1, relative to {BYTES_AGAINST!r}; cycles of the cluster, relative to "
    f"{CYCLES_AGAINST!r}. Source: the cost model, or GVSOC."
)

CALIBRATION_IMAGES = 8

#: Zoo networks that have an integer form throughout and fit GAP8.
BUILDABLE = (
    "mobilenet_v1_0.25_128",
    "mobilenet_v1_0.5_160",
    "mobilenet_v1_1.0_128",
    "mobilenet_v1_1.0_224",
    "mobilenet_v2_0.35_96",
    "mobilenet_v2_1.0_128",
    "mobilenet_v2_1.0_224",
    "efficientnet_lite0_224",
    "ds_cnn_s",
    "ds_cnn_m",
    "ds_cnn_l",
    "mcunet_vww",
)

#: Called with the model and the mode at hand.
OnMode = Callable[[str, str], None]


@dataclass(frozen=True)
class Row:
    """A network compiled in one mode; ``source`` of the cycles is "model" or "gvsoc"."""

    model: str
    mode: str
    l2_l1_activation_bytes: int
    cycles: int
    macs: int
    source: str = "model"


@dataclass
class ClusterBench:
    """Rows of all networks; filled as it goes on. ``skipped`` says which variants are legal nowhere, and why."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Everything, as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def to_text(self, markdown: bool = False) -> str:
        """A table of each network, and the totals of the modes that all networks have."""
        parts = [LEGEND]
        models = list(dict.fromkeys(row.model for row in self.rows))
        for model in models:
            parts += [model, _table([row for row in self.rows if row.model == model], markdown)]
        if len(models) > 1:
            parts += [f"all {len(models)} networks", _table(_totals(self.rows, len(models)), markdown)]
        return "\n\n".join([*parts, *(f"failed: {failure}" for failure in self.failures)])


def quantized_zoo(name: str, folder: Path, seed: int = 0) -> Path:
    """Build the zoo network ``name`` and quantize it with seeded images; the ONNX file written to ``folder``.

    Raises:
        DwfuseError: there is no such network, or it cannot be quantized.
    """
    model, images, output = folder / f"{name}_float.onnx", folder / f"{name}.npz", folder / f"{name}.onnx"
    proto = zoo.build(name, seed=seed)
    model.write_bytes(proto.SerializeToString())
    (value,) = proto.graph.input
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)[1:]
    examples = {value.name: probe_images(shape, seed=seed + 1, count=CALIBRATION_IMAGES)}
    np.savez(images, allow_pickle=False, **examples)
    quantize(model, images, output)
    return output


def measure(bench: ClusterBench, name: str, modes: Sequence[str] = tuple(MODES), on_mode: OnMode | None = None) -> None:
    """Compile the zoo network ``name`` in each of ``modes`` and add the rows to ``bench``.

    Raises:
        DwfuseError: there is no such network, it has an operator without an integer form, or does not fit.
    """
    report = on_mode or (lambda model, mode: None)
    report(name, "quantize")
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder:
        network = import_network(quantized_zoo(name, Path(folder)))
    for mode in modes:
        report(name, mode)
        try:
            plan = plan_network(network, MODES[mode], baseline=mode == "baseline")
        except DwfuseError as error:
            if mode not in VARIANTS:
                raise
            bench.skipped.append(f"{name}: {error}")
            continue
        bench.rows.append(_row(name, mode, plan))
        if gvsoc.is_installed():
            bench.rows.append(_on_gvsoc(bench.rows[-1], network, plan))


@dataclass(frozen=True)
class Build:
    """An application that was built and checked: seconds to compile it, and what its manifest and its run tell."""

    model: str
    compile_s: float
    manifest: ClusterManifest
    run: ClusterRun


def build_and_check(name: str, folder: Path, runner: str, on_phase: OnPhase, **options: Any) -> Build:
    """Quantize the zoo network ``name``, compile it to ``folder`` and run it against its golden outputs.

    Args:
        runner: one of :data:`tvm_dwfuse.api_cluster.RUNNERS`.
        on_phase: called with the name of each phase as it begins.
        options: of :func:`tvm_dwfuse.api_cluster.compile_application`.

    Raises:
        DwfuseError: it cannot be built, or its run differs from what is expected.
    """
    on_phase("quantize")
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as scratch:
        model = quantized_zoo(name, Path(scratch))
        start = time.perf_counter()
        network = compile_application(model, folder, on_phase=on_phase, **options)
        seconds = time.perf_counter() - start
    on_phase(f"run on {runner}")
    return Build(name, seconds, network.manifest, network.check(runner))


def builds_table(builds: Sequence[Build]) -> str:
    """One row an application: what it takes to compile, of memory and to run, and how many layers were compared."""
    header = (
        "network",
        "compile s",
        "L1",
        "L2",
        "L3",
        "fused",
        "L2-L1 act.",
        "cycles (model)",
        "run",
        "layers checked",
    )
    rows = [
        (
            build.model,
            f"{build.compile_s:.1f}",
            *(f"{size:,}" for size in (build.manifest.l1_bytes, build.manifest.l2_bytes, build.manifest.l3_bytes)),
            str(sum(build.manifest.fused.values())),
            f"{sum(group.activation_bytes for group in build.manifest.groups):,}",
            f"{build.manifest.cycles:,}",
            f"{build.run.ticks:,} {build.run.unit}",
            str(build.run.counters["checked"]),
        )
        for build in builds
    ]
    return text_table(header, rows)


def _row(name: str, mode: str, plan: ClusterPlan) -> Row:
    macs = sum(group_macs(group) for group in plan.grouped.groups)
    return Row(name, mode, plan.memory.total_traffic.activation, plan.timeline.total, macs)


def _on_gvsoc(row: Row, network: Network, plan: ClusterPlan) -> Row:
    """The row with the cycles that GVSOC takes for the example input."""
    example = example_input(network)
    golden = run_network(network, {network.inputs[0]: example})
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder:
        write_project(plan.grouped, plan.memory, plan.machine, Path(folder), golden=golden)
        result = gvsoc.run(Path(folder), example.tobytes())
    return Row(row.model, row.mode, row.l2_l1_activation_bytes, result.ticks, row.macs, "gvsoc")


def _totals(rows: Sequence[Row], models: int) -> list[Row]:
    """The sums over all networks, of modes and sources that each of them has."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.mode, row.source), []).append(row)
    return [
        Row(
            "all",
            mode,
            sum(row.l2_l1_activation_bytes for row in group),
            sum(row.cycles for row in group),
            sum(row.macs for row in group),
            source,
        )
        for (mode, source), group in found.items()
        if len(group) == models
    ]


def _table(rows: Sequence[Row], markdown: bool) -> str:
    header = ("mode", "L2-L1 bytes", "relative", "cycles", "relative", "MAC/cycle", "source")
    by_mode = {(row.mode, row.source): row for row in rows}
    cells = []
    for row in rows:
        bytes_before = by_mode.get((BYTES_AGAINST, row.source), row)
        cycles_before = by_mode.get((CYCLES_AGAINST, row.source), row)
        cells.append(
            (
                row.mode,
                f"{row.l2_l1_activation_bytes:,}",
                f"{100 * (row.l2_l1_activation_bytes / bytes_before.l2_l1_activation_bytes - 1):+.1f}%",
                f"{row.cycles:,}",
                f"{100 * (row.cycles / cycles_before.cycles - 1):+.1f}%",
                f"{row.macs / row.cycles:.1f}",
                row.source,
            )
        )
    return (markdown_table if markdown else text_table)(header, cells)
