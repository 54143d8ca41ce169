"""What commands and scripts show while they work, and when they fail: bars on terminals, one line for an error."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from .errors import DwfuseError

if TYPE_CHECKING:
    from .api import OnPhase
    from .bench.interleave import Progress
    from .tuning.tuner import OnProgress

Function = TypeVar("Function", bound=Callable[..., None])

#: Whether the traceback of an error is printed too.
verbose = False


def told_in_one_line(command: Function) -> Function:
    """Print a :class:`DwfuseError` of ``command`` as ``error: ...`` and exit with status 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except DwfuseError as error:
            if verbose:
                traceback.print_exc()
            one_line = " ".join(str(error).split())
            typer.echo(f"error: {one_line}", err=True)
            raise typer.Exit(2) from None

    return wrapped  # type: ignore[return-value]


def warn_in_one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as ``warning: ...``; takes the place of :func:`warnings.showwarning`."""
    typer.echo(f"warning: {message}", err=True)


@contextmanager
def phases() -> Iterator[OnPhase]:
    """Show the phase of a compilation while it lasts, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda phase: None
        return
    with console.status("starting") as status:
        yield lambda phase: status.update(f"{phase} ...")


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error, gone when the job is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


@contextmanager
def tuning_bar() -> Iterator[OnProgress]:
    """A bar on standard error with the best so far and the time left, gone when the job is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda now: bar.update(task, description=now.to_text(), completed=now.done, total=now.total)


@contextmanager
def stopped_in_one_line(work_dir: Path) -> Iterator[None]:
    """End with status 130, as shells do, when tuning is interrupted, and say how it is gone on with."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"stopped: the trials so far are on record in {work_dir}; the same command goes on", err=True)
        raise typer.Exit(130) from None
