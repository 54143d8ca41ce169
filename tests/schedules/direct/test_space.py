"""Spaces of the depthwise procedures' tiles: every point computes the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tvm

from schedules.depthwise import build_depthwise, tile_space
from schedules.space import kernel_space, knobs_at, point_of
from tests.blocks import depthwise
from tests.depthwise_reference import random_operands
from tests.schedules.depthwise_kernels import check_values, in_layout, run
from tests.schedules.kernels import check
from tests.schedules.points import random_points
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets import get_cpu, host_target

CONVS = {
    "3x3": Depthwise(40, 15, 17, padding=(1, 1, 1, 1)),
    "3x3 stride 2, multiplier": Depthwise(12, 12, 19, stride=(2, 2), padding=(0, 1, 1, 1), multiplier=2),
    "5x5": Depthwise(19, 9, 33, (5, 5), padding=(2, 2, 2, 2)),
}
LAYOUTS: tuple[Layout, ...] = ("NHWC", "NCHW")
TARGETS = (host_target(), replace(host_target(), lanes=8, registers=16), get_cpu("cortex-a72"))

every_procedure = pytest.mark.parametrize("procedure", PROCEDURES)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


@every_procedure
@every_layout
@pytest.mark.parametrize("name", CONVS)
def test_the_default_is_a_point(name: str, layout: Layout, procedure: Procedure) -> None:
    conv = in_layout(CONVS[name], layout)
    for target in TARGETS:
        space = tile_space(procedure, conv, target)
        assert space.contains(space.default)
        assert len(random_points(space, 5)) >= 2
        default = build_depthwise(procedure, conv, target, point=space.default)
        tvm.ir.assert_structural_equal(default, build_depthwise(procedure, conv, target))


@every_procedure
@every_layout
def test_points_compute_the_same(layout: Layout, procedure: Procedure) -> None:
    for name, seed in (("3x3", 0), ("3x3 stride 2, multiplier", 1)):
        conv, target = in_layout(CONVS[name], layout), host_target()
        operands = random_operands(procedure, conv)
        (point,) = random_points(tile_space(procedure, conv, target), 1, seed)
        function = build_depthwise(procedure, conv, target, point=point)
        check_values(procedure, conv, operands, run(function, procedure, conv, operands, target))


@pytest.mark.parametrize("procedure", ["forward", "backward_data"])
def test_asking_ahead_changes_no_result(procedure: Procedure) -> None:
    conv = in_layout(CONVS["3x3 stride 2, multiplier"], "NHWC")
    operands = random_operands(procedure, conv)
    point = tile_space(procedure, conv, host_target()).default | {"rows": 4, "columns": 2, "ahead": 1}
    function = build_depthwise(procedure, conv, host_target(), point=point)
    assert "prefetch" in function.script()
    check_values(procedure, conv, operands, run(function, procedure, conv, operands, host_target()))


def test_what_comes_from_memory_is_asked_for_ahead() -> None:
    target = replace(host_target(), lanes=16, registers=32, l2_bytes=1 << 20)
    images = {batch: Depthwise(32, 112, 112, padding=(1, 1, 1, 1), batch=batch, layout="NHWC") for batch in (1, 8)}
    ahead = {batch: tile_space("forward", conv, target).default["ahead"] for batch, conv in images.items()}
    assert ahead == {1: 0, 8: 1}
    assert tile_space("forward", images[8], get_cpu("cortex-a72")).default["ahead"] == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_have_the_forward_procedures_space(stride: int) -> None:
    block = Block((depthwise(40, 3, stride, epilogue=("bias", "relu6", "add")),), 1, 13, 21)
    space = kernel_space(block, None, host_target())
    conv = Depthwise(40, 13, 21, stride=(stride, stride), padding=(1, 1, 1, 1), layout="NHWC")
    tiles = tile_space("forward", conv, host_target())
    fields = {"rows0": "rows", "pixels0": "columns", "lanes0": "lanes"}
    assert all(space.choices[knob] == tiles.choices[field] for knob, field in fields.items())
    for point in random_points(space, 3, seed=stride):
        knobs = knobs_at(block, None, host_target(), point)
        assert point_of(knobs) == point
        check(block, None, knobs=knobs)


@every_procedure
def test_a_point_of_another_space_is_refused(procedure: Procedure) -> None:
    conv = CONVS["3x3"]
    for point in ({}, tile_space(procedure, conv, host_target()).default | {"lanes": 3}):
        with pytest.raises(ValueError, match="not a point"):
            build_depthwise(procedure, conv, host_target(), point=point)


def test_sums_fit_the_registers() -> None:
    conv, few = CONVS["5x5"], replace(host_target(), lanes=8, registers=16)
    for point in tile_space("forward", in_layout(conv, "NHWC"), few).points():
        assert min(point["rows"], 5) * point["columns"] < few.registers
