"""Which blocks are computed by lane, and the tiles for them, by a count of instructions."""

from __future__ import annotations

from tvm_dwfuse.blocks import Block, Conv, Layout
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant

from ..tile import Knobs, Tile

_FAMILIES = (None, "dwpw_hwc_hwc_hwc_rows", "pwdwpw_hwc_hwc_hwc_rows")

#: Share of the L2 cache for the packed activations of a step. All weights are read once a step: the larger the better.
CACHE_SHARE = 0.5

#: Taps that are held in registers while a depthwise stage goes down a column of tiles.
_SMALL_KERNEL = 9

#: Groups of pixels in a tile behind a depthwise stage, whose tiles complete an even number of groups.
_FUSED_GROUPS = 2

#: Largest sum that a window is packed for: a row of 7 x 7 windows on RGB is then as large as the row times 147.
_STEM_TERMS = 150


def computes(block: Block, variant: Variant | None, target: CpuTarget, source: Layout | None) -> bool:
    """Whether a block is computed by lane on this machine: its channels fill vectors, and all of it is NHWC."""
    if not target.fma_by_lane or block.layout != "NHWC" or (variant.name if variant else None) not in _FAMILIES:
        return False
    if variant is None and block.order != "pw":
        return _is_stem(block, source) and block.stages[0].out_channels % target.lanes == 0
    channels = [count for stage in block.stages for count in (stage.in_channels, stage.out_channels)]
    residuals = [stage.epilogue.count("add") for stage in block.stages]
    if any(residuals[:-1]) or residuals[-1] > 1:
        return False
    depthwise = [stage for stage in block.stages if stage.is_depthwise]
    return all(count % target.lanes == 0 for count in channels) and all(
        stage.channel_multiplier == 1 for stage in depthwise
    )


def _is_stem(block: Block, source: Layout | None) -> bool:
    """Whether a block is a convolution with few products in a sum, its input NCHW: these are all packed at once."""
    (stage,) = block.stages
    terms = stage.kernel[0] * stage.kernel[1] * stage.in_channels
    return block.order == "conv" and source == "NCHW" and stage.groups == 1 and terms <= _STEM_TERMS


def default_knobs(block: Block, target: CpuTarget) -> Knobs:
    """Tiles with the fewest instructions, and steps that the cache holds."""
    sizes = block.sizes()[1:]
    if len(block.stages) > 1:
        return _fused_knobs(block, target)
    (stage,), ((height, width),) = block.stages, sizes
    if block.order == "conv":
        return Knobs(1, (_tile(stage, width, target, _FUSED_GROUPS),))
    if is_one_pixel(block):
        return Knobs(1, (Tile(1, 1, 8 * target.lanes, target.lanes),))  # loads bound it: enough sums to hide latency
    row = 4 * width * stage.in_channels
    depth = max(1, min(height, int(CACHE_SHARE * target.l2_bytes / row)))
    return Knobs(depth, (_tile(stage, block.batch * height * width, target),))


def _fused_knobs(block: Block, target: CpuTarget) -> Knobs:
    """A step has four rows, the most that a group of pixels has, or a multiple that the cache holds.

    A depthwise tile has all of them, whatever its ``rows``: inputs per output are (R + k - 1)(P + k - 1) / (R P). It is
    four pixels wide where a row at a time can be stored, and less where more rows have to be complete first, or inputs
    are many: LLVM keeps more alive than is needed, and spills what exceeds the registers.
    """
    depthwise = next(i for i, stage in enumerate(block.stages) if stage.is_depthwise)
    (rows, width), stage = block.sizes()[depthwise + 1], block.stages[depthwise]
    room = CACHE_SHARE * target.l2_bytes / (4 * width * stage.out_channels)
    lanes = target.lanes
    most = 4 * lanes if stage.strides[0] == 1 else lanes
    depths = [depth for depth in range(lanes, most + 1, lanes) if depth <= room and rows % depth < lanes]
    depth = min(max(depths, default=lanes), rows)
    fits_row = width % (lanes * _FUSED_GROUPS) == 0 and stage.strides[1] == 1
    pixels = 1 if stage.kernel[0] * stage.kernel[1] > _SMALL_KERNEL else 4 if fits_row else 2
    tiles = [
        _tile(conv, depth * size[1], target, _FUSED_GROUPS)
        for conv, size in zip(block.stages, block.sizes()[1:], strict=True)
    ]
    tiles[depthwise] = Tile(1, pixels, lanes, lanes)
    return Knobs(depth, tuple(tiles))


def _tile(stage: Conv, pixels: int, target: CpuTarget, most_groups: int = 4) -> Tile:
    return min(product_tiles(target, most_groups), key=lambda tile: _instructions(tile, stage.out_channels, pixels))


def is_one_pixel(block: Block) -> bool:
    """Whether a block is a vector by a matrix: nothing is packed for it."""
    return block.order == "pw" and block.batch * block.height * block.width == 1 and not block.prologue


def product_tiles(target: CpuTarget, most_groups: int, spare: int = 3) -> list[Tile]:
    """Tiles whose sums, and what a step of k loads, leave some registers: LLVM loads some values a step early."""
    lanes = target.lanes
    return [
        Tile(1, groups * lanes, vectors * lanes, lanes)
        for groups in range(1, most_groups + 1)
        for vectors in range(1, 9)
        if groups * lanes * vectors + groups + vectors + spare <= target.registers
    ]


def _instructions(tile: Tile, channels: int, pixels: int) -> float:
    """Instructions of one step of k for all outputs: products, and loads in pairs."""
    full, rest = divmod(pixels, tile.pixels)
    columns = full * [tile.pixels] + [rest] * (rest > 0)
    wide, narrow = divmod(channels, tile.channels)

    def once(width: int) -> float:
        vectors = width // tile.lanes
        return sum(count * vectors + -(-count // tile.lanes) / 2 + vectors / 2 for count in columns)

    return wide * once(tile.channels) + (once(narrow) if narrow else 0)
