"""Points of spaces to test."""

from __future__ import annotations

import random
from itertools import islice

from tvm_dwfuse.space import Point, Space

_DRAWN = 5000


def random_points(space: Space, count: int, seed: int = 0) -> list[Point]:
    """Up to ``count`` different legal points."""
    generator = random.Random(seed)
    drawn = ({name: generator.choice(values) for name, values in space.choices.items()} for _ in range(_DRAWN))
    different = {tuple(point.values()): point for point in islice(filter(space.contains, drawn), 2 * count)}
    return list(different.values())[:count]
