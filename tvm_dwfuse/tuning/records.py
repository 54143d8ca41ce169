"""What to compile a kernel with: the best record of the user's database, or of those shipped with the package.

The shipped ones lie in ``tvm_dwfuse/tuned/<name>/``, each a database of best records only
(:meth:`TuningDatabase.pruned_to`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from schedules.build import worthwhile_threads
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget

from .database import TuningDatabase, is_database
from .task import KernelTask, canonical_key

#: Where the databases of the package lie.
SHIPPED = Path(__file__).parent.parent / "tuned"

#: What a record may have been measured with and still be of use elsewhere.
_CIRCUMSTANCES = ("cpu", "threads", "unit")


@dataclass(frozen=True)
class Record:
    """A tuned point, and its cost in ``unit`` where it was measured.

    ``origin`` says in words where that was; ``here``, whether it was on such a CPU as asked for, with as many threads.
    """

    point: Point
    cost: float
    unit: str
    origin: str
    here: bool = True


@dataclass(frozen=True)
class Source:
    """A database, and what people call it."""

    name: str
    database: TuningDatabase


@dataclass(frozen=True)
class _Entry:
    """A task of a CPU that a database has records of."""

    source: Source
    key: str
    cpu: str
    threads: int
    unit: str

    def rank(self, cpu: str, threads: Sequence[int]) -> tuple[object, ...]:
        """Less is better: threads count most, then the CPU; a time tells more than a count of instructions."""
        return (self.threads not in threads, self.cpu != cpu, self.unit != "seconds")


class Records:
    """The best records of several databases, of which the first that has one counts."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    @staticmethod
    def open(db: Path | None = None, shipped: Path = SHIPPED) -> Records:
        """The user's database, if there is one, and then those shipped.

        Args:
            db: folder of the user's database.
            shipped: folder that holds the shipped databases, a folder each.

        Raises:
            DwfuseError: ``db`` is no tuning database, or cannot be read.
        """
        if db is not None and not is_database(db):
            raise DwfuseError(f"{db}: holds no tuning database; name the --work-dir that `dwfuse tune` has written")
        folders = sorted(filter(is_database, shipped.iterdir())) if shipped.is_dir() else []
        own = [] if db is None else [Source(str(db), TuningDatabase(db))]
        return Records([*own, *(Source("shipped", TuningDatabase(folder)) for folder in folders)])

    def best(self, key: str) -> Record | None:
        """The best record of exactly the task with that key, such as a cluster's; None if there is none."""
        fields = json.loads(key)
        machine = str(fields.get("cpu", fields.get("cluster", "")))
        for source in self._sources:
            trial = source.database.best(key)
            if trial is not None and trial.cost is not None:
                return Record(trial.point, trial.cost, fields["unit"], f"tuned ({_place(source, machine)})")
        return None

    def find(
        self,
        block: Block,
        variant: str | None,
        machine: CpuTarget,
        threads: int = 1,
        source: Layout | None = None,
    ) -> Record | None:
        """The record to compile a kernel with; None to take the default.

        One of this CPU goes before one of another with the same vector registers, and either before one that was
        measured on one thread only. A point that the kernel's space does not have, or no longer has, is left out.

        Args:
            block: what the kernel computes.
            variant: a name of :data:`~tvm_dwfuse.variants.VARIANTS`; None for a block of one stage.
            machine: the CPU to compile for.
            threads: how many there are.
            source: layout of the input, where it is not the block's.
        """
        task = KernelTask(block, variant, source, machine, threads)
        same_threads = (threads, worthwhile_threads(block, threads))
        entries = [
            entry
            for entry in self._entries.get(_without_circumstances(json.loads(task.key)), ())
            if entry.threads in (*same_threads, 1)
        ]
        for entry in sorted(entries, key=lambda entry: entry.rank(machine.mcpu, same_threads)):
            record = _record(entry, task, entry.threads in same_threads)
            if record is not None:
                return record
        return None

    @cached_property
    def _entries(self) -> dict[str, list[_Entry]]:
        """The CPUs' tasks by what the circumstances leave of their keys, in the order of the databases."""
        entries: dict[str, list[_Entry]] = {}
        for source in self._sources:
            for key in source.database.keys():  # noqa: SIM118 - it is no dict
                fields = json.loads(key)
                if all(name in fields for name in _CIRCUMSTANCES):
                    entry = _Entry(source, key, *(fields[name] for name in _CIRCUMSTANCES))
                    entries.setdefault(_without_circumstances(fields), []).append(entry)
        return entries


def _without_circumstances(fields: dict[str, Any]) -> str:
    return canonical_key({name: value for name, value in fields.items() if name not in _CIRCUMSTANCES})


def _record(entry: _Entry, task: KernelTask, same_threads: bool) -> Record | None:
    trial = entry.source.database.best(entry.key)
    if trial is None or trial.cost is None:
        return None
    here = same_threads and entry.cpu == task.machine.mcpu
    point = task.space.completed(trial.point)
    if point is not None:
        return Record(point, trial.cost, entry.unit, _origin(entry, task, same_threads), here)
    if here:
        warnings.warn(
            f"{_place(entry.source, entry.cpu)}: the record of {task.describe()} is of another version of dwfuse, "
            "and is left out; tune it again",
            stacklevel=3,
        )
    return None


def _origin(entry: _Entry, task: KernelTask, same_threads: bool) -> str:
    how = "" if entry.unit == "seconds" else f" by {entry.unit}"
    alone = "" if same_threads else " for 1 thread"
    if entry.cpu == task.machine.mcpu:
        return f"tuned{how}{alone} ({_place(entry.source, entry.cpu)})"
    return f"tuned{how} on {entry.cpu}{alone}, this machine is {task.machine.mcpu} ({entry.source.name})"


def _place(source: Source, machine: str) -> str:
    return f"{source.name}, {machine}" if source.name == "shipped" else source.name
