"""What a way to compute something costs, and what is to be minimised of it."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from ..errors import DwfuseError

#: What can be minimised; also the fields of :class:`Costs`, in order.
METRICS = ("latency", "traffic", "energy", "memory")


@dataclass(frozen=True)
class Costs:
    """Costs of a part of a network, in units that whoever makes them chooses, the same everywhere.

    Those of two parts, one computed after the other, add up; but ``memory`` is the larger of both.

    Args:
        latency: time or cycles.
        traffic: bytes of activations that move between levels of memory.
        energy: of all that.
        memory: bytes that must be held at once.
    """

    latency: float = 0
    traffic: float = 0
    energy: float = 0
    memory: float = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(
            self.latency + other.latency,
            self.traffic + other.traffic,
            self.energy + other.energy,
            max(self.memory, other.memory),
        )

    def dominates(self, other: Costs) -> bool:
        """Whether it is no worse in anything, and better in something."""
        return self != other and all(a <= b for a, b in zip(astuple(self), astuple(other), strict=True))


@dataclass(frozen=True)
class Objective:
    """What is minimised: one of :data:`METRICS`, or a weighted sum of several; ``weights`` are in their order.

    Between equals decide latency, then traffic. A weighted sum takes each metric relative to the best that the network
    can reach in that metric alone, so that with equal weights one percent more of either costs the same.
    """

    weights: tuple[tuple[str, float], ...]

    @staticmethod
    def parse(text: str) -> Objective:
        """The objective of ``"latency"``, or of ``"latency=1,energy=0.5"``.

        Raises:
            DwfuseError: there is no such metric, one is given twice, or its weight is not a number above 0.
        """
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, given, number = (word.strip() for word in part.partition("="))
            if name not in METRICS:
                raise DwfuseError(
                    f"unknown objective {name!r}; known: {', '.join(METRICS)}, or weights such as latency=1,energy=0.5"
                )
            if name in weights:
                raise DwfuseError(f"objective {text!r}: {name} is given twice; give it one weight")
            weights[name] = _weight(text, name, number) if given else 1.0
        return Objective(tuple((name, weights[name]) for name in METRICS if name in weights))

    def __str__(self) -> str:
        return self.single or ",".join(f"{name}={weight:g}" for name, weight in self.weights)

    @property
    def single(self) -> str | None:
        """The only metric, or None."""
        return self.weights[0][0] if len(self.weights) == 1 else None

    def weight(self, metric: str) -> float:
        """The weight of a metric, 0 for one that does not count."""
        return dict(self.weights).get(metric, 0.0)

    def key(self, costs: Costs, best: Costs | None = None) -> tuple[float, ...]:
        """What is compared: the smaller, the better.

        Args:
            costs: to be judged.
            best: the best of each metric alone; a weighted sum needs it.
        """
        if self.single is None:
            return self.weighted(costs, best), costs.latency, costs.traffic
        first = getattr(costs, self.single)
        return (first, *(getattr(costs, name) for name in ("latency", "traffic") if name != self.single))

    def weighted(self, costs: Costs, best: Costs | None) -> float:
        """The weighted sum of ``costs`` relative to ``best``; a best of 0 counts as 1."""
        if best is None:
            raise ValueError("a weighted sum needs the best of each metric")
        return sum(weight * getattr(costs, name) / (getattr(best, name) or 1) for name, weight in self.weights)


def _weight(text: str, name: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not (0 < weight < math.inf):
        raise DwfuseError(f"objective {text!r}: weight {number!r} of {name} is no number above 0; write {name}=1")
    return weight
