"""Spaces of kernels: what they hold can be built and computes the same, and what they do not hold is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st

from schedules import Kernel, build_kernel, default_knobs
from schedules.space import kernel_space, knobs_at, knobs_of, point_of
from schedules.stages import MAX_TILE_BYTES
from schedules.tile import BY_RULE, CHANNELS, ROWS
from tests.blocks import block_for, depthwise, full_conv, pointwise, separable_blocks, single_blocks
from tests.schedules.kernels import check
from tests.schedules.lowered import allocations
from tests.schedules.points import random_points
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import VARIANTS, Variant

AVX512 = CpuTarget("avx512", "", 16, 32, cores=2, half_vectors_are_cheap=True)
TARGETS = (
    AVX512,
    CpuTarget("avx2", "", 8, 16, cores=2, l2_bytes=256 * 1024),
    CpuTarget("sse", "", 4, 16, cores=4, l2_bytes=16 * 1024),
)

#: Layers of the zoo's networks: (variant or None, block).
ZOO: list[tuple[Variant | None, Block]] = [
    *(
        (VARIANTS["pwdwpw_hwc_hwc_hwc_rows"], block_for(VARIANTS["pwdwpw_hwc_hwc_hwc_rows"], channels, (h, h), **dw))
        for channels, h, dw in (
            ((16, 96, 24), 112, {"stride": 2}),
            ((24, 144, 24), 56, {}),
            ((160, 960, 320), 7, {}),
            ((40, 240, 80), 28, {"kernel": 5, "stride": 2}),
        )
    ),
    *(
        (VARIANTS[name], block_for(VARIANTS[name], channels, (h, h), **dw))
        for name, channels, h, dw in (
            ("dwpw_hwc_hwc_hwc_rows", (64, 128), 112, {"stride": 2}),
            ("dwpw_hwc_hwc_hwc_rows", (512, 512), 14, {}),
            ("dwpw_chw_hwc_chw_rows", (128, 256), 56, {}),
            ("pwdw_hwc_hwc_hwc_rows", (32, 192), 28, {}),
            ("pwdw_hwc_hwc_hwc_channels", (32, 192), 28, {"multiplier": 2}),
            ("pwdw_hwc_chw_hwc_channels", (32, 192), 28, {}),
            ("pwdw_hwc_chw_hwc_rows", (32, 192), 28, {}),
            ("pwdw_chw_chw_chw_channels", (32, 192), 28, {}),
        )
    ),
    *(
        (None, Block((stage,), 1, h, h, layout))
        for stage, h, layout in (
            (pointwise(320, 1280), 7, "NHWC"),
            (pointwise(1280, 1000), 1, "NHWC"),
            (pointwise(64, 128), 56, "NCHW"),
            (full_conv(3, 32, stride=2), 224, "NHWC"),
            (full_conv(64, 64, groups=4), 28, "NHWC"),
            (depthwise(64), 28, "NHWC"),
            (depthwise(64), 28, "NCHW"),
        )
    ),
]


def name_of(case: tuple[Variant | None, Block]) -> str:
    variant, block = case
    return f"{variant.name if variant else block.order}_{block.stages[0].in_channels}_{block.layout}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("case", ZOO, ids=name_of)
def test_the_default_is_a_point_and_points_round_trip(
    case: tuple[Variant | None, Block], target: CpuTarget, threads: int
) -> None:
    variant, block = case
    space = kernel_space(block, variant, target, threads)
    assert space.contains(space.default)
    default = build_kernel(block, variant, target, threads).knobs
    assert knobs_at(block, variant, target, space.default, threads) == default
    for point in random_points(space, 5):
        assert point_of(knobs_at(block, variant, target, point, threads)) == point


@pytest.mark.parametrize("case", ZOO, ids=name_of)
def test_there_is_something_to_choose_but_not_everything(case: tuple[Variant | None, Block]) -> None:
    variant, block = case
    space = kernel_space(block, variant, AVX512)
    assert space.size >= 10
    assert len(random_points(space, 10)) >= 5
    assert max(len(values) for values in space.choices.values()) <= 12


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_sums_stay_in_registers(target: CpuTarget) -> None:
    block = Block((pointwise(64, 96),), 1, 28, 28)
    space = kernel_space(block, None, target)
    points = [point for point in space.points() if point["depth"] == space.default["depth"] and point["unroll"] == 1]
    assert len(points) >= 5
    for point in points:
        kept = allocations(build_kernel(block, None, target, knobs=knobs_at(block, None, target, point)))
        sums = max(math.prod(shape) for shape in kept["acc0"])
        vectors = sums // point["lanes0"]
        assert vectors + point["channels0"] // point["lanes0"] < target.registers
        assert 4 * sums <= MAX_TILE_BYTES


def test_a_point_that_is_no_kernel_is_refused() -> None:
    block = block_for(VARIANTS["pwdw_hwc_hwc_hwc_rows"], (32, 192), (28, 28))
    space = kernel_space(block, VARIANTS["pwdw_hwc_hwc_hwc_rows"], AVX512)
    for wrong in ({"rows0": 2}, {"channels1": 24, "lanes1": 16}, {"pixels0": 14, "channels0": 96, "lanes0": 16}):
        assert not space.contains(space.default | wrong)
        with pytest.raises(ValueError, match="not a point"):
            knobs_at(block, VARIANTS["pwdw_hwc_hwc_hwc_rows"], AVX512, space.default | wrong)


@pytest.mark.parametrize(
    ("block", "variant", "wrong"),
    [
        (block_for(VARIANTS["pwdw_hwc_hwc_hwc_rows"], (16, 32), (9, 9)), "pwdw_hwc_hwc_hwc_rows", {"rows0": 2}),
        (Block((full_conv(32, 64, groups=4),), 1, 9, 9), None, {"channels0": 24, "lanes0": 8}),
        (Block((full_conv(32, 64),), 1, 9, 9), None, {"parallel": CHANNELS}),
        (
            block_for(VARIANTS["pwdw_hwc_hwc_hwc_channels"], (16, 32), (9, 9)),
            "pwdw_hwc_hwc_hwc_channels",
            {"parallel": CHANNELS},
        ),
    ],
)
def test_what_build_kernel_refuses_is_not_legal(block: Block, variant: str | None, wrong: Point) -> None:
    chosen = VARIANTS.get(variant)
    space = kernel_space(block, chosen, AVX512)
    point = space.default | wrong
    assert not space.legal(point)
    with pytest.raises(ValueError, match=r"tile|share the channels"):
        build_kernel(block, chosen, AVX512, knobs=knobs_of(len(block.stages), point))


def test_steps_are_written_out_only_where_nothing_is_prefetched() -> None:
    def changes(block: Block) -> bool:
        knobs = default_knobs(block, None, AVX512)
        plain, unrolled = (build_kernel(block, None, AVX512, knobs=replace(knobs, unroll=count)) for count in (1, 4))
        assert kernel_space(block, None, AVX512).legal(point_of(unrolled.knobs)) == (not same(plain, unrolled))
        return not same(plain, unrolled)

    assert changes(Block((pointwise(16, 96),), 1, 8, 8))
    assert not changes(Block((pointwise(17, 96),), 1, 8, 8))
    assert not changes(Block((pointwise(512, 512),), 1, 8, 8))


def same(one: Kernel, other: Kernel) -> bool:
    return tvm_ffi.structural_equal(one.func, other.func)


@pytest.mark.parametrize("height", [8, 5])
@pytest.mark.parametrize("name", [None, "dwpw_hwc_hwc_hwc_rows", "pwdwpw_hwc_hwc_hwc_rows"])
def test_threads_share_rows_or_channels(name: str | None, height: int) -> None:
    variant = VARIANTS.get(name)
    channels = (16, 32, 48)[: 3 if name and name.startswith("pwdwpw") else 2]
    block = block_for(variant, channels, (height, 8)) if variant else Block((pointwise(16, 32),), 1, height, 8)
    space = kernel_space(block, variant, host_target(), 2)
    (other,) = set(space.choices["parallel"]) - {BY_RULE}
    assert other == (CHANNELS if height == 8 else ROWS)
    knobs = knobs_at(block, variant, host_target(), space.default | {"parallel": other}, 2)
    chosen = check(block, variant, threads=2, knobs=knobs)
    assert not same(chosen, build_kernel(block, variant, host_target(), 2))
    assert kernel_space(block, variant, host_target(), 1).choices["parallel"] == (BY_RULE,)


@pytest.mark.parametrize("name", [*VARIANTS, "pw", "conv", "grouped"])
@settings(max_examples=2)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_points_compute_the_same(name: str, data: st.DataObject, seed: int) -> None:
    variant = VARIANTS.get(name)
    strategy = separable_blocks(variant).filter(variant.supports) if variant else single_blocks(name)
    block = data.draw(strategy, label="block")
    threads = data.draw(st.sampled_from([1, 2]), label="threads")
    space = kernel_space(block, variant, host_target(), threads)
    for point in random_points(space, 2, seed):
        check(block, variant, threads=threads, knobs=knobs_at(block, variant, host_target(), point, threads))
