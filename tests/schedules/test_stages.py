"""What a kernel keeps where: intermediates by the depth knob, sums in registers, no padded copies."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tvm import s_tir

from schedules import Kernel, build_kernel, default_knobs
from tests.blocks import block_for, depthwise, full_conv, pointwise
from tests.schedules.lowered import allocations, store_lanes, vector_conditions
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import VARIANTS, Variant

TARGETS = {
    "avx512": CpuTarget("avx512", host_target().mcpu, 16, 32, cores=2),
    "avx2": CpuTarget("avx2", host_target().mcpu, 8, 16, cores=2),
    "neon": CpuTarget("neon", host_target().mcpu, 4, 32, cores=2),
}

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def fused(variant: Variant, channels: tuple[int, int, int], target: CpuTarget, depth: int | None = None) -> Kernel:
    block = block_for(variant, channels[: 3 if variant.order == "pwdwpw" else 2], (12, 13))
    knobs = default_knobs(block, variant, target)
    return build_kernel(block, variant, target, 1, replace(knobs, depth=depth) if depth else knobs)


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("name", ["dwpw_hwc_hwc_hwc_rows", "dwpw_chw_hwc_chw_rows"])
def test_depth_rows_of_the_depthwise_output_are_kept(name: str, depth: int) -> None:
    kernel = fused(VARIANTS[name], (24, 40, 0), host_target(), depth)
    assert allocations(kernel)["out0"] == [(1, depth, 13, 24)]


@pytest.mark.parametrize("depth", [16, 32])
@pytest.mark.parametrize("name", [name for name in VARIANTS if name.endswith("channels")])
def test_depth_channels_of_the_pointwise_output_are_kept(name: str, depth: int) -> None:
    kernel = fused(VARIANTS[name], (24, 64, 0), TARGETS["avx2"], depth)
    planes = (1, 12, 13, depth) if VARIANTS[name].mid == "hwc" else (1, depth, 12, 13)
    assert allocations(kernel)["out0"] == [planes]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_triple_keeps_a_ring_of_the_first_and_depth_rows_of_the_second_intermediate(depth: int) -> None:
    kernel = fused(VARIANTS["pwdwpw_hwc_hwc_hwc_rows"], (8, 24, 8), host_target(), depth)
    kept = allocations(kernel)
    assert kept["out0"] == [(1, depth + 2, 13, 24)]
    assert kept["out1"] == [(1, depth, 13, 24)]


@every_target
@pytest.mark.parametrize("channels", [(16, 64, 32), (19, 35, 21)], ids=["vectors", "tails"])
@every_variant
def test_sums_stay_in_registers(variant: Variant, channels: tuple[int, int, int], target: CpuTarget) -> None:
    kernel = fused(variant, channels, target, depth=16 if variant.traversal == "channels" else 3)
    assert_sums_stay_in_registers(kernel, target)


SINGLE = {
    "pw": pointwise(24, 64),
    "stem": full_conv(3, 32, stride=2, padding=(0, 0, 1, 1)),
    "grouped": full_conv(12, 20, groups=4),
}


@every_target
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("stage", SINGLE.values(), ids=SINGLE)
def test_sums_of_single_stages_stay_in_registers(stage: Conv, layout: str, target: CpuTarget) -> None:
    assert_sums_stay_in_registers(build_kernel(Block((stage,), 1, 12, 13, layout), None, target), target)


@every_target
def test_a_single_depthwise_stage_allocates_nothing_or_a_padded_step(target: CpuTarget) -> None:
    stage = depthwise(24, 5, 2)
    assert allocations(build_kernel(Block((stage,), 1, 12, 13, "NHWC"), None, target)) == {}
    kernel = build_kernel(Block((stage,), 1, 12, 13, "NCHW"), None, target)
    assert set(allocations(kernel)) == {"pad0", "acc0"}
    assert_sums_stay_in_registers(kernel, target)


def assert_sums_stay_in_registers(kernel: Kernel, target: CpuTarget) -> None:
    kept, lanes = allocations(kernel), store_lanes(kernel)
    for i in range(len(kernel.block.stages)):
        for shape in kept[f"acc{i}"]:
            assert math.prod(shape) / max(lanes[f"acc{i}"]) < target.registers


NHWC = [name for name, variant in VARIANTS.items() if variant.source == variant.mid == variant.sink == "hwc"]


@pytest.mark.parametrize("name", NHWC)
def test_channels_last_variants_pad_implicitly(name: str) -> None:
    kernel = fused(VARIANTS[name], (16, 32, 16), host_target(), depth=2)
    assert not any(buffer.startswith("pad") for buffer in allocations(kernel))
    names = {kernel_block.name_hint for kernel_block in blocks_of(kernel)}
    assert not any(block.startswith("pad") for block in names)
    assert any(block.startswith("acc") for block in names)


def test_a_padded_copy_covers_one_step() -> None:
    kept = allocations(fused(VARIANTS["dwpw_chw_hwc_chw_rows"], (8, 16, 0), host_target(), depth=3))
    assert kept["pad0"] == [(1, 8, 3 + 2, 13 + 2)]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_scaled_copy_covers_one_step(layout: str) -> None:
    block = Block((pointwise(16, 24),), 1, 12, 13, layout, prologue=("scale",))
    knobs = replace(default_knobs(block, None, host_target()), depth=3)
    kernel = build_kernel(block, None, host_target(), 1, knobs)
    assert allocations(kernel)["scaled"] == [(1, 3, 13, 16) if layout == "NHWC" else (1, 16, 3, 13)]


def blocks_of(kernel: Kernel) -> list[s_tir.SBlock]:
    sch = s_tir.Schedule(kernel.func, enable_check=False)
    return [sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root"))]


@every_target
@pytest.mark.parametrize("channels", [(16, 64, 32), (19, 35, 21), (2, 3, 5)], ids=["vectors", "tails", "few"])
@every_variant
def test_no_condition_stands_inside_a_vector(
    variant: Variant, channels: tuple[int, int, int], target: CpuTarget
) -> None:
    kernel = fused(variant, channels, target, depth=16 if variant.traversal == "channels" else 2)
    loops, conditions = vector_conditions(kernel)
    assert loops >= 3 * len(kernel.block.stages)
    assert conditions == []


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("stage", SINGLE.values(), ids=SINGLE)
def test_no_condition_stands_inside_a_vector_of_a_single_stage(stage: Conv, layout: str) -> None:
    kernel = build_kernel(Block((stage,), 1, 12, 13, layout), None, host_target())
    loops, conditions = vector_conditions(kernel)
    assert loops >= 3
    assert conditions == []


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [32, 35])
def test_no_condition_stands_inside_a_vector_of_scaled_inputs(channels: int, layout: str) -> None:
    block = Block((pointwise(channels, 24),), 1, 12, 21, layout, prologue=("scale",))
    kernel = build_kernel(block, None, host_target())
    loops, conditions = vector_conditions(kernel)
    assert loops >= 4
    assert conditions == []
    assert min(store_lanes(kernel)["scaled"]) > 1


@every_target
@every_variant
def test_stores_are_whole_vectors_where_channels_and_width_divide(variant: Variant, target: CpuTarget) -> None:
    block = block_for(variant, (32, 64, 32)[: 3 if variant.order == "pwdwpw" else 2], (8, 16))
    kernel = build_kernel(block, variant, target)
    lanes = store_lanes(kernel)
    for i, tile in enumerate(kernel.knobs.tiles):
        assert lanes[f"acc{i}"] == lanes[f"out{i}"] == {tile.lanes}
