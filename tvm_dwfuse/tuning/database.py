"""The database of what was tried: MetaSchedule's two files, and a third for candidates that failed.

MetaSchedule reads the two files as they are (``meta_schedule.database.JSONDatabase(work_dir=...)``). Candidates that
failed are not in them: a record there has no room for the reason, and the search needs to know them all the same, so as
not to try them again.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_dwfuse import files
from tvm_dwfuse.errors import DwfuseError

from . import formats
from .formats import RecordReader, Trial
from .lines import JsonLines, locked

if TYPE_CHECKING:
    from tvm.s_tir.schedule import Trace
    from tvm.target import Target

    from .measure import Measurement

__all__ = ["FAILURES", "RECORDS", "WORKLOADS", "Trial", "TuningDatabase", "is_database"]

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
FAILURES = "failures.jsonl"


@dataclass(frozen=True, slots=True)
class _Tried:
    """A trial, its place in the order of trying, and the number, from 0, of its line in its file."""

    place: float
    line: int
    trial: Trial


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


class TuningDatabase:
    """The trials of tasks, by the task's key, in a folder that several processes may add to at once.

    The folder is made when something is added. Lines that are broken or written by others are reported by ``warn``,
    one message for all that are wrong in the same way, and skipped. What another process adds is seen at the next call.

    Raises:
        DwfuseError: the folder is a file, or cannot be read.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = _warn) -> None:
        self.folder = Path(folder)
        self._warn = warn
        self._files = [JsonLines(self.folder / name) for name in (WORKLOADS, RECORDS, FAILURES)]
        self._workloads, self._records, self._failures = self._files
        self._forget()
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise DwfuseError(f"{self.folder}: is a file; name the folder of a tuning database")
        self._refresh()

    def check_writable(self) -> None:
        """Make the folder, and refuse early, before minutes of tuning, one that cannot be written.

        Raises:
            DwfuseError: it cannot.
        """
        _make(self.folder)
        files.check_writable(self._records.path)

    def add(self, key: str, trace: Trace, measurement: Measurement, tvm_target: Target | None = None) -> None:
        """Keep what became of the candidate that ``trace`` describes; it is on the disk on return.

        Args:
            key: of the task.
            trace: of :func:`tvm_dwfuse.tuning.template.trace_at`.
            measurement: costs in the task's unit, of which the median is kept, or the error.
            tvm_target: what the kernel was compiled for, if it was TVM that compiled it.

        Raises:
            DwfuseError: the folder cannot be written, or the disk is full; what was there is kept.
        """
        _make(self.folder)
        with locked(self._workloads.path, to_write=True):
            self._read()
            for file in self._files:
                file.cut()
            if measurement.ok:
                index = self._index(key)
                line = formats.record_line(index, key, trace, measurement.cost, tvm_target)
                self._records.append(line)
            else:
                line = formats.failure_line(key, trace, measurement.error, self._records.count)
                self._failures.append(line)
            self._read()

    def keys(self) -> list[str]:
        """The tasks that have been tried."""
        self._refresh()
        return list(self._trials)

    def trials(self, key: str) -> list[Trial]:
        """What has been tried of a task, in the order of trying."""
        self._refresh()
        return [tried.trial for tried in sorted(self._trials.get(key, ()), key=attrgetter("place"))]

    def best(self, key: str) -> Trial | None:
        """The trial of the least cost, the first of equal ones; None if none has succeeded.

        Of a point that was measured several times, the last cost counts: the best of many first costs is most likely
        one that luck has made too low. MetaSchedule takes the least of all costs, which is the same where no point was
        repeated, and so in every database that was pruned.
        """
        self._refresh()
        return next((tried.trial for tried in self._ranked(key)), None)

    def pruned_to(self, folder: Path, keys: Iterable[str] | None = None, keep: int = 1) -> None:
        """Write a database of the best records only, tasks sorted by key: the same files for the same records.

        Args:
            folder: another folder; a database in it is replaced.
            keys: the tasks to take; all by default. One without a successful trial is left out.
            keep: how many different points of a task.

        Raises:
            DwfuseError: the files cannot be written.
        """
        if folder.resolve() == self.folder.resolve():
            raise DwfuseError(f"{folder}: is the database itself; name another folder")
        self._refresh()
        ranked = {key: self._ranked(key)[:keep] for key in sorted(self._trials if keys is None else set(keys))}
        wanted = {key: best for key, best in ranked.items() if best}
        lines = list(JsonLines(self._records.path).read())
        records = [
            formats.pruned_line(index, formats.record_in(lines[tried.line]))
            for index, best in enumerate(wanted.values())
            for tried in best
        ]
        _make(folder)
        # Records would belong to other tasks as long as one file is new and the other old.
        _remove(folder / RECORDS)
        files.write_text(folder / WORKLOADS, _text(map(formats.workload_line, wanted)))
        files.write_text(folder / RECORDS, _text(records))

    def _ranked(self, key: str) -> list[_Tried]:
        """The last measurement of each point, the least cost first."""
        if key not in self._rankings:
            last: dict[tuple[tuple[str, int], ...], _Tried] = {}
            for tried in self._trials.get(key, ()):
                if tried.trial.cost is not None:
                    last[tuple(sorted(tried.trial.point.items()))] = tried
            self._rankings[key] = sorted(last.values(), key=lambda tried: (tried.trial.cost, tried.place))
        return self._rankings[key]

    def _index(self, key: str) -> int:
        """The workload index of a task, which is the number of its line; a line is appended if there is none."""
        if key not in self._tasks:
            self._workloads.append(formats.workload_line(key))
            self._read()
        return self._tasks.index(key)

    def _refresh(self) -> None:
        if any(file.changed() for file in self._files):
            with locked(self._workloads.path, to_write=False):
                self._read()

    def _forget(self) -> None:
        """Be as before the first reading."""
        self._tasks: list[str | None] = []  # by workload index; None for a line that is not ours
        self._trials: dict[str, list[_Tried]] = {}
        self._rankings: dict[str, list[_Tried]] = {}
        self._reader = RecordReader()
        self._told: set[tuple[Path, int]] = set()
        for file in self._files:
            file.reset()

    def _read(self) -> None:
        """Take in what the files have got since the last reading. The lock is held."""
        if any(file.replaced() for file in self._files):
            self._forget()
        self._rankings.clear()
        for file, take in zip(self._files, (self._take_workload, self._take_record, self._take_failure), strict=True):
            self._take_lines(file, take)

    def _take_lines(self, file: JsonLines, take: Callable[[bytes, int], None]) -> None:
        skipped: dict[str, list[int]] = {}
        for number, line in enumerate(file.read(), file.count + 1):
            try:
                take(line, number)
            except ValueError as error:
                skipped.setdefault(str(error), []).append(number)
        for reason, numbers in skipped.items():
            others = f", as are {len(numbers) - 1} more lines" if len(numbers) > 1 else ""
            self._warn(f"{file.path}:{numbers[0]}: {reason}; skipped{others}")
        place = (file.path, file.count + 1)
        if file.torn and place not in self._told:
            self._told.add(place)
            self._warn(f"{file.path}:{file.count + 1}: cut off in the middle; skipped")

    def _take_workload(self, line: bytes, number: int) -> None:
        del number
        self._tasks.append(None)
        key = formats.read_workload(line)
        if key is None:
            raise ValueError("the workload of another program")
        self._tasks[-1] = key

    def _take_record(self, line: bytes, number: int) -> None:
        index, trial = self._reader.read(line)
        key = self._tasks[index] if 0 <= index < len(self._tasks) else None
        if key is None:
            raise ValueError(f"the record of a workload that {WORKLOADS} has not, or that is not ours")
        self._trials.setdefault(key, []).append(_Tried(number, number - 1, trial))

    def _take_failure(self, line: bytes, number: int) -> None:
        failure = formats.read_failure(line)
        self._trials.setdefault(failure.key, []).append(_Tried(failure.after + 0.5, number - 1, failure.trial))


def is_database(folder: Path) -> bool:
    """Whether a folder holds a tuning database, an empty one included."""
    return any(os.path.isfile(folder / name) for name in (WORKLOADS, RECORDS, FAILURES))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DwfuseError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DwfuseError(f"{path}: cannot be replaced ({error.strerror}); name another folder") from error


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
