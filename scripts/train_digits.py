"""Trains a depthwise-separable network on scikit-learn's digits with this project's kernels, forward and backward.

scripts/train_digits.py [--epochs N] [--batch N] [--threads N] [--seed N] [--no-dwfuse | --compare] [--json FILE]

--no-dwfuse leaves the depthwise convolutions and their gradients to TVM. --compare trains both ways and exits with
status 1 unless the loss curves agree. It takes about a minute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.files import check_writable, write_text
from tvm_dwfuse.report import text_table
from tvm_dwfuse.terminal import told_in_one_line
from tvm_dwfuse.training import digits


def main(
    epochs: Annotated[int, typer.Option(min=1, help="Times that every image is seen.")] = 20,
    batch: Annotated[int, typer.Option(min=1, help="Images in a training step.")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="Threads that each kernel uses.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial parameters and the order of images.")] = 0,
    dwfuse: Annotated[bool, typer.Option("--dwfuse/--no-dwfuse", help="Our depthwise kernels, or TVM's own.")] = True,
    compare: Annotated[bool, typer.Option("--compare", help="Train both ways and compare the loss curves.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write losses, accuracy and seconds here.")] = None,
) -> None:
    """Train, and tell loss by epoch, accuracy on held-out digits, and seconds."""
    if compare and not dwfuse:
        raise DwfuseError("--compare trains both ways: leave --no-dwfuse out")
    if json_file:
        check_writable(json_file)
    samples = digits.load_samples()
    recipe = digits.Recipe(epochs=epochs, batch=batch, threads=threads, seed=seed, depthwise=dwfuse)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        on_epoch = _advance(progress, epochs)
        runs = digits.compare(recipe, *samples, on_epoch) if compare else [digits.train(recipe, *samples, on_epoch)]
    if json_file:
        write_text(json_file, json.dumps(_report(runs), indent=2) + "\n")
    typer.echo(_curves(runs))
    for run in runs:
        typer.echo(f"{_name(run)}: {run.accuracy:.2%} of {digits.HELD_OUT} held-out digits, {run.seconds:.2f} s")
    if compare:
        _judge(*runs)


def _advance(progress: Progress, epochs: int) -> Callable[[Sequence[digits.Run]], None]:
    """What to call after each epoch to show it."""
    task = progress.add_task("compiling", total=epochs)

    def advance(runs: Sequence[digits.Run]) -> None:
        progress.update(task, advance=1, description=f"loss {runs[0].losses[-1]:.4f}")

    return advance


def _name(run: digits.Run) -> str:
    return "dwfuse" if run.recipe.depthwise else "TVM"


def _curves(runs: Sequence[digits.Run]) -> str:
    header = ["epoch", *(f"loss, {_name(run)}" for run in runs)]
    losses = zip(*(run.losses for run in runs), strict=True)
    rows = [[str(epoch), *(f"{loss:.5f}" for loss in row)] for epoch, row in enumerate(losses, 1)]
    return text_table(header, rows)


def _judge(ours: digits.Run, theirs: digits.Run) -> None:
    """Say whether the curves agree, and how much faster ours is; exit with status 1 if they do not."""
    difference = digits.disagreement(ours, theirs)
    typer.echo(
        f"the loss curves differ by at most {difference:.1e} of the first loss ({digits.TOLERANCE:.0e} allowed); "
        f"dwfuse trains {theirs.seconds / ours.seconds:.2f} times as fast"
    )
    if not difference <= digits.TOLERANCE:
        raise typer.Exit(1)


def _report(runs: Sequence[digits.Run]) -> dict[str, object]:
    report: dict[str, object] = {"runs": [asdict(run) for run in runs]}
    if len(runs) == 2:
        ours, theirs = runs
        report["disagreement"] = digits.disagreement(ours, theirs)
        report["speedup"] = theirs.seconds / ours.seconds
    return report


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
