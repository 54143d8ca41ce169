"""How far from being used each of several rivals is, on the way through a run of layers that uses the cheapest."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A way to compute what lies between two places of a run, and what it costs."""

    begin: Hashable
    end: Hashable
    cost: float


def least_cost(begin: Hashable, end: Hashable, steps: Sequence[Step]) -> float:
    """Of all ways from ``begin`` to ``end``, infinite without one. Steps are in the order of their beginnings."""
    return _distances(begin, steps).get(end, math.inf)


def detours(begin: Hashable, end: Hashable, steps: Sequence[Step]) -> Iterator[float]:
    """For each step, how much dearer the best way with it is than the best of all; infinite where there is no such way.

    Steps are in the order of their beginnings.
    """
    before = _distances(begin, steps)
    after = _distances(end, [Step(step.end, step.begin, step.cost) for step in reversed(steps)])
    for step in steps:
        whole = before.get(step.begin, math.inf) + step.cost + after.get(step.end, math.inf)
        yield whole - before[end] if whole < math.inf else math.inf


def share(detour: float, cost: float, out_of_reach: float) -> float:
    """1 for a step in use, up to half of that for a rival, 0 for one that had to save ``out_of_reach`` of its cost."""
    if detour == math.inf:
        return 0.0
    needed = detour / cost
    return 1.0 if needed < 1e-9 else 0.5 * max(0.0, 1 - needed / out_of_reach)


def _distances(start: Hashable, steps: Sequence[Step]) -> dict[Hashable, float]:
    found = {start: 0.0}
    for step in steps:
        if step.begin in found:
            found[step.end] = min(found.get(step.end, math.inf), found[step.begin] + step.cost)
    return found
