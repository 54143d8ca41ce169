"""Counts what kernels for ARMv8 execute, on a machine without one, and compares with other libraries; prints tables.

Instructions, loads and stores of depthwise and pointwise layers and of whole networks under qemu, beside what ncnn,
XNNPACK, ONNX Runtime and PyTorch were measured to execute; then the cycles of the inner loops by llvm-mca.

scripts/bench_armv8.py [--quick] [--target cortex-a72] [--json F] [--markdown F]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tvm_dwfuse.armv8.measure import all_steps, require_tools, run_step
from tvm_dwfuse.armv8.report import Armv8Report
from tvm_dwfuse.armv8.tools import arm_core
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.files import check_writable
from tvm_dwfuse.report import write_report
from tvm_dwfuse.terminal import told_in_one_line


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Three layers and no whole network.")] = False,
    target: Annotated[str, typer.Option(help="Core to compile for and count on.")] = "cortex-a72",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown here.")] = None,
) -> None:
    """Count what kernels for ARMv8 execute; exit with status 1 when one fails."""
    core = arm_core("--target", target).name
    for path in filter(None, (json_file, markdown)):
        check_writable(path)
    require_tools()
    report = Armv8Report(core, describe_machine(["tvm-dwfuse", "apache-tvm"]))
    steps = list(all_steps(quick))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=len(steps))
        for step in steps:
            bar.update(task, description=step.name)
            run_step(report, step)
            bar.advance(task)
            # A whole run is long: what there is so far is worth keeping.
            write_report(report, json_file, markdown)
    typer.echo(report.to_text())
    if report.failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
