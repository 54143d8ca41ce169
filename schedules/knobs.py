"""Where the knobs of a kernel stand when nothing has been tuned."""

from __future__ import annotations

from dataclasses import replace

from tvm_dwfuse.blocks import Block, Conv, Layout
from tvm_dwfuse.kernels.definition import accumulator_layout
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant

from . import by_lane, depthwise_block
from .stages import MAX_TILE_BYTES
from .tile import FEW_REGISTERS, Knobs, Tile

#: Share of the private L2 cache that one step's intermediates may fill; the rest is for weights, input and output.
#: On Zen 4 with 1 MiB of L2 the blocks of MobileNetV1 and V2 were fastest, or as fast, with 30 to 210 kB.
_CACHE_SHARE = 0.2

#: How much longer than the others one thread may work before threads share channels in place of rows.
_UNEVEN = 1.1

#: Cycles from a multiply-add to one that adds to its result: 4 on Skylake, Zen and later (uops.info, VFMADD231PS).
_LATENCY = 4

#: Vectors of channels that a tile of few registers may have.
_SMALL_VECTORS = (1, 2, 3, 4, 6)


def default_knobs(
    block: Block, variant: Variant | None, target: CpuTarget, threads: int = 1, source: Layout | None = None
) -> Knobs:
    """Knobs from the target's registers and caches, for a variant or (``None``) a block of one stage."""
    if by_lane.computes(block, variant, target, source):
        return by_lane.default_knobs(block, target)
    if depthwise_block.computes(block, source):
        return depthwise_block.default_knobs(block, target)
    layouts = stage_layouts(block, variant, source)
    sizes = block.sizes()
    tiles = tuple(
        _tile(stage, layouts[i], layouts[i + 1], sizes[i + 1][1], target) for i, stage in enumerate(block.stages)
    )
    if variant is None or variant.traversal == "rows":
        return Knobs(_row_depth(block, target, threads), tiles)
    return _channel_knobs(block, variant, tiles, target)


def rows_are_uneven(images: int, rows: int, threads: int) -> bool:
    """Whether threads that share images and rows would work for different times, because rows are few."""
    busiest = -(-rows // threads) * threads / rows
    return images % threads != 0 and busiest > _UNEVEN


def can_split_channels(block: Block, variant: Variant | None, source: Layout | None = None) -> bool:
    """Whether threads can share the channels of each stage, all rows of one before the next."""
    if variant is None and not (block.stages[0].is_pointwise and not block.prologue):
        return False
    if variant is not None and variant.traversal == "channels":
        return False
    *_, before, last = stage_layouts(block, variant, source)
    return accumulator_layout(block.stages[-1], before, last) == "NHWC"


def stage_layouts(block: Block, variant: Variant | None, source: Layout | None = None) -> list[Layout]:
    """Layout of the input and of each stage's output; ``source`` is the input's where it is not the block's."""
    if variant is None:
        return [source or block.layout, block.layout]
    mid: Layout = "NHWC" if variant.mid == "hwc" else "NCHW"
    return [variant.in_layout, *[mid] * (len(block.stages) - 1), variant.out_layout]


def _tile(stage: Conv, source: Layout, sink: Layout, width: int, target: CpuTarget) -> Tile:
    if source == "NCHW" and stage.is_depthwise:
        lanes = _best_divisor(width, target.lanes)
        return Tile(1, lanes, 1, lanes)
    if stage.is_depthwise:
        return _depthwise_tile(stage, width, target)
    if source == "NCHW" and sink == "NCHW":
        lanes = _best_divisor(width, target.lanes)
        group_out = stage.out_channels // stage.groups
        most = min(target.registers // 2, accumulators(lanes), group_out)
        return Tile(1, lanes, most if stage.groups == 1 else _largest_divisor(group_out, most), lanes)
    return _dense_tile(stage, width, target)


def _depthwise_tile(stage: Conv, width: int, target: CpuTarget) -> Tile:
    """One vector of channels by as many pixels as leave registers for a row of taps and the input column.

    Few registers hold no taps, whatever the tile: then two vectors, which use up the cache lines that they touch, by
    pixels that leave no tail.
    """
    if target.registers <= FEW_REGISTERS:
        lanes = min(target.lanes, stage.out_channels)
        pixels = _largest_divisor(width, 4)
        pixels = pixels if pixels > 1 else _largest_divisor(width, 7)
        return Tile(1, pixels, min(2, -(-stage.out_channels // lanes)) * lanes, lanes)
    room = min(target.registers // 2 - 2, 8)
    lanes = min(target.lanes, stage.out_channels)
    return Tile(1, _best_divisor(width, room), lanes, lanes)


def _dense_tile(stage: Conv, width: int, target: CpuTarget) -> Tile:
    """pixels x vectors accumulators: each step of k loads ``vectors`` weights and broadcasts ``pixels`` inputs.

    Of the registers one is left for the broadcast and one for each weight vector. A core that does one full vector of
    FMA a cycle is busy with one vector of channels by seven or more pixels; small tiles then let the epilogue of one
    overlap the products of the next. A core that does two needs two vectors, or loads bound it (two a cycle).
    """
    group_out = stage.out_channels
    if stage.groups > 1:
        return _grouped_tile(group_out // stage.groups, width, target)
    if target.registers <= FEW_REGISTERS:
        return _small_tile(group_out, width, target)
    most = min(target.registers - 4, accumulators(target.lanes)) // (1 if target.half_vectors_are_cheap else 2)
    if target.half_vectors_are_cheap and stage.kernel == (1, 1):
        most = 8
    pixels = _best_divisor(width, most)
    if pixels < 5 and target.half_vectors_are_cheap:
        pixels = max(pixels, _best_divisor(width, min(14, target.registers - 4, accumulators(target.lanes) // 2)))
    vectors = 4 if pixels == 1 else 2 if pixels < 5 or not target.half_vectors_are_cheap else 1
    lanes = min(target.lanes, group_out)
    tiles = [Tile(1, pixels, max(1, min(vectors, group_out // lanes)) * lanes, lanes)]
    half = target.lanes // 2
    narrow = pixels if 3 * (pixels + 1) < target.registers else _best_divisor(width, 8)
    if target.half_vectors_are_cheap and narrow > 4 and group_out > target.lanes:
        tiles.append(Tile(1, narrow, 3 * half, half))
    return min(tiles, key=lambda tile: -(-group_out // tile.channels) * tile.channels)


def _small_tile(channels: int, width: int, target: CpuTarget) -> Tile:
    """The tile of few registers that takes the least time for a row of outputs, tails included.

    A step of k lasts as long as its products or its loads, two of either a cycle, and no less than the latency of a
    product, as the next step adds to the same sums; what is lost besides was measured with AVX2 on Zen 4.
    """
    lanes = min(target.lanes, channels)

    def cycles(pixels: int, vectors: int) -> float:
        return max(pixels * vectors / 2, (pixels + vectors) / 2, _LATENCY + 0.15) + 0.15

    def row(pixels: int, vectors: int) -> float:
        columns, rest = divmod(width, pixels)
        tiles, left = divmod(-(-channels // lanes), vectors)
        return sum(
            count * (columns * cycles(pixels, size) + (cycles(rest, size) if rest else 0))
            for count, size in ((tiles, vectors), (1, left))
            if size
        )

    fitting = [
        (pixels, vectors)
        for vectors in _SMALL_VECTORS
        for pixels in range(1, min(width, target.registers) + 1)
        if pixels * vectors + vectors + 1 <= target.registers
    ]
    pixels, vectors = min(fitting, key=lambda tile: row(*tile))
    return Tile(1, pixels, min(vectors, -(-channels // lanes)) * lanes, lanes)


def _grouped_tile(group_out: int, width: int, target: CpuTarget) -> Tile:
    """A tile that divides the channels of a group, so that the packed channels of all groups stay contiguous."""
    lanes = _largest_divisor(group_out, target.lanes)
    vectors = _largest_divisor(group_out // lanes, 2)
    most = min(12, target.registers // vectors - 3, accumulators(lanes) // vectors)
    return Tile(1, _best_divisor(width, most), vectors * lanes, lanes)


def accumulators(lanes: int) -> int:
    """How many vectors of that width the accumulators of one tile may fill."""
    return MAX_TILE_BYTES // (4 * lanes)


def _best_divisor(extent: int, limit: int) -> int:
    """The largest divisor within ``limit``, unless that is small: then the tile that wastes least in its tail."""
    divisor = _largest_divisor(extent, limit)
    if divisor >= min(4, extent):
        return divisor
    return min(range(min(4, extent), min(limit, extent) + 1), key=lambda t: (-(-extent // t) * t - extent, -t))


def _largest_divisor(extent: int, limit: int) -> int:
    return max(d for d in range(1, min(limit, extent) + 1) if extent % d == 0)


def _row_depth(block: Block, target: CpuTarget, threads: int) -> int:
    """Rows a step: as many as the cache holds of one thread's share, in even steps where they can be had."""
    out_h = block.sizes()[-1][0]
    share = -(-out_h // threads) if block.batch % threads else out_h
    room = _CACHE_SHARE * target.l2_bytes
    most = max([depth for depth in range(1, share + 1) if step_bytes(block, depth) <= room], default=1)
    return _largest_divisor(share, most)


def step_bytes(block: Block, depth: int) -> int:
    """Bytes of the intermediates that one step of ``depth`` output rows keeps; of the input for a single stage."""
    sizes = block.sizes()
    if len(block.stages) == 1:
        return 4 * depth * block.stages[0].strides[0] * sizes[0][1] * block.stages[0].in_channels
    total, rows = 0, depth
    for consumer, producer, (_, width) in zip(block.stages[:0:-1], block.stages[-2::-1], sizes[-2:0:-1], strict=True):
        rows = (rows - 1) * consumer.strides[0] + consumer.dilation[0] * (consumer.kernel[0] - 1) + 1
        total += 4 * rows * width * producer.out_channels
    return total


def _channel_knobs(block: Block, variant: Variant, tiles: tuple[Tile, ...], target: CpuTarget) -> Knobs:
    """Steps of whole tiles of the pointwise stage that divide its channels; all channels where none do.

    A step covers ``depth`` channels of the depthwise output, so ``depth`` over the channel multiplier of the
    intermediate.
    """
    pointwise, depthwise = block.stages
    multiplier = depthwise.channel_multiplier
    channels = pointwise.out_channels
    if variant.source == variant.mid == "chw":
        most = tiles[0].channels  # vectors run along the width: any number of channels fills them
        step = _largest_divisor(channels, most)
        if 2 * step <= most:
            return Knobs(depthwise.out_channels, tiles)
        return Knobs(step * multiplier, (replace(tiles[0], channels=step), *tiles[1:]))
    fitting = [lanes for lanes in (target.lanes, target.lanes // 2) if channels % lanes == 0]
    if not fitting:
        return Knobs(depthwise.out_channels, tiles)
    lanes = fitting[0]
    vectors = _largest_divisor(channels // lanes, 2)
    pixels = min(tiles[0].pixels, 8, (target.registers - vectors - 1) // vectors)
    tile = replace(tiles[0], channels=vectors * lanes, lanes=lanes, pixels=pixels)
    return Knobs(tile.channels * multiplier, (tile, *tiles[1:]))


def fit_channel_depth(block: Block, knobs: Knobs) -> int:
    """The depth that a ``channels`` schedule can use: at most ``knobs.depth``, whole tiles, dividing the channels."""
    pointwise, depthwise = block.stages
    unit = knobs.tiles[0].channels
    multiplier = depthwise.channel_multiplier
    steps = [
        depth
        for depth in range(unit, min(pointwise.out_channels, knobs.depth // multiplier) + 1, unit)
        if pointwise.out_channels % depth == 0
    ]
    return (steps[-1] if steps else pointwise.out_channels) * multiplier
