"""A server without TVM, for tests of the processes alone: children import this module."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point
from tvm_dwfuse.tuning.measure.failure import Failure


@dataclass(frozen=True)
class Task:
    """Stands for a task: a pool reads nothing but its key."""

    key: str


class Server:
    """Does in each step what the point says: the knobs ``build`` and ``run`` are behaviours, of :data:`BEHAVIOURS`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._point: Point = {}

    def prepare(self, task: Task) -> None:
        self._task = task

    def build(self, point: Point) -> None:
        self._point = point
        self._do("build")

    def run(self) -> tuple[float, ...]:
        self._do("run")
        return (float(self._point["cost"]), float(self._task.key))

    def process(self) -> int:
        return os.getpid()

    def _do(self, step: str) -> None:
        behaviour = BEHAVIOURS[self._point.get(step, GOOD)]
        begin = time.monotonic()
        time.sleep(0.05)
        behaviour()
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(f"{step} {begin} {time.monotonic()}\n")


def _hang_with_child() -> None:
    subprocess.run(["sleep", "1000"], check=False)


def _raise() -> None:
    raise ValueError("no such kernel\nand more")


def _fail() -> None:
    raise Failure("wrong: all of it")


def _refuse() -> None:
    raise DwfuseError("nothing can be measured")


GOOD, RAISE, FAIL, REFUSE, SEGFAULT, EXIT, HANG = range(7)

BEHAVIOURS = {
    GOOD: lambda: None,
    RAISE: _raise,
    FAIL: _fail,
    REFUSE: _refuse,
    SEGFAULT: lambda: os.kill(os.getpid(), signal.SIGSEGV),
    EXIT: lambda: os._exit(3),
    HANG: _hang_with_child,
}


def broken(log: Path) -> Server:
    del log
    raise ImportError("no TVM here")
