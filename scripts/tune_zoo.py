"""Tunes the kernels of zoo networks, equal ones once, for one target after the other.

Every trial is on record at once, in a database for each target: a run that was stopped goes on where it was. A network
that cannot be read or a target that cannot be measured is told at the end, and does not keep the others from being
tuned. --ship writes the records that the networks need to tvm_dwfuse/tuned/, which the package takes along.

scripts/tune_zoo.py --work-dir DIR [--targets host,cortex-a72,gap8] [--networks a,b,...] [--trials N] [--ship]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.api_tune import Measuring
from tvm_dwfuse.bench.tuning_zoo import Tuning, ZooTuner
from tvm_dwfuse.files import parse_names
from tvm_dwfuse.targets import target_names
from tvm_dwfuse.terminal import stopped_in_one_line, told_in_one_line, tuning_bar
from tvm_dwfuse.tuning.records import SHIPPED


def main(
    work_dir: Annotated[Path, typer.Option("--work-dir", help="Folder of the databases, one for each target.")],
    targets: Annotated[str, typer.Option(help="Targets, by commas.")] = "host",
    networks: Annotated[str, typer.Option(help="Zoo networks, by commas; all that are benchmarked by default.")] = "",
    trials: Annotated[int, typer.Option(min=1, help="Trials that shall be on record for a target.")] = 5000,
    minutes: Annotated[float | None, typer.Option(help="Begin no trial of a target after so many minutes.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that a kernel uses (CPUs).")] = 1,
    runner: Annotated[str | None, typer.Option(help="What measures, as for `dwfuse tune`.")] = None,
    rpc_tracker: Annotated[str | None, typer.Option("--rpc-tracker", metavar="HOST:PORT", help="For boards.")] = None,
    key: Annotated[str | None, typer.Option(help="Key of the boards at the tracker.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    ship: Annotated[bool, typer.Option("--ship", help="Write the records that the package takes along.")] = False,
    into: Annotated[Path, typer.Option(help="Where --ship writes a folder for each kind of machine.")] = SHIPPED,
) -> None:
    """Tune; exit with status 1 where a network or a target failed."""
    chosen = parse_names("--networks", networks, zoo.names()) or None
    seconds = None if minutes is None else 60 * minutes
    failures: list[str] = []
    for target in parse_names("--targets", targets, target_names()):
        tuning = Tuning(target, trials, threads, Measuring(runner, rpc_tracker, key), seed, seconds)
        with stopped_in_one_line(work_dir):
            try:
                with ZooTuner(tuning, work_dir, chosen) as tuner, tuning_bar() as on_progress:
                    summary = tuner.tune(on_progress)
                    shipped = tuner.ship(into) if ship else ""
                failures += tuner.failures
            except DwfuseError as error:
                failures.append(f"{target}: {error}")
                continue
        typer.echo(f"{target}: {summary.to_text()}")
        if shipped:
            typer.echo(shipped)
    for failure in failures:
        typer.echo(f"failed: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
