"""The shares of the cores: as even as a grid of them allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_dwfuse.tiling.balance import share, split_conv, split_depthwise, split_pointwise

COUNTS = st.integers(1, 300)
CORES = st.sampled_from([1, 2, 4, 6, 8])


def grids(cores: int) -> list[tuple[int, int]]:
    return [(a, cores // a) for a in range(1, cores + 1) if cores % a == 0]


@given(COUNTS, COUNTS, CORES)
def test_no_grid_shares_register_tiles_more_evenly(pixels, channels, cores):
    tiles = -(-channels // 4), -(-pixels // 4)
    chosen = split_pointwise(pixels, channels, cores)
    assert chosen in grids(cores)
    shares = [share(tiles[0], a) * share(tiles[1], b) for a, b in grids(cores)]
    assert share(tiles[0], chosen[0]) * share(tiles[1], chosen[1]) <= 1.1 * min(shares)


@given(COUNTS, COUNTS, st.sampled_from(["hwc", "chw"]), CORES)
def test_no_grid_shares_rows_more_evenly(rows, channels, layout, cores):
    units = -(-channels // 4) if layout == "hwc" else channels
    chosen = split_depthwise(rows, channels, layout, cores)
    assert chosen in grids(cores)
    assert share(units, chosen[0]) * share(rows, chosen[1]) == min(
        share(units, a) * share(rows, b) for a, b in grids(cores)
    )


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (split_pointwise(256, 128, 8), (1, 8)),  # evenly either way: fewer rows of tiles
        (split_pointwise(16, 128, 8), (2, 4)),
        (split_pointwise(52, 64, 8), (8, 1)),  # thirteen units of pixels
        (split_pointwise(1, 1000, 8), (8, 1)),
        (split_pointwise(4096, 3, 8), (1, 8)),
        (split_conv(4096, 32, 8), (1, 8)),  # each channel core would gather all pixels again
        (split_conv(4, 64, 8), (8, 1)),
        (split_depthwise(16, 32, "hwc", 8), (8, 1)),
        (split_depthwise(16, 16, "hwc", 8), (4, 2)),  # four units of four channels
        (split_depthwise(16, 16, "chw", 8), (8, 1)),
    ],
)
def test_examples(split, expected):
    assert split == expected
