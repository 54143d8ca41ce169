"""Activations rearranged for products by lane: vectors of pixels instead of vectors of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, ForKind

from ..lanes import shuffle, zeros
from ..loops import bind, int64, loop, sequence
from .tiles import PixelTiles

#: Blocks of channels that are packed together, as a loop has four instructions or more of its own.
_TOGETHER = 2


@dataclass(frozen=True)
class Packing:
    """A tile of ``groups`` groups of ``lanes`` pixels with all their channels, in the order in which products read it.

    Blocks of ``lanes`` channels are outermost, then groups, channels of the block, and pixels of the group: a block of
    a group is a transposed square, which a machine with interleaving stores (``st4``) writes in one instruction, and
    what a few steps of k need is adjacent, so that it is loaded in pairs from one address.
    """

    channels: int
    groups: int
    lanes: int

    @property
    def missing(self) -> int:
        """Channels that the first block lacks, so that all blocks behind it are whole."""
        return -self.channels % self.lanes

    @property
    def size(self) -> int:
        """Elements of a tile."""
        return -(-self.channels // self.lanes) * self.lanes * self.groups * self.lanes

    def square(self, tile: Expr, block: Expr, group: Expr) -> Expr:
        """Where ``lanes`` channels of a group begin; ``block`` counts the channels in ``lanes``."""
        square = int64(self.lanes * self.lanes)
        return tile * int64(self.size) + block * (square * int64(self.groups)) + group * square


def store_square(flat: tirx.Buffer, at: Expr, pixels: Sequence[Expr | None], lanes: int) -> tirx.Stmt:
    """Store the vectors of channels of ``lanes`` pixels as vectors of pixels; a pixel that is None as zeros."""
    vectors = [zeros(lanes) if pixel is None else pixel for pixel in pixels]
    transposed = [pixel * lanes + channel for channel in range(lanes) for pixel in range(lanes)]
    return BufferStore(flat, shuffle(vectors, transposed), [tirx.Ramp(at, int64(1), lanes * lanes)])


def pack(packing: Packing, packed: tirx.Buffer, tiles: PixelTiles, read: Callable[[Expr, Expr], Expr]) -> tirx.Stmt:
    """Copy tiles of pixels to their packed places; ``read(pixel, channel)`` is the vector of channels there."""
    lanes = packing.lanes
    groups = max(tiles.slots) // lanes + 1

    def blocks(i: Expr, first: Expr, count: int) -> tirx.Stmt:
        statements: list[tirx.Stmt] = []
        values: dict[tuple[int, int], Expr] = {}
        for slot, offset in zip(tiles.slots, tiles.offsets, strict=True):
            for block in range(count):
                value = read(tiles.place(i) + int64(offset), (first + int64(block)) * int64(lanes))
                values[block, slot] = bind(statements, value, "x")
        for block in range(count):
            for group in range(groups):
                pixels = [values.get((block, group * lanes + lane)) for lane in range(lanes)]
                at = packing.square(tiles.packed(i), first + int64(block), int64(group))
                statements.append(store_square(packed, at, pixels, lanes))
        return sequence(statements)

    def tile(i: Expr) -> tirx.Stmt:
        whole, rest = divmod(packing.channels // lanes, _TOGETHER)
        together = int64(_TOGETHER)
        parts = [loop(whole, ForKind.SERIAL, lambda b: blocks(i, b * together, _TOGETHER), "block")] if whole else []
        return sequence([*parts, blocks(i, int64(whole * _TOGETHER), rest)] if rest else parts)

    return tiles.loop(tile)
