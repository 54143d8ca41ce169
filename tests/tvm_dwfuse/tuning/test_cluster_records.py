"""Tuned plans of clusters: found on record, compiled, and told."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.runners.tools import needs_host
from tests.tvm_dwfuse.conftest import INPUT_SHAPE, separable_model
from tvm_dwfuse import compile_application
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.cluster_report import manifest_text
from tvm_dwfuse.codegen_gap8.build import import_network
from tvm_dwfuse.integer_network import Network
from tvm_dwfuse.quantize import quantize
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CLUSTER_TARGETS
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tuning.cluster_records import ClusterRecords
from tvm_dwfuse.tuning.cluster_scope import ClusterScope
from tvm_dwfuse.tuning.cluster_task import GVSOC_UNIT, MODEL_UNIT, ClusterTask
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.records import SHIPPED, Records, Source
from tvm_dwfuse.tuning.template import trace_at

L1_BYTES = 4_000
SMALL = replace(GAP8, l1_bytes=L1_BYTES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, quantized."""
    folder = tmp_path_factory.mktemp("model")
    onnx.save(separable_model(), folder / "net.onnx")
    images = np.random.default_rng(3).standard_normal((4, *INPUT_SHAPE[1:])).astype(np.float32)
    np.savez(folder / "images.npz", x=images)
    quantize(folder / "net.onnx", folder / "images.npz", folder / "int8.onnx")
    return folder / "int8.onnx"


@pytest.fixture(scope="module")
def network(model: Path) -> Network:
    return import_network(model)


@pytest.fixture
def database(tmp_path: Path) -> TuningDatabase:
    return TuningDatabase(tmp_path / "db")


def record(database: TuningDatabase, task: ClusterTask, point: Point, cost: float) -> None:
    database.add(task.key, trace_at(task.space, task.key, point), Measurement((cost,)))


def records(database: TuningDatabase) -> ClusterRecords:
    return ClusterRecords(Records([Source("db", database)]))


def tasks_of(network: Network, unit: str = GVSOC_UNIT) -> list[ClusterTask]:
    return list(ClusterScope([network], SMALL, unit).tasks)


def find(database: TuningDatabase, task: ClusterTask):
    return records(database).find(task.stages, task.height, task.width, task.layouts, task.machine, task.variant)


def another_point(task: ClusterTask, seed: int = 0) -> Point:
    """A legal point whose plan is not the default's; the default where there is no other."""
    default = task.plan(task.space.default)
    others = [point for point in task.space.points() if task.plan(point) != default]
    return random.Random(seed).choice(others) if others else task.space.default


@needs_host
@pytest.mark.parametrize("seed", range(2))
def test_tuned_applications_compute_the_same(
    seed: int, model: Path, network: Network, database: TuningDatabase, tmp_path: Path
) -> None:
    """Whatever legal plans are on record, every layer's output is golden and all bytes are as planned."""
    plans = {}
    for task in tasks_of(network):
        point = another_point(task, seed)
        record(database, task, point, task.cost(point).cycles / 3)
        plans[task.plan(point)] = task
    built = compile_application(model, tmp_path / "build", db=database.folder, l1_bytes=L1_BYTES)
    assert {group.origin for group in built.manifest.groups} == {f"tuned ({database.folder}), by GVSOC"}
    assert built.check("host").counters["checked"] == len(built.manifest.groups)
    untuned = compile_application(model, tmp_path / "untuned", l1_bytes=L1_BYTES)
    assert [group.tile for group in built.manifest.groups] != [group.tile for group in untuned.manifest.groups]
    assert f": tuned ({database.folder}), by GVSOC" in manifest_text(built.manifest)


def test_latency_alone_is_what_plans_are_tuned_for(
    model: Path, network: Network, database: TuningDatabase, tmp_path: Path
) -> None:
    for task in tasks_of(network):
        record(database, task, another_point(task), 1.0)
    for objective in ("traffic", "energy", "latency=1,traffic=1"):
        built = compile_application(
            model, tmp_path / objective, db=database.folder, l1_bytes=L1_BYTES, objective=objective
        )
        assert {group.origin for group in built.manifest.groups} == {"default"}


def test_other_l1_is_another_task(network: Network, database: TuningDatabase) -> None:
    task = tasks_of(network)[0]
    record(database, task, another_point(task), 1.0)
    assert find(database, task) is not None
    assert find(database, replace(task, machine=replace(SMALL, l1_bytes=L1_BYTES - 4))) is None


def test_the_plan_and_its_cycles_come_back(network: Network, database: TuningDatabase) -> None:
    for task in tasks_of(network):
        point = another_point(task)
        record(database, task, point, 1234.0)
        found = find(database, task)
        assert found.plan == task.plan(point)
        cost = found.cost(SMALL)
        assert cost.cycles == sum(cycles for _, cycles in cost.parts) == 1234
        assert cost.activation_bytes == task.cost(point).activation_bytes


def test_simulated_records_go_before_those_of_the_model(network: Network, database: TuningDatabase) -> None:
    simulated = next(task for task in tasks_of(network) if another_point(task) != task.space.default)
    by_model = simulated.in_unit(MODEL_UNIT)
    best = min(by_model.space.points(), key=lambda point: by_model.cost(point).cycles)
    record(database, by_model, best, by_model.cost(best).cycles)
    assert (found := find(database, simulated)) is None or found.measured is None
    record(database, simulated, simulated.space.default, 99_999.0)
    assert find(database, simulated).measured == 99_999


def test_records_of_the_model_count_while_the_model_says_so(network: Network, database: TuningDatabase) -> None:
    """What an older model took to be better than the default is none of our business."""
    task = next(task for task in tasks_of(network, MODEL_UNIT) if another_point(task) != task.space.default)
    worst = max(task.space.points(), key=lambda point: task.cost(point).cycles)
    record(database, task, worst, 1.0)
    assert find(database, task) is None


def test_records_that_make_no_plan_are_told_and_left_out(network: Network, database: TuningDatabase) -> None:
    task = tasks_of(network)[0]
    larger = replace(task, height=2 * task.height, width=2 * task.width)
    point = {**task.space.default, "rows": larger.choices["rows"][-1]}
    database.add(task.key, trace_at(larger.space, task.key, point), Measurement((1.0,)))
    with pytest.warns(UserWarning, match=r"db\): the record of unfused .* is of another version of dwfuse"):
        assert find(database, task) is None


def task_of(key: str) -> ClusterTask:
    """The task with that key."""
    fields = json.loads(key)
    shape = fields["shape"]
    stages = (
        Conv(**{name: tuple(value) if isinstance(value, list) else value for name, value in stage.items()})
        for stage in shape["stages"]
    )
    machine = replace(CLUSTER_TARGETS[fields["cluster"]], l1_bytes=fields["l1"])
    layouts = tuple(fields["layouts"])
    return ClusterTask(
        tuple(stages), shape["height"], shape["width"], layouts, fields["variant"], machine, fields["unit"]
    )


def test_shipped_records_make_plans() -> None:
    """Records that an edit of a space or of the model left behind would be of no use."""
    shipped = TuningDatabase(SHIPPED / "gap8")
    keys = shipped.keys()
    assert keys
    for key in keys:
        task, trial = task_of(key), shipped.best(key)
        assert task.key == key
        assert task.makes_plan(trial.point)
        if task.unit == MODEL_UNIT:
            assert task.cost(trial.point).cycles == trial.cost
