"""Default knobs fit the machine; no knob changes what is computed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schedules import Knobs, Tile, build_kernel, default_knobs
from schedules.knobs import fit_channel_depth, stage_layouts, step_bytes
from tests.blocks import block_for, pointwise, separable_blocks, single_blocks
from tests.schedules.kernels import check
from tests.schedules.lowered import allocations
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import VARIANTS, Variant

TARGETS = (
    CpuTarget("avx512", "", 16, 32, cores=2, half_vectors_are_cheap=True),
    CpuTarget("avx2", "", 8, 16, cores=2, l2_bytes=16 * 1024),
    CpuTarget("neon", "", 4, 32, cores=4, l2_bytes=4 * 1024),
)

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@every_variant
@settings(max_examples=150, phases=[Phase.generate])
@given(data=st.data(), target=st.sampled_from(TARGETS), threads=st.integers(1, 4))
def test_default_knobs_of_a_variant_fit_the_target(
    variant: Variant, data: st.DataObject, target: CpuTarget, threads: int
) -> None:
    block = data.draw(separable_blocks(variant))
    knobs = default_knobs(block, variant, target, threads)
    assert_tiles_fit(block, knobs, variant, target)
    rows, channels = block.sizes()[-1][0], block.stages[-1].out_channels
    if variant.traversal == "rows":
        assert_rows_fit(block, knobs.depth, target, threads)
        assert 1 <= knobs.depth <= rows
    else:
        assert fit_channel_depth(block, knobs) == knobs.depth
        assert channels % knobs.depth == 0


@pytest.mark.parametrize("kind", ["dw", "pw", "conv", "grouped"])
@settings(max_examples=150, phases=[Phase.generate])
@given(data=st.data(), target=st.sampled_from(TARGETS), threads=st.integers(1, 4))
def test_default_knobs_of_a_single_stage_fit_the_target(
    kind: str, data: st.DataObject, target: CpuTarget, threads: int
) -> None:
    block = data.draw(single_blocks(kind))
    knobs = default_knobs(block, None, target, threads)
    assert_tiles_fit(block, knobs, None, target)
    assert_rows_fit(block, knobs.depth, target, threads)


def assert_tiles_fit(block: Block, knobs: Knobs, variant: Variant | None, target: CpuTarget) -> None:
    layouts = stage_layouts(block, variant)
    for i, (tile, stage, (_, width)) in enumerate(zip(knobs.tiles, block.stages, block.sizes()[1:], strict=True)):
        assert min(tile.rows, tile.pixels, tile.channels, tile.lanes) >= 1
        assert tile.lanes <= target.lanes
        along_width = layouts[i] == "NCHW" and (stage.is_depthwise or layouts[i + 1] == "NCHW")
        if along_width:
            assert tile.lanes <= width
            vectors = tile.rows if stage.is_depthwise else tile.rows * tile.channels
        else:
            assert tile.channels % tile.lanes == 0
            straight = variant is None and stage.is_depthwise  # only so many rows are summed at a time
            rows = min(tile.rows, stage.kernel[0] * stage.dilation[0]) if straight else tile.rows
            vectors = rows * tile.pixels * tile.channels // tile.lanes
        assert vectors < target.registers


def assert_rows_fit(block: Block, depth: int, target: CpuTarget, threads: int) -> None:
    rows = block.sizes()[-1][0]
    assert depth == 1 or step_bytes(block, depth) <= target.l2_bytes
    if block.batch % threads:
        assert depth <= math.ceil(rows / threads)


@pytest.mark.parametrize(
    "name", ["dwpw_hwc_hwc_hwc_rows", "pwdw_hwc_hwc_hwc_rows", "pwdw_hwc_chw_hwc_rows", "pwdwpw_hwc_hwc_hwc_rows"]
)
@pytest.mark.parametrize("depth", [1, 3])
def test_step_bytes_are_what_the_kernel_allocates(name: str, depth: int) -> None:
    variant = VARIANTS[name]
    block = block_for(variant, (8, 24, 16)[: 3 if variant.order == "pwdwpw" else 2], (13, 10), stride=2)
    knobs = replace(default_knobs(block, variant, host_target()), depth=depth)
    kept = allocations(build_kernel(block, variant, host_target(), 1, knobs))
    intermediates = [shape for i in range(len(block.stages) - 1) for shape in kept[f"out{i}"]]
    assert step_bytes(block, depth) == 4 * sum(math.prod(shape) for shape in intermediates)


def test_smaller_caches_mean_smaller_steps() -> None:
    variant = VARIANTS["dwpw_hwc_hwc_hwc_rows"]
    block = block_for(variant, (64, 64), (32, 32))
    depths = [
        default_knobs(block, variant, CpuTarget("", "", 8, 16, 1, l2_bytes=kib * 1024)).depth for kib in (8, 64, 1024)
    ]
    assert depths == sorted(depths)
    assert 1 == depths[0] < depths[-1]


@pytest.mark.parametrize(
    ("wanted", "unit", "multiplier", "depth"),
    [
        (8, 8, 1, 8),
        (30, 8, 1, 24),
        (40, 8, 1, 24),
        (1000, 8, 1, 48),
        (32, 16, 2, 32),
        pytest.param(4, 8, 1, 48, id="less_than_a_tile"),
        pytest.param(20, 5, 1, 48, id="tiles_that_divide_nothing"),
        pytest.param(20, 5, 2, 96, id="tiles_that_divide_nothing_multiplied"),
    ],
)
def test_channel_depth_is_made_to_divide_the_channels(wanted: int, unit: int, multiplier: int, depth: int) -> None:
    block = block_for(VARIANTS["pwdw_hwc_hwc_hwc_channels"], (8, 48), (4, 4), multiplier=multiplier)
    knobs = Knobs(wanted, (Tile(1, 4, unit, unit), Tile(1, 4, 8, 8)))
    assert fit_channel_depth(block, knobs) == depth


@pytest.mark.parametrize("name", [*VARIANTS, "dw", "pw", "conv"])
@settings(max_examples=4)
@given(data=st.data())
def test_any_tile_computes_the_same(name: str, data: st.DataObject) -> None:
    variant = VARIANTS.get(name)
    strategy = separable_blocks(variant).filter(variant.supports) if variant else single_blocks(name)
    block = data.draw(strategy, label="block")
    tile = st.builds(
        lambda pixels, vectors, lanes: Tile(1, pixels, vectors * lanes, lanes),
        st.integers(1, 5),
        st.integers(1, 2),
        st.sampled_from([1, 2, 4, 8, 16]),
    )
    depth = data.draw(st.integers(1, 8), label="depth")
    tiles = tuple(data.draw(tile, label="tile") for _ in block.stages)
    check(block, variant, knobs=Knobs(depth, tiles))


def test_dense_tile_prefers_whole_vectors() -> None:
    knobs = default_knobs(Block((pointwise(64, 64),), 1, 14, 14), None, TARGETS[1])
    assert knobs.tiles[0].channels == 2 * 8
    assert knobs.tiles[0].lanes == 8


@pytest.mark.parametrize(
    ("width", "channels", "pixels", "vectors"),
    [(7, 1024, 4, 3), (14, 512, 5, 2), (28, 256, 4, 3), (56, 24, 4, 3), (112, 64, 6, 2)],
)
def test_tiles_of_few_registers_leave_short_tails(width: int, channels: int, pixels: int, vectors: int) -> None:
    """Each was the fastest of ten with AVX2 on Zen 4, or within 2% of it."""
    block = Block((pointwise(64, channels),), 1, width, width)
    assert default_knobs(block, None, TARGETS[1]).tiles[0] == Tile(1, pixels, 8 * vectors, 8)


@pytest.mark.parametrize(("width", "pixels"), [(112, 4), (14, 2), (7, 7), (11, 1)])
def test_depthwise_tiles_of_few_registers_use_whole_cache_lines(width: int, pixels: int) -> None:
    block = block_for(VARIANTS["dwpw_hwc_hwc_hwc_rows"], (32, 64), (width, width))
    knobs = default_knobs(block, VARIANTS["dwpw_hwc_hwc_hwc_rows"], TARGETS[1])
    assert knobs.tiles[0] == Tile(1, pixels, 16, 8)
