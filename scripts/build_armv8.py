"""Cross-compiles zoo networks for ARMv8 cores; with --check runs each under qemu and compares with this machine.

scripts/build_armv8.py [--models a,b,...] [--targets cortex-a72,...] [--threads N] [--check] [-o FOLDER]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench.cross import CrossBuild, ZooNetwork, cross_builds_table
from tvm_dwfuse.files import parse_names
from tvm_dwfuse.targets import ARMV8_TARGETS
from tvm_dwfuse.terminal import progress_bar, told_in_one_line
from tvm_dwfuse.threads import check_elsewhere


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas; or all.")] = "all",
    targets: Annotated[str, typer.Option(help="ARMv8 cores, by commas; or all.")] = "cortex-a72",
    threads: Annotated[int, typer.Option(help="Threads that a run uses.")] = 1,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare with this machine, under qemu.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep the artifacts, as FOLDER/TARGET/NETWORK.")
    ] = None,
) -> None:
    """Cross-compile zoo networks; exit with status 1 when one fails."""
    names = _names("--models", models, zoo.names())
    cores = _names("--targets", targets, list(ARMV8_TARGETS))
    check_elsewhere(threads)
    builds: list[CrossBuild] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as scratch, progress_bar() as progress:
        for position, name in enumerate(names):
            network = ZooNetwork(name)
            for core_position, core in enumerate(cores):
                done = position * len(cores) + core_position

                def show(phase: str, label: str = f"{name} for {core}", done: int = done) -> None:
                    progress(f"{label}: {phase}", done, len(names) * len(cores))

                folder = (output or Path(scratch)) / core / name
                try:
                    builds.append(network.build(core, folder, threads, check, show))
                except Exception as error:  # a fault in one network must not lose what was learnt of the others
                    failures.append(f"{name} for {core}: {_one_line(error)}")
    if builds:
        typer.echo(cross_builds_table(builds))
    for failure in failures:
        typer.echo(f"failed: {failure}")
    if failures:
        raise typer.Exit(1)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, DwfuseError) else f"{type(error).__name__}: {text}"


def _names(option: str, text: str, known: list[str]) -> list[str]:
    return known if text == "all" else parse_names(option, text, known)


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
