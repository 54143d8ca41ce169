"""Compares zoo networks on GAP8 unfused, fused by each variant, and with the best of all; prints tables.

scripts/bench_gap8.py [--models a,b,...] [--modes unfused,latency,...] [--json F] [--markdown F]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench.cluster import MODES, ClusterBench, measure
from tvm_dwfuse.files import check_writable, parse_names, write_text
from tvm_dwfuse.terminal import told_in_one_line

MODELS = (
    "mobilenet_v1_1.0_224",
    "mobilenet_v1_1.0_128",
    "mobilenet_v1_0.25_128",
    "mobilenet_v2_1.0_224",
    "ds_cnn_s",
    "mcunet_vww",
)


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas; or all.")] = ",".join(MODELS),
    modes: Annotated[str, typer.Option(help="Modes, by commas.")] = ",".join(MODES),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown here.")] = None,
) -> None:
    """Compare zoo networks on GAP8; exit with status 1 when one fails."""
    names = zoo.names() if models == "all" else [name.strip() for name in models.split(",") if name.strip()]
    chosen = parse_names("--modes", modes, list(MODES))
    for path in filter(None, (json_file, markdown)):
        check_writable(path)
    bench = ClusterBench()
    with Console(stderr=True).status("starting") as status:
        for name in names:
            try:
                measure(bench, name, chosen, lambda model, mode: status.update(f"{model}: {mode}"))
            except DwfuseError as error:
                bench.failures.append(f"{name}: {error}")
            if json_file:
                write_text(json_file, bench.to_json())
    typer.echo(bench.to_text())
    if markdown:
        write_text(markdown, bench.to_text(markdown=True) + "\n")
    if bench.failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
