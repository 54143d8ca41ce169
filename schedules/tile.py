"""What can be chosen about a kernel."""

from __future__ import annotations

from dataclasses import dataclass

#: Below this many products a kernel runs on one core: to share 17 us of work costs as much as it saves (on Zen 4).
PARALLEL_MACS = 1_000_000


@dataclass(frozen=True)
class Tile:
    """Outputs held in registers at once: ``rows`` x ``pixels`` (along the width) x ``channels``.

    ``lanes`` is the width of the vectors that hold them; it divides ``channels`` where vectors run along channels.
    """

    rows: int
    pixels: int
    channels: int
    lanes: int


@dataclass(frozen=True)
class Knobs:
    """What can be chosen about a kernel without changing what it computes.

    ``depth`` is FD, the depth of the step that fills the intermediate buffer: output rows of the block for the
    ``rows`` traversal and for single stages, channels for the ``channels`` traversal. ``tiles`` has one register
    tile a stage.
    """

    depth: int
    tiles: tuple[Tile, ...]
