"""Several networks, each on every engine: the table of ``scripts/bench_host.py`` and of the quickstart."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tvm_dwfuse.api import signature
from tvm_dwfuse.network import random_inputs
from tvm_dwfuse.report import markdown_table, text_table

from .interleave import Plan, Progress, benchmark
from .report import Result


def benchmark_zoo(
    name: str,
    engines: Sequence[str],
    threads: int,
    target: str = "host",
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> Result:
    """Time the zoo network ``name``, built as ONNX for it.

    Raises:
        DwfuseError: there is no such network; and see :func:`.interleave.benchmark`.
    """
    from tvm_dwfuse import zoo

    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder:
        path = Path(folder) / f"{name}.onnx"
        path.write_bytes(zoo.build(name).SerializeToString())
        inputs, _ = signature(path)
        return benchmark(path, engines, random_inputs(inputs), target, threads, plan, progress)


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
