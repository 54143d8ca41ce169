"""What can be chosen about the kernels that are scheduled by primitives: single stages and the fused families.

Values are kept to those that can matter: steps that the caches hold, tiles that leave little over at the end of a row
or of the channels, and as many accumulators as there are registers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tvm_dwfuse.blocks import Block, Conv, Layout
from tvm_dwfuse.kernels.definition import accumulator_layout
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant

from .build import weight_to_prefetch
from .knobs import can_split_channels, fit_channel_depth, rows_are_uneven, stage_layouts, step_bytes
from .stages import MAX_TILE_BYTES
from .tile import BY_RULE, CHANNELS, ROWS, Freedom, Knobs, Tile

#: How many depths to choose from, and how many widths of a tile in a block of one or two stages and of three.
_DEPTHS, _PIXELS, _PIXELS_OF_THREE = 6, 6, 4

#: The widest tile of pixels; more hide no latency, and leave no register for a second vector.
_MOST_PIXELS = 14

#: Vectors of channels in a tile, whole ones or halves.
_VECTORS = (1, 2, 3, 4, 6)

#: Steps of the reduction that are written out.
_UNROLLED = (1, 4)

#: How much more than the least a tile of channels may leave unused at their end.
_WASTE = 1.25


def freedom(
    block: Block, variant: Variant | None, target: CpuTarget, threads: int, source: Layout | None, default: Knobs
) -> Freedom:
    """Choices of the depth and of each stage's tile."""
    layouts = stage_layouts(block, variant, source)
    choices: dict[str, Sequence[int]] = {
        "depth": _depths(block, variant, target, threads),
        "unroll": _UNROLLED,
        "parallel": _axes(block, variant, threads, source),
    }
    for i, stage in enumerate(block.stages):
        width = block.sizes()[i + 1][1]
        along_width = accumulator_layout(stage, layouts[i], layouts[i + 1]) == "NCHW"
        most = _PIXELS_OF_THREE if len(block.stages) > 2 else _PIXELS
        offered = _along_width(stage, width, target) if along_width else _along_channels(stage, width, target, most)
        offered["rows"] = [1, 2] if stage.is_depthwise and not along_width else [1]
        choices |= {f"{name}{i}": values for name, values in offered.items()}
    return Freedom(choices, _Rule(block, variant, target, threads, layouts, default))


def _axes(block: Block, variant: Variant | None, threads: int, source: Layout | None) -> list[int]:
    """The rule, and the axis that it does not choose."""
    if threads == 1 or not can_split_channels(block, variant, source):
        return [BY_RULE]
    return [BY_RULE, ROWS if rows_are_uneven(block.batch, block.sizes()[-1][0], threads) else CHANNELS]


def _depths(block: Block, variant: Variant | None, target: CpuTarget, threads: int) -> list[int]:
    if variant is not None and variant.traversal == "channels":
        return _spread(_divisors(block.stages[-1].out_channels), _DEPTHS)
    rows = block.sizes()[-1][0]
    share = -(-rows // threads) if block.batch % threads else rows
    fitting = [depth for depth in range(1, share + 1) if depth == 1 or step_bytes(block, depth) <= target.l2_bytes]
    even = [depth for depth in fitting if share % depth == 0]
    nearly_even = sorted({-(-share // steps) for steps in range(1, share + 1)}.intersection(fitting))
    return _spread(even if len(even) >= _DEPTHS // 2 else nearly_even, _DEPTHS)


def _along_width(stage: Conv, width: int, target: CpuTarget) -> dict[str, list[int]]:
    """Vectors along the width; a tile of several channels has as many accumulators."""
    lanes = sorted({min(width, target.lanes), min(width, max(1, target.lanes // 2)), *_even(width, 4, target.lanes)})
    if stage.is_depthwise:
        return {"pixels": lanes, "lanes": lanes}
    group_out = stage.out_channels // stage.groups
    channels = [count for count in (1, 2, 4, 6, 8, 12, 15, 16) if count <= group_out]
    return {"pixels": lanes, "lanes": lanes, "channels": channels}


def _along_channels(stage: Conv, width: int, target: CpuTarget, most: int) -> dict[str, list[int]]:
    lanes = [count for count in (target.lanes, target.lanes // 2) if count > 1]
    if stage.is_depthwise:
        # Tests for the border keep a tail from getting code of its own: only tiles that leave none.
        return {
            "pixels": _spread(_even(width, 1, _MOST_PIXELS), most),
            "channels": _least_waste(stage.out_channels, {count * v for count in lanes for v in (1, 2)}),
            "lanes": lanes,
        }
    group_out = stage.out_channels // stage.groups
    if stage.groups > 1:
        lanes = _even(group_out, min(4, group_out), target.lanes) or [1]
    tiles = {count * vectors for count in lanes for vectors in _VECTORS}
    channels = _even_tiles(tiles, group_out) if stage.groups > 1 else _least_waste(group_out, tiles)
    return {"pixels": _pixels(width, most), "channels": channels, "lanes": lanes}


def _even_tiles(tiles: Iterable[int], channels: int) -> list[int]:
    return sorted(tile for tile in tiles if channels % tile == 0)


def _least_waste(channels: int, tiles: Iterable[int]) -> list[int]:
    """Those of the tiles that cover the channels with little more work than the best of them."""
    covered = {tile: -(-channels // tile) * tile for tile in tiles}
    return sorted(tile for tile in covered if covered[tile] <= _WASTE * min(covered.values()))


def _pixels(width: int, count: int) -> list[int]:
    """Tiles of a row: those that divide it, widest first, then those that leave the widest tail."""
    if width < 4:
        return [*range(1, width + 1)]
    tiles = range(4, min(_MOST_PIXELS, width) + 1)
    tails = {tile: (-width) % tile / tile for tile in tiles}
    return sorted(sorted(tiles, key=lambda tile: (tails[tile], -tile))[:count])


def _divisors(extent: int) -> list[int]:
    return [d for d in range(1, extent + 1) if extent % d == 0]


def _even(extent: int, least: int, most: int) -> list[int]:
    """Divisors within these limits."""
    return [d for d in _divisors(extent) if least <= d <= most]


def _spread(values: list[int], count: int) -> list[int]:
    """At most ``count`` of the ascending values, the first and the last and in even ratios between."""
    if len(values) <= count:
        return values
    low, high = math.log(values[0]), math.log(values[-1])
    wanted = [math.exp(low + (high - low) * i / (count - 1)) for i in range(count)]
    return sorted({min(values, key=lambda value: abs(math.log(value / want))) for want in wanted})


class _Rule:
    """Which knobs make a kernel: what ``build_kernel`` takes, and registers hold."""

    def __init__(
        self,
        block: Block,
        variant: Variant | None,
        target: CpuTarget,
        threads: int,
        layouts: list[Layout],
        default: Knobs,
    ) -> None:
        self._block = block
        self._variant = variant
        self._default_depth = default.depth
        self._uneven = threads > 1 and rows_are_uneven(block.batch, block.sizes()[-1][0], threads)
        self._splits_channels = can_split_channels(block, variant, layouts[0])
        self._registers = target.registers
        self._lanes = target.lanes
        pairs = zip(block.stages, layouts[:-1], layouts[1:], strict=True)
        self._along_width = [accumulator_layout(stage, *around) == "NCHW" for stage, *around in pairs]
        self._written_out = [
            stage
            for i, stage in enumerate(block.stages)
            if not (stage.is_depthwise or self._along_width[i]) and weight_to_prefetch(block, i, target) is None
        ]

    def __call__(self, knobs: Knobs) -> bool:
        stages = zip(self._block.stages, knobs.tiles, self._along_width, strict=True)
        return (
            (knobs.parallel != CHANNELS or self._splits_channels)
            and self._depth_fits(knobs)
            and self._unroll_fits(knobs.unroll)
            and all(self._tile_fits(*stage, knobs.depth) for stage in stages)
        )

    def _depth_fits(self, knobs: Knobs) -> bool:
        if self._by_channels:
            return fit_channel_depth(self._block, knobs) == knobs.depth
        splits = knobs.parallel == CHANNELS or (knobs.parallel == BY_RULE and self._uneven and self._splits_channels)
        return not splits or knobs.depth == self._default_depth  # all rows at once, whatever the depth

    def _unroll_fits(self, unroll: int) -> bool:
        """Whether it changes the code of a stage."""
        return unroll == 1 or any(stage.in_channels // stage.groups % unroll == 0 for stage in self._written_out)

    def _tile_fits(self, stage: Conv, tile: Tile, along_width: bool, depth: int) -> bool:
        if 1 < stage.groups < stage.in_channels and stage.out_channels // stage.groups % tile.channels:
            return False
        if along_width:
            return tile.pixels == tile.lanes and self._sums_fit(tile.rows * tile.channels, 1, tile.lanes)
        halves = tile.lanes < self._lanes and tile.channels % self._lanes == 0
        if tile.channels % tile.lanes or halves:  # whole vectors do the same with fewer instructions
            return False
        if tile.rows > 1 and (depth % tile.rows or self._by_channels):
            return False
        vectors = tile.channels // tile.lanes
        return self._sums_fit(tile.rows * tile.pixels * vectors, vectors, tile.lanes)

    @property
    def _by_channels(self) -> bool:
        return self._variant is not None and self._variant.traversal == "channels"

    def _sums_fit(self, sums: int, loaded: int, lanes: int) -> bool:
        """Whether accumulators, what a step of the reduction loads, and one more are in registers together."""
        return 4 * sums * lanes <= MAX_TILE_BYTES and sums + loaded + 1 <= self._registers
