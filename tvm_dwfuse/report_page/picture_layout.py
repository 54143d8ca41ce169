"""Where the blocks of a network go in its picture: rows like lines of text, broken where few connections cross.

Most blocks read what the one before wrote. What a block writes for others is a line above its row with an arrow down
to each of them; where they are in other rows, the line leaves at the end of one and comes in at the start of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from .model import Block

#: Width of a layer's cell, and of the space between blocks, in units of the picture.
CELL = 1.0
SPACE = 0.45

#: What breaking a row under a connection costs, beside the square of the room that is left free.
_CROSSING = 40.0


@dataclass(frozen=True)
class Link:
    """Blocks ``readers``, in order, read what ``writer``, not the block before each of them, wrote."""

    writer: int
    readers: tuple[int, ...]


@dataclass(frozen=True)
class Line:
    """What of a link is in a row: its writer if that is there, the readers there, and at the writer those beyond."""

    link: Link
    writer: int | None
    readers: tuple[int, ...]
    beyond: tuple[int, ...]
    lane: int


@dataclass(frozen=True)
class Row:
    """Blocks ``first`` to ``last`` (exclusive), the left edge of each, and the lines above them."""

    first: int
    last: int
    lefts: tuple[float, ...]
    lines: tuple[Line, ...]

    @cached_property
    def lanes(self) -> int:
        """Heights at which lines run."""
        return max((line.lane + 1 for line in self.lines), default=0)


def follows(blocks: Sequence[Block], index: int) -> bool:
    """Whether a block reads what the one before it wrote."""
    return index > 0 and blocks[index - 1].writes in blocks[index].reads


def links(blocks: Sequence[Block]) -> list[Link]:
    """The connections between blocks that are not neighbours, one for each writer."""
    writers: dict[str, int] = {}
    readers: dict[int, list[int]] = {}
    for index, block in enumerate(blocks):
        for writer in sorted({writers[name] for name in block.reads if name in writers} - {index - 1}):
            readers.setdefault(writer, []).append(index)
        writers[block.writes] = index
    return [Link(writer, tuple(found)) for writer, found in sorted(readers.items())]


def width_of(block: Block) -> float:
    """The width of its box."""
    return CELL * len(block.layers)


def rows(blocks: Sequence[Block], width: float) -> list[Row]:
    """The blocks in rows of at most ``width``; a block that is wider has one for itself."""
    connections = links(blocks)
    bounds = _breaks(blocks, connections, width)
    return [_row(blocks, connections, first, last) for first, last in pairwise(bounds)]


def _breaks(blocks: Sequence[Block], connections: Sequence[Link], width: float) -> list[int]:
    """Where rows begin, and the end: the cheapest of all ways, by dynamic programming."""
    best: list[tuple[float, list[int]]] = [(0.0, [0])]
    for last in range(1, len(blocks) + 1):
        crossing = _CROSSING * sum(link.writer < last <= link.readers[-1] for link in connections)
        ways = []
        for first, room in _starts(blocks, last, width):
            spent, bounds = best[first]
            free = 0.0 if last == len(blocks) else room**2
            # A row costs something too, or rows of single blocks could come for nothing.
            ways.append((spent + crossing + free + 1, [*bounds, last]))
        best.append(min(ways))
    return best[-1][1]


def _starts(blocks: Sequence[Block], last: int, width: float) -> Iterator[tuple[int, float]]:
    """The blocks that a row up to ``last`` may begin with, and the room that it leaves."""
    used = -SPACE
    for first in reversed(range(last)):
        used += width_of(blocks[first]) + SPACE
        if used > width and first < last - 1:
            return
        yield first, max(0.0, width - used)


def _row(blocks: Sequence[Block], connections: Sequence[Link], first: int, last: int) -> Row:
    lefts, left = [], 0.0
    for block in blocks[first:last]:
        lefts.append(left)
        left += width_of(block) + SPACE
    here = [line for line in (_line(link, first, last) for link in connections) if line.readers or line.beyond]
    return Row(first, last, tuple(lefts), tuple(_in_lanes(here, first, last)))


def _line(link: Link, first: int, last: int) -> Line:
    """What of a link is in the row of those blocks, at the lowest height."""
    writer = link.writer if first <= link.writer < last else None
    readers = tuple(reader for reader in link.readers if first <= reader < last)
    beyond = () if writer is None else tuple(reader for reader in link.readers if reader >= last)
    return Line(link, writer, readers, beyond, 0)


def _in_lanes(lines: Sequence[Line], first: int, last: int) -> Iterator[Line]:
    """The lines as low as they go without meeting each other, short ones lowest."""
    taken: list[list[tuple[int, int]]] = []
    for start, end, line in sorted(_spans(lines, first, last), key=lambda span: (span[1] - span[0], span[0])):
        lane = next((i for i, used in enumerate(taken) if all(end <= s or e <= start for s, e in used)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((start, end))
        yield replace(line, lane=lane)


def _spans(lines: Sequence[Line], first: int, last: int) -> Iterator[tuple[int, int, Line]]:
    """The blocks from which and to which each line runs."""
    for line in lines:
        start = first - 1 if line.writer is None else line.writer
        yield start, last if line.beyond else line.readers[-1], line
