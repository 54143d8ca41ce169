"""The tuning curves of a build's kernels, from the database of a tuning run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DwfuseError
from .model import CYCLES, MICROSECONDS, Curve, Trial, Unit

_UNITS = {"seconds": MICROSECONDS, "cycles": CYCLES}


@dataclass(frozen=True)
class Kernels:
    """Which of a database's tasks are shown.

    Args:
        wants: whether a task, by the fields of its key, is one of the build's machine.
        blocks: names of the build's blocks that such a task computes; none for a kernel that was not chosen.
    """

    wants: Callable[[Mapping[str, Any]], bool]
    blocks: Callable[[Mapping[str, Any]], list[str]]


@dataclass(frozen=True)
class Found:
    """The curves of chosen kernels in the order of their blocks, and how many tasks of that machine are of others."""

    curves: tuple[Curve, ...]
    others: int


def tuning_curves(folder: Path, kernels: Kernels) -> Found:
    """The curves of the kernels that were chosen.

    Raises:
        DwfuseError: ``folder`` holds no tuning database.
    """
    from ..tuning.database import TuningDatabase, is_database

    if not is_database(folder):
        raise DwfuseError(f"{folder}: no tuning database; `dwfuse tune MODEL --work-dir {folder}` writes one")
    database = TuningDatabase(folder)
    curves: list[tuple[str, Curve]] = []
    others = 0
    for key in sorted(database.keys()):
        fields = json.loads(key)
        if not kernels.wants(fields):
            continue
        names = kernels.blocks(fields)
        if not names:
            others += 1
            continue
        trials = tuple(Trial(trial.cost) for trial in database.trials(key))
        curves.append((names[0], Curve(_name(names, fields), _unit(fields["unit"]), trials)))
    return Found(tuple(curve for _, curve in sorted(curves, key=lambda pair: pair[0])), others)


def _unit(name: str) -> Unit:
    return _UNITS.get(name, Unit(name))


def _name(names: list[str], fields: Mapping[str, Any]) -> str:
    """The first block and how many more there are, variant, size and channels."""
    shape = fields["shape"]
    channels = [shape["stages"][0]["in_channels"], *(stage["out_channels"] for stage in shape["stages"])]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    size = f"{shape['height']}x{shape['width']} {'-'.join(map(str, channels))}"
    return f"{names[0]}{more}: {fields['variant']} {size}"
