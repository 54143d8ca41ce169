"""Sums and global average pools cut to fit L1: the counterpart of :mod:`.chain` for layers without a convolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..codegen_gap8.kernels.scratch import round_up
from ..codegen_gap8.l1 import OVERREAD_BYTES
from .chain import Buffer, Transfer


@dataclass(frozen=True)
class AddPlan:
    """The sum of two activations of ``elements`` values in the same layout, ``chunk`` values in a step.

    ``double`` says whether inputs and output are double-buffered.
    """

    elements: int
    chunk: int
    double: bool = True
    cores: int = 8

    @property
    def steps(self) -> int:
        """Chunks; the last one may be smaller."""
        return -(-self.elements // self.chunk)

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The L1 buffers: both inputs and the output."""
        slots = 2 if self.double and self.steps > 1 else 1
        return tuple(
            Buffer(name, "uint8", round_up(self.chunk, 4), slots, OVERREAD_BYTES) for name in ("l1_a", "l1_b", "l1_y")
        )

    @property
    def l1_bytes(self) -> int:
        """L1 that the buffers need."""
        return sum(buffer.bytes for buffer in self.buffers)

    def iterations(self) -> Iterator[tuple[int, int]]:
        """(begin, end) of the elements of each step."""
        for begin in range(0, self.elements, self.chunk):
            yield begin, min(begin + self.chunk, self.elements)

    def transfers(self, begin: int, end: int) -> list[Transfer]:
        """The transfers of one step: both inputs, and the output."""
        return [Transfer("activation", inward, 1, end - begin) for inward in (True, True, False)]

    def activation_bytes(self) -> int:
        """Bytes of activations that cross between L2 and L1."""
        return 3 * self.elements


@dataclass(frozen=True)
class PoolPlan:
    """The mean over the image of each channel, ``tile`` channels in a step; ``layout`` is the input's."""

    height: int
    width: int
    channels: int
    layout: str
    tile: int
    double: bool = True
    cores: int = 8

    @property
    def steps(self) -> int:
        """Tiles of channels; the last one may be smaller."""
        return -(-self.channels // self.tile)

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The L1 buffers: input and output."""
        slots = 2 if self.double and self.steps > 1 else 1
        pixels = self.height * self.width
        return Buffer("l1_x", "uint8", pixels * self.tile, slots, OVERREAD_BYTES), Buffer(
            "l1_y", "uint8", self.tile, slots
        )

    @property
    def l1_bytes(self) -> int:
        """L1 that the buffers need."""
        return sum(buffer.bytes for buffer in self.buffers)

    def iterations(self) -> Iterator[tuple[int, int]]:
        """(begin, end) of the channels of each step."""
        for begin in range(0, self.channels, self.tile):
            yield begin, min(begin + self.tile, self.channels)

    def transfers(self, begin: int, end: int) -> list[Transfer]:
        """The transfers of one step: the input's channels, and their means."""
        pixels, channels = self.height * self.width, end - begin
        one_run = self.layout == "chw" or self.tile == self.channels
        lines, length = (1, pixels * channels) if one_run else (pixels, channels)
        return [Transfer("activation", True, lines, length), Transfer("activation", False, 1, channels)]

    def activation_bytes(self) -> int:
        """Bytes of activations that cross between L2 and L1."""
        return (self.height * self.width + 1) * self.channels
