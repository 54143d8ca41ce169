"""Candidates built and run in child processes, several at once, each step under a time limit."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Protocol

from tvm_dwfuse.space import Point

from . import Measurement
from .child import NOT_YET, Child
from .failure import Failure

if TYPE_CHECKING:
    from ..task import KernelTask

#: Seconds that a child has to make the operands of a task and what they give.
PREPARE_LIMIT_S = 120.0


class Server(Protocol):
    """What a child process does for a pool. A candidate fails by whatever exception but a ``DwfuseError``."""

    def prepare(self, task: KernelTask) -> None:
        """Make what all candidates of a task share; what is built from now on is of that task."""

    def build(self, point: Point) -> None:
        """Build a candidate, which takes the place of the one before."""

    def run(self) -> tuple[float, ...]:
        """Check the candidate and return its costs."""


class _State(Enum):
    FREE = "free"
    PREPARING = "preparing"
    BUILDING = "building"
    BUILT = "built"
    RUNNING = "running"


_BUILDING = (_State.PREPARING, _State.BUILDING)


@dataclass
class _Place:
    """A child process, and which candidate it has."""

    child: Child
    state: _State = _State.FREE
    index: int = -1
    point: Point = field(default_factory=dict)
    task_key: str = ""


class Pool:
    """Child processes, started when they are needed and kept for the next task.

    Args:
        limit_s: seconds that each step, ``build`` and ``run``, may take.
        make: makes the server in each child, a function or class of a module.
        arguments: what it is called with.
        waiting_s: seconds that ``run`` may take besides, to wait for a machine to run on.
    """

    def __init__(self, limit_s: float, make: Callable[..., Server], *arguments: object, waiting_s: float = 0.0) -> None:
        """No process starts yet."""
        self.limit_s = limit_s
        self._waiting_s = waiting_s
        self._make = make
        self._arguments = arguments
        self._places: list[_Place] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start_child(self) -> Child:
        """A process of its own for the caller, who closes it."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="dwfuse-measure-")
        return Child(self._folder.name, self._make, *self._arguments)

    def measure(
        self, task: KernelTask, points: Sequence[Point], children: int, builds: int, runs: int
    ) -> Iterator[tuple[int, Measurement]]:
        """See :meth:`tvm_dwfuse.tuning.measure.Runner.measure`.

        Args:
            task: of which the points are.
            points: the candidates.
            children: how many candidates may be in the making at the same time,
            builds: how many of these may be building,
            runs: and how many running.
        """
        task = replace(task)  # without the space that it may have cached, which no other process can be given
        waiting = deque(enumerate(points))
        try:
            while waiting or self._busy():
                self._begin_runs(runs)
                self._begin_builds(task, waiting, children, builds)
                yield from self._wait()
        finally:
            for place in self._busy():
                self._drop(place)

    def close(self) -> None:
        """End all processes and remove what they left; they start again when they are needed."""
        for place in list(self._places):
            self._drop(place)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _in(self, *states: _State) -> list[_Place]:
        return [place for place in self._places if place.state in states]

    def _busy(self) -> list[_Place]:
        return [place for place in self._places if place.state is not _State.FREE]

    def _begin_runs(self, most: int) -> None:
        for place in self._in(_State.BUILT)[: max(0, most - len(self._in(_State.RUNNING)))]:
            place.state = _State.RUNNING
            place.child.send("run", (), self.limit_s, self._waiting_s)

    def _begin_builds(self, task: KernelTask, waiting: deque[tuple[int, Point]], children: int, most: int) -> None:
        while waiting and len(self._busy()) < children and len(self._in(*_BUILDING)) < most:
            place = next(iter(self._in(_State.FREE)), None) or self._new_place()
            place.index, place.point = waiting.popleft()
            if place.task_key == task.key:
                self._build(place)
                continue
            place.state, place.task_key = _State.PREPARING, task.key
            place.child.send("prepare", (task,), PREPARE_LIMIT_S)

    def _build(self, place: _Place) -> None:
        place.state = _State.BUILDING
        place.child.send("build", (place.point,), self.limit_s)

    def _new_place(self) -> _Place:
        place = _Place(self.start_child())
        self._places.append(place)
        return place

    def _wait(self) -> Iterator[tuple[int, Measurement]]:
        """Wait for a reply or a deadline, and tell what is known then."""
        working = self._in(*_BUILDING, _State.RUNNING)
        soonest = min(place.child.deadline for place in working)
        answered = wait([place.child.connection for place in working], max(0.0, soonest - time.monotonic()))
        for place in working:
            measurement = None
            if place.child.connection in answered:
                measurement = self._answer(place)
            elif place.child.deadline < time.monotonic():
                measurement = self._failed(place, place.child.expire())
            if measurement is not None:
                yield place.index, measurement

    def _answer(self, place: _Place) -> Measurement | None:
        """Take in a reply; a measurement where that ends the candidate."""
        try:
            value = place.child.receive()
        except Failure as failure:
            return self._failed(place, failure)
        if value is NOT_YET:
            return None
        if place.state is _State.RUNNING:
            place.state = _State.FREE
            return Measurement(tuple(value))
        if place.state is _State.PREPARING:
            self._build(place)
        else:
            place.state = _State.BUILT
        return None

    def _failed(self, place: _Place, failure: Failure) -> Measurement:
        if place.state is _State.PREPARING:
            place.task_key = ""
        place.state = _State.FREE
        if place.child.ended:
            self._drop(place)
        return Measurement((), str(failure))

    def _drop(self, place: _Place) -> None:
        self._places.remove(place)
        place.child.close()
