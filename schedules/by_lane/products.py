"""Products of activations and weights on a machine that multiplies a vector by one lane of another.

A register tile is P pixels by V vectors of channels. Each step of k multiplies all V vectors of weights by each of P
lanes, so besides the P V products it loads P / lanes vectors of activations and V of weights, in pairs: no instruction
is spent on broadcasting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferLoad, BufferStore, ForKind

from ..lanes import behind_barrier, ramp, shuffle, vector_at
from ..loops import bind, int64, loop, sequence
from .packing import Packing

#: Blocks of ``lanes`` steps of k that are unrolled: the three instructions of a loop are then 0.7% of 24 x 16 products.
#: Short sums unroll half as many: LLVM pairs the loads of straight-line code less well than those of a loop.
_UNROLLED_BLOCKS = 4

#: Vectors of weights that, unrolled so often, are still within 1 KiB: loads of pairs reach no further from a pointer.
_MOST_PAIRED = 4


class Factors(ABC):
    """Where the activations of a tile's pixels are: in which lane of which vector."""

    @abstractmethod
    def load(self, block: Expr, vector: int) -> Expr:
        """A vector of the block."""

    @abstractmethod
    def lane(self, step: int, pixel: int) -> tuple[int, int]:
        """(vector, lane) of the factor of ``pixel`` at a step of a block."""


class PackedFactors(Factors):
    """Pixels ``slots`` of packed tile ``tile``."""

    def __init__(self, packing: Packing, flat: tirx.Buffer, tile: Expr, slots: Sequence[int]) -> None:
        self._packing, self._flat, self._tile, self._slots = packing, flat, tile, slots

    def load(self, block: Expr, vector: int) -> Expr:
        """See :class:`Factors`."""
        lanes = self._packing.lanes
        at = self._packing.square(self._tile, block, int64(vector // lanes)) + int64(vector % lanes * lanes)
        return vector_at(self._flat, at, lanes)

    def lane(self, step: int, pixel: int) -> tuple[int, int]:
        """See :class:`Factors`."""
        group, lane = divmod(self._slots[pixel], self._packing.lanes)
        return group * self._packing.lanes + step, lane


@dataclass(frozen=True)
class ChannelFactors(Factors):
    """One pixel whose channels lie in memory from ``first`` on: nothing has to be packed for it."""

    flat: tirx.Buffer
    first: Expr
    lanes: int

    def load(self, block: Expr, vector: int) -> Expr:
        """See :class:`Factors`."""
        return vector_at(self.flat, self.first + block * int64(self.lanes), self.lanes)

    def lane(self, step: int, pixel: int) -> tuple[int, int]:
        """See :class:`Factors`."""
        return 0, step


class Weights:
    """Tile ``tile`` of a packed weight of ``channels`` steps of k by ``width`` output channels.

    They are the same for all tiles of pixels, so they are read behind a barrier: LLVM would take the loads out of the
    loop over these, to the stack as there are too few registers.
    """

    def __init__(self, flat: tirx.Buffer, channels: int, width: int, tile: Expr) -> None:
        self.channels = channels
        self._width = width
        self._flat, self.statements = behind_barrier(flat, tile * int64(channels * width), f"{flat.name}_tile")

    def vector(self, k: Expr, first: int, lanes: int) -> Expr:
        """The weights of output channels ``first .. first + lanes`` of the tile."""
        return vector_at(self._flat, k * int64(self._width) + int64(first), lanes)


class Sink(ABC):
    """Where sums go; ``statements`` come between the products and the stores."""

    statements: list[tirx.Stmt]

    @abstractmethod
    def store(self, pixel: int, channel: int, sums: Expr) -> list[tirx.Stmt]:
        """Write the sums of a pixel for the vector that begins at ``channel`` of the tile."""


def product_tile(inputs: Factors, weights: Weights, pixels: int, vectors: int, lanes: int, sink: Sink) -> tirx.Stmt:
    """The sums over k of ``pixels`` x ``vectors`` outputs, in registers, and what ``sink`` makes of each."""
    return _ProductTile(inputs, weights, pixels, vectors, lanes).statement(sink)


class _ProductTile:
    def __init__(self, inputs: Factors, weights: Weights, pixels: int, vectors: int, lanes: int) -> None:
        self._inputs = inputs
        self._weights = weights
        self._pixels = pixels
        self._vectors = vectors
        self._lanes = lanes
        self._sums = registers("sums", pixels * vectors * lanes)

    def statement(self, sink: Sink) -> tirx.Stmt:
        before = [tirx.AllocBuffer(self._sums), *self._weights.statements]
        return sequence([*before, *self._products(), *self._stores(sink)])

    def _products(self) -> list[tirx.Stmt]:
        """The first step starts the sums, so that they need not be set to zero; then come all others."""
        blocks = -(-self._weights.channels // self._lanes)
        short = blocks < 3 * _UNROLLED_BLOCKS or self._vectors > _MOST_PAIRED
        unrolled = _UNROLLED_BLOCKS // 2 if short else _UNROLLED_BLOCKS
        head = blocks % unrolled or unrolled
        statements = [self._block(int64(0), starts=True)]
        if head > 1:
            statements.append(self._blocks(int64(1), min(head, blocks) - 1))

        def unrolled_blocks(i: Expr) -> tirx.Stmt:
            return self._blocks(int64(head) + i * int64(unrolled), unrolled)

        if blocks > head:
            statements.append(loop((blocks - head) // unrolled, ForKind.SERIAL, unrolled_blocks, "k"))
        return statements

    def _blocks(self, first: Expr, count: int) -> tirx.Stmt:
        return loop(count, ForKind.UNROLLED, lambda i: self._block(first + i), "block")

    def _block(self, block: Expr, starts: bool = False) -> tirx.Stmt:
        """The first block lacks as many steps as the sum is no multiple of ``lanes``."""
        missing = -self._weights.channels % self._lanes
        statements: list[tirx.Stmt] = []
        loaded: dict[int, Expr] = {}
        for step in range(missing if starts else 0, self._lanes):
            k = block * int64(self._lanes) + int64(step - missing)
            self._step(statements, self._factors(statements, loaded, block, step), k, starts and step == missing)
        return sequence(statements)

    def _factors(self, statements: list[tirx.Stmt], loaded: dict[int, Expr], block: Expr, step: int) -> list[Expr]:
        """The factor of each pixel at a step of a block, in every lane; ``loaded`` are vectors loaded so far."""
        places = [self._inputs.lane(step, pixel) for pixel in range(self._pixels)]
        for vector, _ in places:
            if vector not in loaded:
                loaded[vector] = bind(statements, self._inputs.load(block, vector), "x")
        return [shuffle([loaded[vector]], [lane] * self._lanes) for vector, lane in places]

    def _step(self, statements: list[tirx.Stmt], factors: list[Expr], k: Expr, starts: bool) -> None:
        lanes = self._lanes
        columns = [bind(statements, self._weights.vector(k, v * lanes, lanes), "w") for v in range(self._vectors)]
        for pixel, factor in enumerate(factors):
            for v, column in enumerate(columns):
                at = self._at(pixel, v)
                product = factor * column
                value = product if starts else BufferLoad(self._sums, [at]) + product
                statements.append(BufferStore(self._sums, value, [at]))

    def _at(self, pixel: int, vector: int) -> Expr:
        return ramp(int64((pixel * self._vectors + vector) * self._lanes), self._lanes)

    def _stores(self, sink: Sink) -> list[tirx.Stmt]:
        return [*sink.statements] + [
            statement
            for pixel in range(self._pixels)
            for v in range(self._vectors)
            for statement in sink.store(pixel, v * self._lanes, BufferLoad(self._sums, [self._at(pixel, v)]))
        ]


def registers(name: str, size: int) -> tirx.Buffer:
    """A buffer for what shall be in registers; less than 1 KiB of scope ``global``, see ``stages.MAX_TILE_BYTES``."""
    return tirx.decl_buffer([int64(size)], "float32", name, layout=None)
