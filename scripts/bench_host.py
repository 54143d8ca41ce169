"""Times zoo networks on this machine: fused, unfused and on other engines, interleaved; prints tables.

After the networks come the time to compile and load each, and how near their fused blocks come to the machine's own
multiply-add peak.

scripts/bench_host.py [--models a,b,...] [--threads 1,2] [--against onnxruntime,openvino] [--json F] [--markdown F]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench import OURS, PEERS, Plan
from tvm_dwfuse.bench.blocks import measure_blocks
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.bench.suite import MODELS, HostReport, benchmark_zoo, measure_build
from tvm_dwfuse.files import check_writable, parse_names
from tvm_dwfuse.report import write_report
from tvm_dwfuse.terminal import told_in_one_line
from tvm_dwfuse.threads import available, check

#: The networks whose fused blocks are measured, with the order of those blocks.
BLOCKS = {"mobilenet_v1_1.0_224": "dwpw", "mobilenet_v2_1.0_224": "pwdwpw"}


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas; or all.")] = ",".join(MODELS),
    threads: Annotated[str, typer.Option(help="Numbers of threads, by commas; 1 and all cores by default.")] = "",
    against: Annotated[str, typer.Option(help=f"Engines, by commas: {', '.join(PEERS)}.")] = "onnxruntime,openvino",
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each engine takes.")] = 15,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers and the machine here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown here.")] = None,
) -> None:
    """Time zoo networks on this machine; exit with status 1 when one fails."""
    names = zoo.names() if models == "all" else parse_names("--models", models, zoo.names())
    counts = _thread_counts(threads)
    engines = [*OURS, *parse_names("--against", against, PEERS)]
    for path in filter(None, (json_file, markdown)):
        check_writable(path)
    console = Console(stderr=True)
    report = HostReport(describe_machine())
    with console.status("starting") as status:

        def show(text: str, done: int, total: int) -> None:
            status.update(f"{label}: {text} {done}/{total}")

        for name in names:
            for count in counts:
                label = f"{name}, {count} thread{'s' if count > 1 else ''}"
                try:
                    report.results.append(benchmark_zoo(name, engines, count, plan=Plan(rounds=rounds), progress=show))
                except DwfuseError as error:
                    report.failures.append(f"{label}: {error}")
                    continue
                console.print(report.results[-1].to_text(), markup=False, highlight=False)
                write_report(report, json_file, markdown)
            status.update(f"{name}: compiling and loading")
            _measure_rest(report, name)
    write_report(report, json_file, markdown)
    typer.echo(report.to_text())
    if report.failures:
        raise typer.Exit(1)


def _measure_rest(report: HostReport, name: str) -> None:
    try:
        report.builds.append(measure_build(name))
    except DwfuseError as error:
        report.failures.append(f"{name}: {error}")
        return
    if name in BLOCKS:
        report.blocks[name] = measure_blocks(name, BLOCKS[name])


def _thread_counts(text: str) -> list[int]:
    if not text:
        return sorted({1, available()})
    try:
        return [check(int(word)) for word in text.split(",")]
    except ValueError:
        raise DwfuseError(f"--threads {text}: expected numbers divided by commas") from None


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
