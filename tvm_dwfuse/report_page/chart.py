"""A drawn figure with the words that go with it, and its bytes as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from matplotlib.figure import Figure

from .style import our_style

Item = TypeVar("Item")


@dataclass(frozen=True)
class Chart:
    """A figure.

    Args:
        name: of its PNG file, without the suffix.
        caption: what it shows, below it.
        alt: what one would say of it to somebody who does not see it.
        figure: as drawn.
    """

    name: str
    caption: str
    alt: str
    figure: Figure

    def __post_init__(self) -> None:
        # Once is enough, and takes as long as drawing.
        with our_style():
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    def png(self) -> bytes:
        """The figure in pixels, 200 to an inch."""
        return self._saved(format="png", metadata={"Software": None})

    def svg(self) -> bytes:
        """The figure in vectors, letters as outlines, so that it looks the same without our font."""
        return self._saved(format="svg", metadata={"Date": None, "Creator": None})

    def _saved(self, **options: Any) -> bytes:
        file = io.BytesIO()
        with our_style():
            self.figure.savefig(file, **options)
        return file.getvalue()


def pages(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """The items in as few parts of about equal length as hold ``most`` at most."""
    count = -(-len(items) // most)
    bounds = [len(items) * part // count for part in range(count + 1)] if count else []
    return [items[first:last] for first, last in pairwise(bounds)]


def part_of(index: int, count: int) -> str:
    """`` (part 1 of 3)``, or nothing where there is one."""
    return f" (part {index + 1} of {count})" if count > 1 else ""
