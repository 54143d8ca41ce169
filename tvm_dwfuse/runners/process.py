"""Running a program with a time limit, and reading the line it prints for machines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import DwfuseError
from . import Application, RunResult

_RESULT = '{"dwfuse":'
_OUTPUT = "output.bin"


class ProgramError(DwfuseError):
    """A program that failed or took too long; ``reason`` is why, ``log`` all that it printed."""

    def __init__(self, what: str, reason: str, log: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.reason = reason
        self.log = log


class TimeLimitError(ProgramError):
    """A program that took too long."""


def execute(line: Sequence[str], folder: Path, what: str, time_limit: float, **environment: str) -> str:
    """Run a command in a folder and return all that it printed.

    Raises:
        TimeLimitError: it takes longer than ``time_limit`` seconds; the processes it started are ended, too.
        ProgramError: it ends with a status other than 0.
        DwfuseError: it cannot be started.
    """
    try:
        status, output = _finished(line, folder, time_limit, {**os.environ, **environment})
    except subprocess.TimeoutExpired as error:
        log = (error.output or b"").decode(errors="replace")
        raise TimeLimitError(what, f"not done after {time_limit:g} s; raise the time limit", log) from error
    except OSError as error:
        raise DwfuseError(f"{what}: cannot be run ({error.strerror})") from error
    log = output.decode(errors="replace")
    if status:
        raise ProgramError(what, f"ended with status {status}: {_reason(log)}", log)
    return log


def _finished(line: Sequence[str], folder: Path, time_limit: float, environment: dict[str, str]) -> tuple[int, bytes]:
    """Status and output of a command; what it started ends with it when it takes too long or we are interrupted."""
    with subprocess.Popen(
        line,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=time_limit)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output


_TELLING = re.compile(r"dwfuse:|ERROR: |runtime error:|WARNING: ThreadSanitizer| error: |undefined reference|not found")


def _reason(log: str) -> str:
    """The line of a log that says most about a failure."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith("make")] or lines or ["it printed nothing"]
    return next((line for line in own if _TELLING.search(line)), own[-1])


def run_in_folder(
    application: Application,
    folder: Path,
    input_data: bytes,
    line: Sequence[str],
    time_limit: float,
    **environment: str,
) -> RunResult:
    """Run a built application in a temporary folder with its weights, golden outputs and the given input.

    Args:
        application: what ``folder`` holds.
        folder: the application's.
        input_data: contents of ``input.bin``.
        line: the command that runs the program.
        time_limit: seconds for the run.
        environment: variables for the program.

    Raises:
        DwfuseError: the input has the wrong size, the program fails, or it leaves no result.
    """
    with tempfile.TemporaryDirectory(prefix="dwfuse-run-") as temporary:
        where = Path(temporary)
        prepare_folder(application, folder, where, input_data)
        log = execute(line, where, application.name, time_limit, **environment)
        output = b""
        with suppress(FileNotFoundError):
            output = (where / _OUTPUT).read_bytes()
    return result_of(application, log, output)


def prepare_folder(application: Application, folder: Path, where: Path, input_data: bytes) -> None:
    """Put the files a run needs into the folder ``where``, and remove the output of an earlier one.

    Raises:
        DwfuseError: the input has the wrong size.
    """
    if len(input_data) != application.input_bytes:
        raise DwfuseError(
            f"{application.name}: the input has {len(input_data)} bytes, the network takes {application.input_bytes}"
        )
    where.mkdir(parents=True, exist_ok=True)
    (where / "input.bin").write_bytes(input_data)
    (where / _OUTPUT).unlink(missing_ok=True)
    for link, target in (("weights.bin", application.weights), ("golden", application.golden)):
        (where / link).unlink(missing_ok=True)
        if target:
            (where / link).symlink_to((folder / target).resolve())


def result_of(application: Application, log: str, output: bytes) -> RunResult:
    """The result that a program's log and output file tell.

    Raises:
        DwfuseError: the program printed no result, or its output has the wrong size.
    """
    found = [line for line in log.splitlines() if line.startswith(_RESULT)]
    if not found:
        raise DwfuseError(f"{application.name}: ended without a result: {_reason(log)}")
    try:
        values = json.loads(found[-1])["dwfuse"]
        name, ticks, unit = values.pop("network"), int(values.pop("ticks")), str(values.pop("unit"))
        counters = {key: int(value) for key, value in values.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DwfuseError(f"{application.name}: its result is damaged: {found[-1]}") from error
    if name != application.name:
        raise DwfuseError(f"{application.name}: the result is that of network {name}; build the application again")
    if len(output) != application.output_bytes:
        raise DwfuseError(f"{application.name}: wrote {len(output)} bytes of output, not {application.output_bytes}")
    return RunResult({"output": output}, ticks, unit, counters, log)
