"""From the folder of a build to the files of its report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__, artifact, cluster_artifact
from ..errors import DwfuseError
from ..files import check_writable
from .bars import cost_charts, occupancy_charts, traffic_charts
from .chart import Chart
from .curve_charts import curve_charts
from .model import Build, percent
from .of_cluster import cluster_build, cluster_kernels
from .of_cpu import cpu_build, cpu_kernels
from .output import remove_others, write_together
from .overview import overview_charts
from .page import Section, page
from .picture import picture_charts
from .tables import choice_table, curve_table, memory_table, operator_table, total_table
from .tuning_curves import Kernels, tuning_curves

if TYPE_CHECKING:
    from ..network import OperatorTime


#: What the names of charts begin with.
CHARTS = ("overview", "network", "cost", "traffic", "buffers", "tuning")


def write(folder: Path, output: Path, database: Path | None = None, profile: bool = False) -> list[Path]:
    """See :func:`tvm_dwfuse.report_page.write_build_report`."""
    check_writable(output)
    build = read_build(folder, database, profile)
    sections = list(_sections(build))
    html = page(build, headline(build), sections, __version__)
    charts = {f"{output.stem}-{chart.name}.png": chart for section in sections for chart in section.charts}
    files = {name: chart.png() for name, chart in charts.items()}
    write_together(output.parent, {**files, output.name: html.encode()})
    # Of a report that had more of them.
    earlier = re.compile(f"{re.escape(output.stem)}-({'|'.join(CHARTS)})-[0-9]+[.]png")
    remove_others(output.parent, earlier, files)
    return [output, *(output.parent / name for name in charts)]


def read_build(folder: Path, database: Path | None = None, profile: bool = False) -> Build:
    """What a report shows; see :func:`tvm_dwfuse.report_page.write_build_report`."""
    if artifact.is_application(folder) and profile:
        raise DwfuseError(
            f"{folder}: an application for a cluster, which this machine cannot profile; leave out --profile"
        )
    times = _profile(folder) if profile else ()
    try:
        build, kernels = _cluster(folder) if artifact.is_application(folder) else _cpu(folder, times)
    except (KeyError, TypeError, ValueError) as error:
        raise DwfuseError(f"{folder / artifact.MANIFEST}: damaged manifest; compile the model again") from error
    return _with_curves(build, kernels, database)


def _cluster(folder: Path) -> tuple[Build, Kernels]:
    manifest = cluster_artifact.read(folder)
    return cluster_build(manifest), cluster_kernels(manifest)


def _cpu(folder: Path, times: Sequence[OperatorTime]) -> tuple[Build, Kernels]:
    manifest = artifact.read(folder)
    return cpu_build(manifest, times), cpu_kernels(manifest)


def _profile(folder: Path) -> Sequence[OperatorTime]:
    from ..api import load

    return load(folder).profile()


def _with_curves(build: Build, kernels: Kernels, database: Path | None) -> Build:
    if database is None:
        return build
    found = tuning_curves(database, kernels)
    if found.curves:
        return replace(build, curves=found.curves, other_tasks=found.others)
    missing = (
        f"Tuning curves: {database} has no trial of a kernel of this build. `dwfuse tune` with its model and target "
        "makes some."
    )
    return replace(build, missing=(*build.missing, missing))


def headline(build: Build) -> str:
    """One sentence that says what fusing brought."""
    fused = f"{len(build.fused)} of {len(build.blocks)} blocks are fused"
    if not build.blocks:
        return "There are no blocks to show."
    chosen, *others = build.totals
    costs = [(total.cost, total.name) for total in others]
    moved = [(float(total.moved), total.name) for total in others]
    return (
        f"{fused}: {build.unit.text(chosen.cost)} {build.unit.name} by {build.source}{_against(chosen.cost, costs)}; "
        f"{chosen.moved:,} bytes of activations moved{_against(chosen.moved, moved)}."
    )


def _against(chosen: float, others: list[tuple[float, str]]) -> str:
    told = (f"{percent(chosen / other - 1)} against {name}" for other, name in others if other)
    text = ", ".join(told)
    return f" ({text})" if text else ""


def _sections(build: Build) -> Iterator[Section]:
    if build.blocks:
        yield from _block_sections(build)
    if build.operators:
        yield Section("measured", "As measured", _MEASURED, tables=[operator_table(build.operators)])
    if build.curves:
        yield Section("tuning", "Tuning", _tuning(build), list(curve_charts(build.curves)), [curve_table(build.curves)])


def _block_sections(build: Build) -> Iterator[Section]:
    overview = list(overview_charts(build))
    if overview:
        yield Section(
            "overview", "What it brought", f"{_OVERVIEW} {build.caveat}".strip(), overview, [total_table(build)]
        )
    yield Section("network", "The network", _NETWORK, list(picture_charts(build)))
    yield Section("cost", "Cost of each block", _COST, list(cost_charts(build)), [choice_table(build)])
    memory: list[Chart] = [*traffic_charts(build), *occupancy_charts(build)]
    if memory:
        yield Section("memory", "Bytes moved and kept", _MEMORY, memory, [memory_table(build)])


_OVERVIEW = "The whole network as chosen, against other ways to fuse it."
_NETWORK = "Arrows join blocks that follow each other; dashed lines are connections past other blocks."
_COST = (
    "What was chosen, against the same layers one by one and against the runner-up: the best of what was not chosen, "
    "and what it would add to the network."
)
_MEMORY = "What fusing saves: tensors between the layers of a fused block stay in the memory that it computes in."
_MEASURED = "Medians of runs of the artifact on the machine that made this report."


def _tuning(build: Build) -> str:
    text = "How the search for each kernel's knobs went, by the trials in the database."
    if not build.other_tasks:
        return text
    return f"{text} It holds {build.other_tasks} more tasks for this machine, of kernels that are not in this build."
