"""Compares how it may be chosen what is fused on a cluster: exactly, block by block, everything, or nothing.

scripts/compare_choices.py [--models a,b,...] [--objectives latency,...] [--target gap8]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tvm_dwfuse.bench.choices import Row, broken_promises, choices_text, compare
from tvm_dwfuse.bench.cluster import BUILDABLE, quantized_zoo
from tvm_dwfuse.choice import METRICS
from tvm_dwfuse.codegen_gap8.build import import_network
from tvm_dwfuse.files import parse_names
from tvm_dwfuse.terminal import told_in_one_line


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas.")] = ",".join(BUILDABLE),
    objectives: Annotated[str, typer.Option(help="Objectives, by commas.")] = ",".join(METRICS),
    target: Annotated[str, typer.Option(help="Cluster to compile for.")] = "gap8",
) -> None:
    """Compare; exit with status 1 where another choice would have been better by the model."""
    chosen = parse_names("--objectives", objectives, METRICS)
    names = [name.strip() for name in models.split(",") if name.strip()]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder, Console(stderr=True).status("starting") as status:
        for name in names:
            status.update(f"{name}: quantize")
            network = import_network(quantized_zoo(name, Path(folder)))

            def show(objective: str, way: str, name: str = name) -> None:
                status.update(f"{name}: {objective}, {way}")

            rows += compare(name, network, target, chosen, show)
    typer.echo(choices_text(rows))
    broken = broken_promises(rows)
    for line in broken:
        typer.echo(line)
    if broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
