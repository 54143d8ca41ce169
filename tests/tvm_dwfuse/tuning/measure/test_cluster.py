"""Runners of clusters: costs, and faults that fail one candidate only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.runners.tools import needs_gvsoc, needs_host
from tests.tiling.geometry import depthwise, pointwise
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners.layer import LayerCase, run_layers
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Chain
from tvm_dwfuse.tuning.cluster_example import ClusterExample
from tvm_dwfuse.tuning.cluster_task import GVSOC_UNIT, ClusterTask
from tvm_dwfuse.tuning.measure import cluster
from tvm_dwfuse.tuning.measure.cluster import GvsocRunner, ModelRunner

TASK = ClusterTask((depthwise(8), pointwise(8, 12)), 8, 8, ("hwc",) * 3, "dwpw_hwc_hwc_hwc_rows", GAP8)
SIMULATED = TASK.in_unit(GVSOC_UNIT)
#: C text that takes the place of the end of a function's first line, by the number of rows in a step.
FAULTS = {1: "{ for (;;) {}", 3: '{ dwfuse_fail(0, "on purpose");', 4: "{ this is no C;"}


def rows(count: int) -> dict[str, int]:
    return {**TASK.space.default, "rows": count}


def faulty_case(example: ClusterExample, plan: Chain) -> LayerCase:
    """The case of a plan, with the fault of its number of rows; of two rows, one with other weights."""
    if plan.tile.rows == 2:
        example = ClusterExample.of(plan.stages, plan.height, plan.width, seed=1)
    case = original_case(example, plan)
    fault = FAULTS.get(plan.tile.rows, "{")
    return replace(case, source=case.source.replace("{", fault, 1))


original_case = ClusterExample.case


def test_the_model_measures_what_it_says() -> None:
    points = [rows(count) for count in (8, 2, 1)]
    measured = dict(ModelRunner().measure(TASK, points))
    assert [measured[i].cost for i in range(3)] == [TASK.cost(point).cycles for point in points]
    assert measured[0].cost < measured[2].cost


@needs_host
def test_candidates_that_fail_fail_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterExample, "case", faulty_case)
    runner = GvsocRunner(limit_s=3, runner="host")
    measured = dict(runner.measure(SIMULATED, [rows(count) for count in (8, 1, 2, 3, 4, 5)]))
    kinds = [measured[i].error.partition(":")[0] for i in range(6)]
    assert kinds == ["", "timeout", "wrong", "crash", "build", ""]
    assert "on purpose" in measured[3].error
    assert measured[0].cost > 0


@needs_host
def test_the_same_plan_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Chain] = []

    def counted(example: ClusterExample, plan: Chain) -> LayerCase:
        built.append(plan)
        return original_case(example, plan)

    monkeypatch.setattr(ClusterExample, "case", counted)
    runner = GvsocRunner(runner="host")
    same = [{**rows(8), "double_x": value} for value in (0, 1)]
    first = dict(runner.measure(SIMULATED, same))
    assert len(built) == 1
    assert dict(runner.measure(SIMULATED, same[:1])) == {0: first[1]}


def test_without_the_sdk_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAP_SDK_HOME", raising=False)
    with pytest.raises(DwfuseError, match="GAP_SDK_HOME is not set"):
        GvsocRunner()


@needs_gvsoc
def test_simulated_cycles_are_near_the_models() -> None:
    measured = dict(GvsocRunner().measure(SIMULATED, [rows(8), rows(4)]))
    for place, point in enumerate([rows(8), rows(4)]):
        assert measured[place].cost == pytest.approx(TASK.cost(point).cycles, rel=0.3)
    assert measured[0].cost < measured[1].cost


@needs_host
def test_expected_defaults_are_simulated_along(monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[int] = []

    def counted(cases, *args, **options):
        programs.append(len(cases))
        return run_layers(cases, *args, **options)

    monkeypatch.setattr(cluster, "run_layers", counted)
    tasks = [replace(SIMULATED, height=height) for height in (8, 9, 10)]
    runner = GvsocRunner(runner="host")
    runner.expect(tasks)
    for task in tasks:
        assert dict(runner.measure(task, [task.space.default]))[0].ok
    assert programs == [3]
