"""Cycles of the cluster's kernels with their data in L1, from the instruction counts of their loops.

Each function tells what one call costs the core that computes a stretch of the output, the call itself included,
barriers not. The constants are cycles of a RI5CY core: instructions of the loops in ``codegen_gap8/kernels``, and what
waiting for banks and misaligned loads add, by measurements on GVSOC's model of GAP8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..blocks import Conv
from ..codegen_gap8.kernels.scratch import depthwise_scratch
from .balance import TILE

#: A call with its arguments, the core's share of them, and the kernel's prologue; of a longer kernel.
CALL = 60
LONG_CALL = 200
#: A row of register tiles: four, two or one pixels x all channels.
TILE_ROW = 65
#: For tiles of 4, 2 and 1 pixels: a word of k of four channels, and requantizing and storing the sums.
TILE_STEP = {4: 25.1, 2: 15.0, 1: 11.2}
TILE_END = {4: 113, 2: 95, 1: 45}
#: One sum of products when there are fewer than four channels: a word of k, and the rest.
SINGLE_STEP = 5
SINGLE_END = 20
#: Gathering for a convolution: each kernel row of a pixel, and each byte of it.
GATHER_ROW = 79
GATHER_BYTE = 1.3
#: Gathering from planes: four channels of four pixels by a transpose; a byte of a pixel by itself.
GATHER_TRANSPOSED = 56
GATHER_PLANE_BYTE = 11
#: Staging for a depthwise convolution: each band, and each channel or four of them in it; each row; then a word of one
#: plane, and four pixels of four planes, transposed. Kernels that need padding in memory fill each word with it first.
BAND = 80
STAGED_UNIT = 250
STAGE_ROW = 10
STAGE_WORD = 12
STAGE_TRANSPOSED = 24
FILL_WORD = 1.3
#: A strip of four columns of one channel by stride, and four outputs of it by (kernel, stride).
STRIP = {1: 53, 2: 100}
STRIP_ROW = {(3, 1): 35.3, (3, 2): 42.0, (5, 1): 160.0, (5, 2): 140.0}
#: The generic loop: four taps of four outputs, and the rest of four outputs.
GENERIC_STEP = 28.6
GENERIC_END = 60
#: Four values of a sum; four values of a mean, from planes and from pixels; a mean besides.
ADD_WORD = 39
POOL_PLANE_WORD = 7
POOL_PIXEL_WORD = 10
POOL_CHANNEL = 9


@dataclass(frozen=True)
class Stretch:
    """What one core computes: ``rows`` x ``width`` pixels, the last row perhaps not to its end, of ``channels``."""

    pixels: int
    channels: int
    rows: int
    width: int


@cache
def pointwise_cycles(in_channels: int, own: Stretch) -> float:
    """The pointwise kernel; where pixels are no whole words apart it computes two at a time."""
    k = -(-in_channels // 4) * 4
    return CALL + _tiles(own.pixels, own.channels, k, packed=k == in_channels)


@cache
def conv_cycles(conv: Conv, layout: str, own: Stretch) -> float:
    """The convolution kernel: gathers four pixels' operands, then works as the pointwise one."""
    window = conv.kernel[0] * conv.kernel[1] * conv.in_channels
    groups = -(-own.pixels // TILE)
    if layout == "hwc":
        gather = TILE * conv.kernel[0] * (GATHER_ROW + GATHER_BYTE * conv.kernel[1] * conv.in_channels)
    else:
        by_bytes = TILE * (GATHER_ROW * conv.kernel[0] + GATHER_PLANE_BYTE * window)
        transposed = GATHER_TRANSPOSED * -(-conv.in_channels // 4)
        gather = by_bytes
        if conv.kernel == (1, 1) and conv.strides == (1, 1):
            whole = 1.0 if own.width % TILE == 0 else max(0, own.width - TILE + 1) / own.width
            gather = whole * transposed + (1 - whole) * by_bytes
    return CALL + groups * (gather + CALL) + _tiles(own.pixels, own.channels, -(-window // 4) * 4, packed=True)


@cache
def depthwise_cycles(conv: Conv, layout: str, band: int, own: Stretch) -> float:
    """The depthwise kernel: straight from planes where it can, else in bands of rows by way of padded planes."""
    needs_no_padding = not depthwise_scratch(conv.kernel, conv.strides, conv.padding, own.width, 1, False)
    if layout == "chw" and needs_no_padding:
        return LONG_CALL + own.channels * _slide(conv, own.rows, own.width)
    units = -(-own.channels // TILE) if layout == "hwc" else own.channels
    planes = min(TILE, own.channels) if layout == "hwc" else 1
    words = -(-own.width * conv.strides[1] // 4)
    row = STAGE_ROW + words * (STAGE_TRANSPOSED if planes == TILE else planes * STAGE_WORD)
    cycles = float(LONG_CALL)
    for start in range(0, own.rows, band):
        rows = min(band, own.rows - start)
        in_rows = (rows - 1) * conv.strides[0] + conv.kernel[0]
        fill = 0.0 if needs_no_padding else FILL_WORD * planes * in_rows * (words + 1)
        cycles += BAND + fill + units * (STAGED_UNIT + in_rows * row + planes * _slide(conv, rows, own.width))
    return cycles


def add_cycles(elements: int) -> float:
    """The sum of that many elements."""
    return LONG_CALL + -(-elements // 4) * ADD_WORD


def pool_cycles(pixels: int, channels: int, layout: str) -> float:
    """The mean of that many pixels of each channel."""
    words: float = channels * -(-pixels // 4) * POOL_PLANE_WORD
    if layout == "hwc":
        words = -(-channels // 4) * pixels * POOL_PIXEL_WORD
    return CALL + channels * POOL_CHANNEL + words


def _tiles(pixels: int, channels: int, k: int, packed: bool) -> float:
    if channels < TILE:
        return pixels * channels * (k / 4 * SINGLE_STEP + SINGLE_END)
    units = -(-channels // TILE)
    return sum(TILE_ROW + units * (k / 4 * TILE_STEP[size] + TILE_END[size]) for size in _tile_sizes(pixels, packed))


@cache
def _tile_sizes(pixels: int, packed: bool) -> tuple[int, ...]:
    """Pixels of each row of tiles, as the kernel takes them."""
    sizes = [4] * (pixels // 4) if packed else []
    left = pixels - 4 * len(sizes)
    if left == 3 and sizes:
        return (*sizes, 4)
    return (*sizes, *[2] * (left // 2), *[1] * (left % 2))


def _slide(conv: Conv, rows: int, width: int) -> float:
    """The kernel proper, over one plane."""
    square = conv.kernel[0] == conv.kernel[1] and conv.strides[0] == conv.strides[1] and width >= TILE
    strip_row = STRIP_ROW.get((conv.kernel[0], conv.strides[0])) if square else None
    strips = -(-width // TILE)
    if strip_row is None:
        return rows * strips * (GENERIC_END + GENERIC_STEP * conv.kernel[0] * -(-conv.kernel[1] // 4))
    return strips * (STRIP[conv.strides[0]] + rows * strip_row)
