"""Tasks of clusters: plans and points, keys, and the space around the default."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiling.geometry import dense, depthwise, pointwise
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Tile
from tvm_dwfuse.tiling.search import best_chain, fits, traversal_of
from tvm_dwfuse.tuning.cluster_task import GVSOC_UNIT, ClusterTask

TASKS = {
    "pw": ClusterTask((pointwise(64, 72),), 14, 14, ("hwc", "hwc"), "unfused", GAP8),
    "dw": ClusterTask((depthwise(40),), 28, 28, ("chw", "hwc"), "unfused", GAP8),
    "conv": ClusterTask((dense(3, 18, 2),), 33, 33, ("hwc", "chw"), "unfused", GAP8),
    "dwpw": ClusterTask((depthwise(24), pointwise(24, 40)), 20, 20, ("hwc",) * 3, "dwpw_hwc_hwc_hwc_rows", GAP8),
    "pwdw": ClusterTask(
        (pointwise(16, 36), depthwise(36, 2)), 20, 20, ("hwc", "chw", "hwc"), "pwdw_hwc_chw_hwc_channels", GAP8
    ),
    "pwdwpw": ClusterTask(
        (pointwise(8, 48), depthwise(48), pointwise(48, 8)), 16, 16, ("hwc",) * 4, "pwdwpw_hwc_hwc_hwc_rows", GAP8
    ),
}
tasks = st.sampled_from(list(TASKS.values()))


@st.composite
def points(draw: st.DrawFn) -> tuple[ClusterTask, dict[str, int]]:
    """A task, and a point among the choices of its knobs, legal or not."""
    task = draw(tasks)
    return task, {name: draw(st.sampled_from(values)) for name, values in task.space.choices.items()}


@pytest.mark.parametrize("l1_bytes", [12_000, 30_000, GAP8.l1_bytes])
@pytest.mark.parametrize("name", TASKS)
def test_the_default_is_what_the_compiler_takes(name: str, l1_bytes: int) -> None:
    task = replace(TASKS[name], machine=replace(GAP8, l1_bytes=l1_bytes))
    plan = best_chain(
        task.stages, task.height, task.width, task.layouts, task.machine, traversal=traversal_of(task.variant)
    )
    assert task.space.contains(task.space.default)
    assert task.plan(task.space.default) == plan


@given(points())
@settings(max_examples=200, deadline=None)
def test_legal_points_make_plans_that_fit_and_come_back(drawn) -> None:
    task, point = drawn
    if not task.space.legal(point):
        return
    plan = task.plan(point)
    assert fits(plan, task.machine)
    assert task.space.contains(task.point_of(plan))
    assert task.plan(task.point_of(plan)) == plan


def test_second_buffers_of_what_is_fetched_once_make_no_other_plan() -> None:
    task = TASKS["dw"]
    whole = {"rows": 28, "channels": 40, "double_x": 0, "double_y": 0, "double_w": 0}
    assert task.plan({**whole, "double_x": 1, "double_w": 1}) == task.plan(whole)
    in_steps = {**whole, "rows": 7}
    assert task.plan({**in_steps, "double_x": 1}).tile == Tile(7, 40, (40,), True, False, False)


def test_spaces_have_finer_tiles_than_the_compilers_list() -> None:
    choices = TASKS["dw"].space.choices
    assert choices["rows"] == tuple(range(1, 29))
    assert choices["channels"] == (4, 8, 12, 16, 20, 24, 32, 40)
    assert TASKS["pwdw"].space.choices["rows"] == (10,)
    assert TASKS["dwpw"].space.choices["channels"] == (40,)


def test_what_no_memory_holds_is_illegal() -> None:
    task = replace(TASKS["pw"], machine=replace(GAP8, l1_bytes=8_000))
    whole = {"rows": 14, "channels": 72, "weights0": 72, "double_x": 0, "double_y": 0, "double_w": 0}
    assert TASKS["pw"].space.legal(whole)
    assert not task.space.legal(whole)


def test_simulations_are_only_for_what_the_model_takes_to_be_fast() -> None:
    task, simulated = TASKS["dwpw"], TASKS["dwpw"].in_unit(GVSOC_UNIT)
    slow = {**task.space.default, "rows": 1}
    assert task.cost(slow).cycles > 1.25 * task.cost(task.space.default).cycles
    assert task.space.legal(slow)
    assert not simulated.space.legal(slow)
    assert simulated.makes_plan(slow)


def test_keys_tell_apart_what_differs() -> None:
    task = TASKS["dw"]
    others = [
        task.in_unit(GVSOC_UNIT),
        replace(task, height=29),
        replace(task, layouts=("hwc", "hwc")),
        replace(task, machine=replace(GAP8, l1_bytes=30_000)),
        replace(task, stages=(depthwise(40, 2),)),
        replace(task, variant="another"),
    ]
    assert len({each.key for each in (task, *others)}) == len(others) + 1
    same = ClusterTask(tuple(task.stages), 28, 28, ("chw", "hwc"), "unfused", replace(GAP8, l2_bytes=1 << 20))
    assert same.key == task.key
    assert json.loads(task.key)["cluster"] == "gap8"


@pytest.mark.parametrize("name", TASKS)
def test_points_that_are_none_make_no_plan(name: str) -> None:
    task = TASKS[name]
    default = task.space.default
    assert task.makes_plan(default)
    assert not task.makes_plan({**default, "rows": 0})
    assert not task.makes_plan({**default, "depth": 2})
    assert not task.makes_plan({key: value for key, value in default.items() if key != "double_x"})


def test_features_are_finite_and_of_one_length() -> None:
    lengths = set()
    for task in TASKS.values():
        features = task.features(task.space.default)
        assert all(abs(value) < 1e6 for value in features)
        lengths.add(len(features))
    assert len(lengths) == 1


def test_descriptions_say_what_it_is() -> None:
    assert TASKS["dw"].describe() == "unfused chw-hwc dw 28x28 40-40"
    assert TASKS["pwdw"].describe() == "pwdw_hwc_chw_hwc_channels 20x20 16-36-36/2"
    assert TASKS["dwpw"].describe() == "dwpw_hwc_hwc_hwc_rows 20x20 24-24-40"
