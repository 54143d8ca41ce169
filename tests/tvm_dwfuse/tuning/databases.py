"""What the tests of tuning databases have in common: a small space, records of it, and processes to kill."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.template import trace_at

_DIGITS = tuple(range(1, 11))
SPACE = Space({"depth": _DIGITS, "rows0": _DIGITS, "pixels0": _DIGITS}, {"depth": 1, "rows0": 1, "pixels0": 1})
KEY = '{"task":"a"}'
#: Seconds after which a process ends itself, lest the tests wait for ever for one that hangs.
_LIMIT_S = 120
OTHER = '{"task":"b"}'


def point(number: int) -> Point:
    """Another point for each number up to 999."""
    return {"depth": number // 100 + 1, "rows0": number // 10 % 10 + 1, "pixels0": number % 10 + 1}


def number_of(point: Point) -> int:
    """The number that :func:`point` made it from."""
    return (point["depth"] - 1) * 100 + (point["rows0"] - 1) * 10 + point["pixels0"] - 1


def add(database: TuningDatabase, number: int, cost: float, key: str = KEY) -> None:
    """Add a measured candidate."""
    database.add(key, trace_at(SPACE, key, point(number)), Measurement((cost,)))


def add_failed(database: TuningDatabase, number: int, error: str, key: str = KEY) -> None:
    """Add a failed candidate."""
    database.add(key, trace_at(SPACE, key, point(number)), Measurement((), error))


class Warnings(list[str]):
    """Collects what a database warns of."""

    def open(self, folder: Path) -> TuningDatabase:
        """The database in ``folder``, which warns here."""
        return TuningDatabase(folder, warn=self.append)


def start(work: Callable[[], None]) -> int:
    """Do ``work`` in a process of its own, which has TVM loaded already; its id.

    Its status is 0 when the work is done, 1 when it raises.
    """
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        signal.alarm(_LIMIT_S)
        work()
        status = 0
    except BaseException:  # it must not come back as a second pytest
        traceback.print_exc()
    finally:
        os._exit(status)


def succeeded(process: int) -> bool:
    """Wait for a process that :func:`start` began; whether its work was done."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
