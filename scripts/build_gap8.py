"""Quantizes zoo networks, compiles them for a cluster, and runs each on this machine against its golden outputs.

scripts/build_gap8.py [--models a,b,...] [--target gap8] [--objective latency] [--runner host|rv32|gvsoc] [-o FOLDER]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench.cluster import BUILDABLE, build_and_check, builds_table
from tvm_dwfuse.terminal import told_in_one_line


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas; or all.")] = ",".join(BUILDABLE),
    target: Annotated[str, typer.Option(help="Cluster to compile for.")] = "gap8",
    objective: Annotated[
        str, typer.Option(help="What to minimise, such as latency, traffic, energy or memory.")
    ] = "latency",
    runner: Annotated[str, typer.Option(help="Where to run: host, rv32 or gvsoc.")] = "host",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the applications in this folder.")] = None,
) -> None:
    """Build and check zoo networks; exit with status 1 when one fails."""
    names = zoo.names() if models == "all" else [name.strip() for name in models.split(",") if name.strip()]
    builds, failures = [], []
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as scratch, Console(stderr=True).status("starting") as status:
        for name in names:

            def show(phase: str, name: str = name) -> None:
                status.update(f"{name}: {phase}")

            try:
                folder = (output or Path(scratch)) / name
                builds.append(build_and_check(name, folder, runner, show, target=target, objective=objective))
            except DwfuseError as error:
                failures.append(f"{name}: {error}")
    if builds:
        typer.echo(builds_table(builds))
    for failure in failures:
        typer.echo(f"failed: {failure}")
    if failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
