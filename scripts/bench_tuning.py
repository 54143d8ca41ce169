"""Measures what tuning brings: zoo networks tuned and not, fused and not, and on other engines, interleaved.

--fusion measures instead whether what is fused was chosen well: against everything and nothing fused, all tuned.
--enumerate times every point of one kernel, and writes the table that tests of the search look costs up in:
scripts/bench_tuning.py --enumerate "mobilenet_v1_0.25_128:dw 16x16 64-64" --json tests/data/costs_dw_16x16.json

scripts/bench_tuning.py [--models a,b,...] [--db DIR] [--fusion] [--json F] [--markdown F]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench import Plan
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.bench.suite import MODELS, benchmark_zoo
from tvm_dwfuse.bench.tuning_networks import ENGINES, FUSION_ENGINES, TOLERANCE, TuningReport, fusion_ratio
from tvm_dwfuse.bench.tuning_tables import enumerate_costs, find_task, write_table
from tvm_dwfuse.files import check_writable, parse_names
from tvm_dwfuse.report import write_report
from tvm_dwfuse.terminal import told_in_one_line
from tvm_dwfuse.tuning.records import Records


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas; or all.")] = ",".join(MODELS),
    db: Annotated[Path | None, typer.Option("--db", help="Work-dir of `dwfuse tune`; else what is shipped.")] = None,
    fusion: Annotated[bool, typer.Option("--fusion", help="Compare what was chosen to be fused with all and none.")] = (
        False
    ),
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each engine, or each point, takes.")] = 15,
    enumerate_kernel: Annotated[
        str, typer.Option("--enumerate", metavar="NETWORK:KERNEL", help="Time all points of a kernel; needs --json.")
    ] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers and the machine here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown here.")] = None,
) -> None:
    """Measure; exit with status 1 when a network fails, or when what is fused was not chosen well."""
    for path in filter(None, (json_file, markdown)):
        check_writable(path)
    if enumerate_kernel:
        _enumerate(enumerate_kernel, rounds, json_file)
        return
    if db is not None:
        Records.open(db)  # refuses what is no database, before minutes of measuring
    names = zoo.names() if models == "all" else parse_names("--models", models, zoo.names())
    report = TuningReport(describe_machine())
    with Console(stderr=True).status("starting") as status:
        for name in names:

            def show(text: str, done: int, total: int, name: str = name) -> None:
                status.update(f"{name}: {text} {done}/{total}")

            engines = FUSION_ENGINES if fusion else tuple(ENGINES)
            try:
                result = benchmark_zoo(name, engines, 1, "host", Plan(rounds=rounds), show, str(db) if db else None)
            except DwfuseError as error:
                report.failures.append(f"{name}: {error}")
                continue
            (report.fusion if fusion else report.results).append(result)
            write_report(report, json_file, markdown)
    write_report(report, json_file, markdown)
    typer.echo(report.to_text())
    if report.failures or any((fusion_ratio(result) or 0.0) > 1 + TOLERANCE for result in report.fusion):
        raise typer.Exit(1)


def _enumerate(text: str, rounds: int, json_file: Path | None) -> None:
    network, _, kernel = text.partition(":")
    if not kernel or json_file is None:
        raise DwfuseError(f"--enumerate {text}: give NETWORK:KERNEL, and the file to write as --json")
    table = enumerate_costs(find_task(network, kernel), rounds)
    write_table(json_file, table)
    least, most = min(table.costs.values()), max(table.costs.values())
    default = table.costs[table.default]
    typer.echo(
        f"{len(table.costs)} points: {1e6 * least:.2f} to {1e6 * most:.2f} us, {1e6 * default:.2f} by default\n"
        f"wrote {json_file}"
    )


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
