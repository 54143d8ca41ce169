"""What can be chosen about a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Below this many products a kernel runs on one core: to share 17 us of work costs as much as it saves (on Zen 4).
PARALLEL_MACS = 1_000_000

#: So many vector registers has x86 before AVX-512: tiles are small there, hold no taps, and their shape decides.
FEW_REGISTERS = 16

#: What threads share, see :class:`Knobs`.
BY_RULE, ROWS, CHANNELS = 0, 1, 2


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
    tile a stage. ``unroll`` steps of the sum over input channels are written out one after the other, as far as they
    divide it and the weights are not prefetched. ``parallel`` is what several threads share: :data:`ROWS`,
    :data:`CHANNELS`, or :data:`BY_RULE` channels where rows would load the threads unevenly.
    """

    depth: int
    tiles: tuple[Tile, ...]
    unroll: int = 1
    parallel: int = BY_RULE


@dataclass(frozen=True)
class Freedom:
    """What a family of kernels lets choose beside the default: values by the name of a knob, and which knobs fit."""

    choices: Mapping[str, Sequence[int]]
    fits: Callable[[Knobs], bool]
