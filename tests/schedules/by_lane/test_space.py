"""Spaces of kernels by lane: every point computes the same, and other knobs are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedules import Knobs, Tile, build_kernel, by_lane, default_knobs
from schedules.space import kernel_space, knobs_at, point_of
from tests.blocks import depthwise, full_conv, pointwise
from tests.schedules.kernels import check
from tests.schedules.points import random_points
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.targets import ARMV8_TARGETS
from tvm_dwfuse.variants import VARIANTS, Variant

CORE = ARMV8_TARGETS["cortex-a72"]
DWPW = VARIANTS["dwpw_hwc_hwc_hwc_rows"]
PWDWPW = VARIANTS["pwdwpw_hwc_hwc_hwc_rows"]

Case = tuple[Block, Variant | None, Layout | None]

#: Sizes and channels that no tile divides.
CASES: dict[str, Case] = {
    "pw": (Block((pointwise(20, 36, ("bias", "add")),), 1, 9, 11), None, None),
    "pw_scaled": (Block((pointwise(12, 28),), 2, 5, 7, prologue=("scale",)), None, None),
    "one_pixel": (Block((pointwise(24, 100),), 1, 1, 1), None, None),
    "stem": (Block((full_conv(3, 20, 3, 2),), 1, 19, 27), None, "NCHW"),
    "dwpw": (Block((depthwise(20), pointwise(20, 36)), 1, 13, 11), DWPW, None),
    "dwpw_5x5_stride_2": (Block((depthwise(8, 5, 2), pointwise(8, 28)), 1, 21, 17), DWPW, None),
    "pwdwpw": (Block((pointwise(12, 28), depthwise(28), pointwise(28, 20, ("bias",))), 1, 13, 10), PWDWPW, None),
}

every_case = pytest.mark.parametrize("name", CASES)


@every_case
@pytest.mark.parametrize("core", ["cortex-a53", "apple-m1"])
def test_the_default_is_a_point_and_points_round_trip(name: str, core: str) -> None:
    (block, variant, source), machine = CASES[name], ARMV8_TARGETS[core]
    assert by_lane.computes(block, variant, machine, source)
    space = kernel_space(block, variant, machine, source=source)
    assert space.contains(space.default)
    assert point_of(default_knobs(block, variant, machine, source=source)) == space.default
    points = random_points(space, 5)
    assert len(points) >= 2
    for point in points:
        assert point_of(knobs_at(block, variant, machine, point, source=source)) == point


@every_case
def test_points_compute_the_same(name: str) -> None:
    block, variant, source = CASES[name]
    space = kernel_space(block, variant, CORE, source=source)
    for point in random_points(space, 2, seed=len(name)):
        check(block, variant, CORE, knobs=knobs_at(block, variant, CORE, point, source=source), source=source)


def test_sums_and_what_a_step_loads_are_in_registers() -> None:
    block, variant, _ = CASES["pwdwpw"]
    space = kernel_space(block, variant, CORE)
    for point in random_points(space, 200):
        for stage in (0, 2):
            groups, vectors = point[f"pixels{stage}"] // 4, point[f"channels{stage}"] // 4
            assert 4 * groups * vectors + groups + vectors < CORE.registers


def test_smaller_caches_offer_smaller_steps() -> None:
    block = Block((depthwise(512), pointwise(512, 512)), 1, 28, 28)
    depths = [max(kernel_space(block, DWPW, ARMV8_TARGETS[core]).choices["depth"]) for core in ("armv8-a", "apple-m1")]
    assert depths[0] < depths[1]


GOOD = (Tile(1, 2, 4, 4), Tile(1, 8, 12, 4))
WRONG = {
    "2 tiles for a block of 1": (CASES["pw"], Knobs(1, GOOD)),
    "a step of 0 rows": (CASES["dwpw"], Knobs(0, GOOD)),
    "vectors of 8": (CASES["dwpw"], Knobs(4, (GOOD[0], Tile(1, 8, 16, 8)))),
    "a tile of 4 rows": (CASES["dwpw"], Knobs(4, (Tile(4, 2, 4, 4), GOOD[1]))),
    "no vector of channels": (CASES["dwpw"], Knobs(4, (Tile(1, 2, 8, 4), GOOD[1]))),
    "6 channels": (CASES["dwpw"], Knobs(4, (GOOD[0], Tile(1, 8, 6, 4)))),
    "10 pixels": (CASES["dwpw"], Knobs(4, (GOOD[0], Tile(1, 10, 8, 4)))),
    "16 x 20 sums": (CASES["dwpw"], Knobs(4, (GOOD[0], Tile(1, 16, 20, 4)))),
}


@pytest.mark.parametrize("reason", WRONG)
def test_knobs_of_no_kernel_are_refused(reason: str) -> None:
    (block, variant, source), knobs = WRONG[reason]
    with pytest.raises(ValueError, match=reason):
        build_kernel(block, variant, CORE, knobs=knobs, source=source)
    if len(knobs.tiles) == len(block.stages):
        assert not kernel_space(block, variant, CORE, source=source).legal(point_of(knobs))


def test_tiles_fit_where_registers_are_few() -> None:
    block, variant, _ = CASES["dwpw"]
    few = replace(CORE, registers=16)
    assert all(
        point["pixels1"] * point["channels1"] // 4 < 16
        for point in random_points(kernel_space(block, variant, few), 50)
    )
