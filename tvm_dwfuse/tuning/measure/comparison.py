"""Candidates of one task timed against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tvm_dwfuse.space import Point

from . import Measurement
from .child import Child
from .failure import Failure
from .pool import PREPARE_LIMIT_S, Pool

if TYPE_CHECKING:
    from ..task import KernelTask


class Comparison:
    """All candidates in one process of a pool, in turn, so that what disturbs the machine disturbs all of them.

    The server has two more methods: ``keep(index)`` checks the candidate that was built and keeps it, ``lap(index)``
    returns one more cost of it.
    """

    def __init__(self, pool: Pool, task: KernelTask, points: Sequence[Point]) -> None:
        """Start nothing yet."""
        self._pool = pool
        self._task = replace(task)  # as in Pool.measure
        self._points = points
        self._failed: dict[int, Measurement] = {}
        self._costs: list[list[float]] = []

    def measure(self, rounds: int) -> list[Measurement]:
        """One measurement a point, with a cost for each round.

        Raises:
            DwfuseError: nothing can be measured at all.
        """
        while not self._attempt(rounds):
            pass
        return [self._failed.get(i) or Measurement(tuple(costs)) for i, costs in enumerate(self._costs)]

    def _attempt(self, rounds: int) -> bool:
        """Go through all rounds; false where a candidate ended the process, and the others must start again."""
        self._costs = [[] for _ in self._points]
        child = self._pool.start_child()
        try:
            child.ask("prepare", (self._task,), PREPARE_LIMIT_S)
            for index, method, args in self._steps(rounds):
                if index not in self._failed:
                    self._take(child, index, method, args)
                if child.ended:
                    return False
        finally:
            child.close()
        return True

    def _steps(self, rounds: int) -> Iterator[tuple[int, str, tuple[Any, ...]]]:
        """Candidate, method of the server and its arguments; each round begins with another candidate."""
        count = len(self._points)
        for index, point in enumerate(self._points):
            yield index, "build", (point,)
            yield index, "keep", (index,)
        for round in range(rounds):
            for place in range(count):
                index = (round + place) % count
                yield index, "lap", (index,)

    def _take(self, child: Child, index: int, method: str, args: tuple[Any, ...]) -> None:
        try:
            value = child.ask(method, args, self._pool.limit_s)
        except Failure as failure:
            self._failed[index] = Measurement((), str(failure))
            return
        if method == "lap":
            self._costs[index].append(value)
