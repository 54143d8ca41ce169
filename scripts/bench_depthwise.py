"""Times depthwise convolutions and their two gradients on this machine, ours and PyTorch's in turn; prints tables.

Every layer of well-known networks, or a dozen with --quick (less than a minute): medians of each, geometric means of
the ratios, the slowest layer of each procedure, and how near our kernels come to what the machine can do at all.

scripts/bench_depthwise.py [--quick] [--layers a,b,...] [--threads 1,2] [--batches 1,8]
                           [--layouts both] [--json F] [--markdown F]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.bench.depthwise_layers import parse_layers
from tvm_dwfuse.bench.depthwise_report import DepthwiseReport
from tvm_dwfuse.bench.depthwise_run import QUICK_EFFORT, Effort, list_cases, measure, missing_peers
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.files import check_writable, parse_names
from tvm_dwfuse.report import write_report
from tvm_dwfuse.terminal import told_in_one_line
from tvm_dwfuse.threads import available, check


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A dozen layers, less than a minute.")] = False,
    layers: Annotated[str, typer.Option(help="Layers, by commas, such as '672@14 5x5 s2'; or all, quick.")] = "",
    threads: Annotated[str, typer.Option(help="Numbers of threads, by commas; 1 and all cores by default.")] = "",
    batches: Annotated[str, typer.Option(help="Batch sizes, by commas.")] = "1,8",
    layouts: Annotated[str, typer.Option(help="Ours in the preferred layout, as with --quick, or both.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows and the machine here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown here.")] = None,
) -> None:
    """Time depthwise layers on this machine."""
    chosen = parse_layers(layers or ("quick" if quick else "all"))
    counts = [check(count) for count in _numbers("--threads", threads)] if threads else sorted({1, available()})
    (layout,) = parse_names("--layouts", layouts or ("preferred" if quick else "both"), ("preferred", "both"))
    cases = list_cases(chosen, counts, _numbers("--batches", batches), both_layouts=layout == "both")
    for path in filter(None, (json_file, markdown)):
        check_writable(path)
    report = DepthwiseReport(describe_machine(), missing_peers())
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        for rows in measure(
            cases,
            QUICK_EFFORT if quick else Effort(),
            lambda text, done, total: bar.update(task, description=text, completed=done, total=total),
        ):
            report.rows += rows
    write_report(report, json_file, markdown)
    typer.echo(report.to_text())


def _numbers(option: str, text: str) -> list[int]:
    try:
        numbers = sorted({int(word) for word in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise DwfuseError(f"{option} {text}: expected positive numbers divided by commas")
    return numbers


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
