"""A pointwise convolution or dense layer on its own, its pixels one long row."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind

from tvm_dwfuse.blocks import Block

from ..lanes import vector_at
from ..loops import FlatViews, int64, loop, sequence
from ..tile import Knobs
from .knobs import is_one_pixel
from .packing import Packing, pack
from .products import ChannelFactors, Factors, registers
from .stages import Stage, multiply, packed_factors, stages_of
from .tiles import PixelTiles, flat_tiles


def statements(block: Block, knobs: Knobs, params: Sequence[tirx.Buffer], flat: FlatViews, threads: int) -> tirx.Stmt:
    """Steps of ``depth`` rows in parallel, or where they are few the channels; a step packs its pixels, then
    multiplies them.
    """
    (stage,) = stages_of(block, knobs.tiles, params, flat)
    source, out = flat.of(params[0]), flat.of(params[-1])
    if is_one_pixel(block):
        return _one_pixel(stage, source, out, threads)
    scale = flat.of(params[1]) if block.prologue else None
    images, pixels = _images(block)
    tile = min(stage.tile.pixels, -(-pixels // stage.lanes) * stage.lanes)
    packing = Packing(stage.conv.in_channels, tile // stage.lanes, stage.lanes)
    step = max(1, knobs.depth * block.width // tile)
    steps, rest = divmod(pixels // tile, step)
    shared = images * steps >= threads

    def part(image: Expr, first: Expr, count: int, left: int) -> tirx.Stmt:
        tiles = flat_tiles(count, tile, left, stage.lanes, image * int64(pixels) + first)
        packed = registers("packed", (count + (left > 0)) * packing.size)

        def read(pixel: Expr, channel: Expr) -> Expr:
            value = vector_at(source, pixel * int64(packing.channels) + channel, stage.lanes)
            if scale is None:
                return value
            return value * vector_at(scale, image * int64(packing.channels) + channel, stage.lanes)

        copies = [pack(packing, packed, part_, read) for part_ in tiles]
        products = multiply(stage, tiles, packed_factors(packing, packed), out, threads > 1 and not shared)
        return sequence([tirx.AllocBuffer(packed), *copies, products])

    def whole_step(i: Expr) -> tirx.Stmt:
        image, number = tirx.floordiv(i, int64(steps)), tirx.floormod(i, int64(steps))
        return part(image, number * int64(step * tile), step, 0)

    def last_step(image: Expr) -> tirx.Stmt:
        return part(image, int64(steps * step * tile), rest, pixels % tile)

    kind = ForKind.PARALLEL if threads > 1 and shared else ForKind.SERIAL
    written = [loop(images * steps, kind, whole_step, "step")] if steps else []
    if rest or pixels % tile:
        written.append(loop(images, ForKind.SERIAL, last_step, "image"))
    return sequence(written)


def _images(block: Block) -> tuple[int, int]:
    """(images, pixels in each); without a scale of their own all images are one."""
    pixels = block.height * block.width
    return (block.batch, pixels) if block.prologue else (1, block.batch * pixels)


def _one_pixel(stage: Stage, source: tirx.Buffer, out: tirx.Buffer, threads: int) -> tirx.Stmt:
    """A vector by a matrix: the lanes are those of the vector as it lies in memory."""
    zero = int64(0)
    tiles = [PixelTiles(1, (0,), (0,), lambda i: i, lambda i: zero)]

    def inputs(_tiles: PixelTiles, _i: Expr) -> Factors:
        return ChannelFactors(source, zero, stage.lanes)

    return multiply(stage, tiles, inputs, out, parallel=threads > 1)
