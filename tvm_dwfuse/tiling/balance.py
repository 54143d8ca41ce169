"""How the cores of a cluster share one kernel call: a grid of channel cores x pixel (or row) cores.

Kernels work in units, four pixels x four channels or one row of one or four channels; the slowest core decides. Both
the schedules and the cost model ask here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

#: Channels and pixels of the register tile that the pointwise and convolution kernels compute at once.
TILE = 4


@cache
def split_pointwise(pixels: int, channels: int, cores: int) -> tuple[int, int]:
    """(channel cores, pixel cores) for the pointwise kernel.

    Their product is ``cores``. A row of register tiles costs about a tenth of a tile by itself, so of equally good
    grids the one with the most pixel cores is taken.
    """
    channel_units, pixel_units = -(-channels // TILE), -(-pixels // TILE)
    return min(_grids(cores), key=lambda grid: (share(channel_units, grid[0]) + 0.1) * share(pixel_units, grid[1]))


@cache
def split_conv(pixels: int, channels: int, cores: int) -> tuple[int, int]:
    """(channel cores, pixel cores) for the convolution kernel, which first gathers the inputs of four pixels.

    Every channel core gathers all over again, at about the price of one register tile.
    """
    channel_units, pixel_units = -(-channels // TILE), -(-pixels // TILE)
    return min(_grids(cores), key=lambda grid: (share(channel_units, grid[0]) + 1) * share(pixel_units, grid[1]))


@cache
def split_depthwise(rows: int, channels: int, layout: str, cores: int) -> tuple[int, int]:
    """(channel cores, row cores) for a depthwise kernel over ``rows`` output rows.

    ``layout`` is the input's: from "hwc" four channels are staged at a time, from "chw" one. Among equally good grids
    the one with the most channel cores: rows of the input at the border of two cores' rows are staged by both.
    """
    channel_units = -(-channels // depthwise_unit(layout))
    return min(_grids(cores), key=lambda grid: share(channel_units, grid[0]) * share(rows, grid[1]))


def depthwise_unit(layout: str) -> int:
    """Channels that the depthwise kernel stages at a time from an input of that layout."""
    return TILE if layout == "hwc" else 1


def share(units: int, cores: int) -> int:
    """The largest share of ``units`` that one of ``cores`` gets."""
    return -(-units // cores)


def _grids(cores: int) -> Iterator[tuple[int, int]]:
    """All factorings of ``cores``, the most channel cores first."""
    for channel_cores in range(cores, 0, -1):
        if cores % channel_cores == 0:
            yield channel_cores, cores // channel_cores
