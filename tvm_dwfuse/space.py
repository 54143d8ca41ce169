"""What can be chosen about a kernel, as a set to search: named knobs, their values, and the default."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

#: A value for each knob, by its name.
Point = dict[str, int]


def _anything(point: Point) -> bool:
    del point
    return True


@dataclass(frozen=True)
class Space:
    """The legal points among the product of ``choices``.

    ``choices`` has the values of each knob, ascending; ``default`` is the legal point that compiles when nothing has
    been tuned; ``legal`` tells whether a point of the product makes a kernel.
    """

    choices: dict[str, tuple[int, ...]]
    default: Point
    legal: Callable[[Point], bool] = field(default=_anything, compare=False)

    @property
    def size(self) -> int:
        """Points of the product, legal or not."""
        return math.prod(len(values) for values in self.choices.values())

    def contains(self, point: Point) -> bool:
        """Whether ``point`` has a value among the choices for each knob, and is legal."""
        if point.keys() != self.choices.keys():
            return False
        return all(point[name] in values for name, values in self.choices.items()) and self.legal(point)

    def completed(self, point: Point) -> Point | None:
        """A point on record in this space: knobs that it was recorded without at their defaults; None if not legal."""
        whole = {**self.default, **point}
        return whole if self.contains(whole) else None

    def points(self) -> Iterator[Point]:
        """All legal points."""
        for values in product(*self.choices.values()):
            point = dict(zip(self.choices, values, strict=True))
            if self.legal(point):
                yield point
