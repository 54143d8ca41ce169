"""Several networks, each on every engine: the tables of ``scripts/bench_host.py`` and of the quickstart."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tvm_dwfuse import zoo
from tvm_dwfuse.api import compile, load, signature
from tvm_dwfuse.network import random_inputs
from tvm_dwfuse.report import markdown_table, text_table

from .blocks import BlockRate, blocks_table
from .interleave import Plan, Progress, benchmark
from .report import Result

#: Networks of the zoo that are benchmarked and tuned, at least one of each family.
MODELS = (
    "mobilenet_v1_1.0_224",
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_1.0_224",
    "mobilenet_v3_small_1.0_224",
    "mobilenet_v3_large_1.0_224",
    "mnasnet_a1_1.0_224",
    "efficientnet_b0_224",
    "efficientnet_lite0_224",
    "ds_cnn_s",
    "ds_cnn_m",
    "ds_cnn_l",
    "mcunet_vww",
    "shufflenet_v2_1.0_224",
)

LEGEND = "Medians in milliseconds; vs: time relative to that engine; error: largest difference from ONNX Runtime."


@dataclass(frozen=True)
class BuildTime:
    """Seconds from an ONNX file to an artifact, on all cores, and from the artifact to a network ready to run."""

    model: str
    compile_s: float
    load_s: float


@dataclass
class HostReport:
    """All that ``scripts/bench_host.py`` measures; filled as it goes on."""

    machine: dict[str, str]
    results: list[Result] = field(default_factory=list)
    builds: list[BuildTime] = field(default_factory=list)
    blocks: dict[str, list[BlockRate]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Everything, as indented JSON."""
        content = {
            "machine": self.machine,
            "results": [result.to_dict() for result in self.results],
            "builds": [asdict(build) for build in self.builds],
            "blocks": {name: [asdict(rate) for rate in rates] for name, rates in self.blocks.items()},
            "failures": self.failures,
        }
        return json.dumps(content, indent=2) + "\n"

    def to_text(self, markdown: bool = False) -> str:
        """The machine and the tables, as plain text or Markdown."""
        parts = [", ".join(f"{key} {value}" for key, value in self.machine.items())]
        if self.results:
            parts += [LEGEND, suite_table(self.results, markdown)]
        if self.builds:
            parts.append(builds_table(self.builds, markdown))
        for name, rates in self.blocks.items():
            parts.append(f"Fused blocks of {name} on one core; the peak is {rates[0].peak_gmacs:.1f} GMAC/s.")
            parts.append(blocks_table(rates, markdown))
        return "\n\n".join([*parts, *(f"failed: {failure}" for failure in self.failures)])


def benchmark_zoo(
    name: str,
    engines: Sequence[str],
    threads: int,
    target: str = "host",
    plan: Plan | None = None,
    progress: Progress | None = None,
    db: str | None = None,
) -> Result:
    """Time the zoo network ``name``, built as ONNX for it.

    Raises:
        DwfuseError: there is no such network; and see :func:`.interleave.benchmark`.
    """
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(zoo.build(name).SerializeToString())
        inputs, _ = signature(path)
        return benchmark(path, engines, random_inputs(inputs), target, threads, plan, progress, db)


def measure_build(name: str) -> BuildTime:
    """Compile the zoo network ``name`` to an artifact and load it.

    Raises:
        DwfuseError: there is no such network; and see :func:`tvm_dwfuse.compile`.
    """
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder:
        path, artifact = Path(folder) / f"{name}.onnx", Path(folder) / name
        path.write_bytes(zoo.build(name).SerializeToString())
        start = time.perf_counter()
        compile(path).save(artifact)
        compiled = time.perf_counter()
        load(artifact)
        return BuildTime(name, compiled - start, time.perf_counter() - compiled)


def suite_table(results: Sequence[Result], markdown: bool = False) -> str:
    """One row a result: each engine's median in milliseconds, and dwfuse's time relative to each of the others.

    ``unfused`` is dwfuse with fusing switched off, ``error`` the largest absolute difference of dwfuse's outputs from
    ONNX Runtime's.
    """
    engines = list(dict.fromkeys(row.engine for result in results for row in result.rows))
    others = [engine for engine in engines if engine != "dwfuse"]
    header = ["network", "threads", *map(_short, engines), *(f"vs {_short(engine)}" for engine in others), "error"]
    rows = [_cells(result, engines, others) for result in results]
    return (markdown_table if markdown else text_table)(header, rows)


def builds_table(builds: Sequence[BuildTime], markdown: bool = False) -> str:
    """One row a network: seconds to compile and to load."""
    rows = [(build.model, f"{build.compile_s:.1f}", f"{build.load_s:.2f}") for build in builds]
    return (markdown_table if markdown else text_table)(("network", "compile s", "load s"), rows)


def _short(engine: str) -> str:
    return engine.removeprefix("dwfuse-")


def _cells(result: Result, engines: Sequence[str], others: Sequence[str]) -> list[str]:
    medians = {row.engine: row.median_ms for row in result.rows}
    times = [f"{medians[engine]:.2f}" if engine in medians else "-" for engine in engines]
    ratios = [_ratio(medians.get("dwfuse"), medians.get(engine)) for engine in others]
    ours = result.row("dwfuse")
    error = "-" if ours is None or ours.max_abs_err is None else f"{ours.max_abs_err:.1e}"
    return [result.model, str(result.threads), *times, *ratios, error]


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}x" if ours and theirs else "-"
