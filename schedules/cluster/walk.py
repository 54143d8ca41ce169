"""The walk of a chain of convolutions through L1: what its parts share, and one step of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_dwfuse.integer_network import Layer
from tvm_dwfuse.tiling.chain import Chain

from .emit import Pointer, Scalar, Slots, let, smaller
from .rows import RowWalk


@dataclass(frozen=True)
class Walk:
    """A chain with its parameters, L1 buffers and DMA slots.

    ``operands`` has the (weights, requantization) of each stage, ``origins`` the rows at which ``x`` and ``y`` start,
    ``blocks`` the first block and the end of the blocks to compute.
    """

    chain: Chain
    layers: tuple[Layer, ...]
    x: Pointer
    y: Pointer
    operands: tuple[tuple[Pointer, Pointer], ...]
    l1: dict[str, Pointer]
    rows: RowWalk
    origins: tuple[Scalar, Scalar]
    blocks: tuple[Scalar, Scalar]

    @property
    def input_slots(self) -> Slots:
        """Two when input is fetched ahead, be it into a ring."""
        return Slots(0, 2 if self.chain.tile.double_x and not self.chain.input_resident else 1)

    @property
    def block_slots(self) -> Slots:
        """Slots of the constants that stay for a block."""
        return Slots(2, self.chain.weight_slots)

    @property
    def stream_slots(self) -> Slots:
        """Slots of the constants that are fetched in each step."""
        return Slots(4, 2 if self.chain.tile.double_w else 1)

    @property
    def output_slots(self) -> Slots:
        """Slots of the output."""
        return Slots(6, self.chain.output_slots)

    def block_channels(self, block: Scalar) -> Scalar:
        """Channels of that block of the last tensor."""
        total, tile = self.chain.tensor_channels[-1], self.chain.tile.channels
        if isinstance(block, int) or total % tile == 0:
            return min(tile, total)
        return let("channels", smaller(tile, total - block * tile))

    def out_channels(self, stage: int, step: Step) -> Scalar:
        """Channels that ``stage`` computes in that step."""
        return step.channels if self.chain.can_block else self.chain.tensor_channels[stage + 1]


@dataclass(frozen=True)
class Step:
    """Rows [begin, end) of the last tensor in a block of ``channels`` of them; step ``index`` of the block.

    ``first`` tells whether it is the block's first step: True, False or a condition. ``turn`` counts steps over all
    blocks. ``chunk`` is the chunk of input that the first stage is at, where the input comes in chunks, and
    ``chunk_row`` the first row of it.
    """

    block: Scalar
    index: Scalar
    first: Any
    turn: Scalar
    begin: Scalar
    end: Scalar
    channels: Scalar
    chunk: Scalar = None
    chunk_row: Scalar = None
