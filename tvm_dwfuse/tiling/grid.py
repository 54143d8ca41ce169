"""Which core computes what of a stage: the grid of cores that the schedules build and the cost model reckons with."""

from __future__ import annotations

from functools import cache

from .balance import TILE, depthwise_unit, share, split_conv, split_depthwise, split_pointwise
from .chain import Chain, is_depthwise, reads_pixels
from .kernel_cost import Stretch


def core_grid(chain: Chain, stage: int) -> tuple[int, int]:
    """(channel cores, pixel or row cores) of ``stage``: the best for a step in mid-image, and taken in all of them."""
    height, width = chain.sizes[stage + 1]
    rows, channels = min(chain.step_rows(stage + 1), height), chain.l1_channels(stage + 1)
    if is_depthwise(chain.stages[stage]):
        return split_depthwise(rows, channels, chain.layouts[stage], chain.cores)
    split = split_pointwise if reads_pixels(chain.stages[stage], chain.layouts[stage]) else split_conv
    return split(rows * width, min(chain.tile.weights[stage], channels), chain.cores)


def largest_share(chain: Chain, stage: int, rows: int, channels: int) -> Stretch:
    """What the busiest core computes when ``stage`` computes that many rows and channels."""
    width = chain.sizes[stage + 1][1]
    depthwise = is_depthwise(chain.stages[stage])
    unit = depthwise_unit(chain.layouts[stage]) if depthwise else TILE
    return _largest_share(core_grid(chain, stage), rows, width, channels, unit, depthwise)


@cache
def _largest_share(grid: tuple[int, int], rows: int, width: int, channels: int, unit: int, whole_rows: bool) -> Stretch:
    own_channels = min(channels, share(-(-channels // unit), grid[0]) * unit)
    if whole_rows:
        own_rows = share(rows, grid[1])
        return Stretch(own_rows * width, own_channels, own_rows, width)
    own_pixels = min(rows * width, share(-(-rows * width // TILE), grid[1]) * TILE)
    return Stretch(own_pixels, own_channels, -(-own_pixels // width), width)
