"""Measuring candidates: what a measurement is, and what all runners have in common.

A runner builds each candidate, runs it, and compares its output with :mod:`tvm_dwfuse.tuning.reference` before its cost
counts. All of that happens in child processes under a time limit (:mod:`.pool`), so that a candidate that crashes,
hangs or computes something else is marked failed, and nothing else happens.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tvm_dwfuse.space import Point

#: What a measurement's error begins with: it cannot be built, computes something else, ends its process, takes too
#: long, or what it ran on went away.
ERROR_KINDS = ("build: ", "wrong: ", "crash: ", "timeout: ", "lost: ")


@dataclass(frozen=True)
class Measurement:
    """What one candidate costs, in the unit of the runner: each repetition; or why it has no cost.

    ``error`` is one line that begins with one of :data:`ERROR_KINDS`, and empty where there are costs.
    """

    costs: tuple[float, ...]
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the candidate was measured."""
        return not self.error

    @property
    def cost(self) -> float:
        """The median of the repetitions; infinite for a failed candidate."""
        return statistics.median(self.costs) if self.ok else float("inf")


class Runner(Protocol):
    """Measures candidates of tasks."""

    #: What costs are: "seconds", "instructions", "cycles".
    unit: str

    def measure(self, task: Any, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        """Place in ``points`` and measurement of each, in any order, as soon as it is known.

        No candidate's fault raises. Candidates not yet measured are given up when the iterator is closed.

        Raises:
            DwfuseError: nothing can be measured at all, as a tool or a machine is missing.
        """

    def close(self) -> None:
        """End the processes that it keeps."""
