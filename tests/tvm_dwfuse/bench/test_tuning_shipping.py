"""Databases that are shipped: small, and networks are compiled by them as by all that was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm

import relay_passes
from relay_passes.choose_fusion import FusionPlanner
from relay_passes.price_candidates import KernelPrices
from tests.tvm_dwfuse.conftest import separable_model
from tvm_dwfuse.api import import_model
from tvm_dwfuse.bench.tuning_shipping import ship_cpu, shipped_name, worth_shipping
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.records import Records, Source
from tvm_dwfuse.tuning.scope import NetworkScope
from tvm_dwfuse.tuning.template import trace_at

X86 = CpuTarget("avx512", "znver4", lanes=16, registers=32, cores=2)


@pytest.fixture(scope="module")
def module() -> tvm.IRModule:
    return import_model(separable_model(), None)


@pytest.fixture(scope="module")
def scope(module: tvm.IRModule) -> NetworkScope:
    return NetworkScope([module], X86)


def add(database: TuningDatabase, task, point, cost: float) -> None:
    database.add(task.key, trace_at(task.space, task.key, point), Measurement((cost,)), X86.tvm_target())


def another(task):
    return next(point for point in task.space.points() if point != task.space.default)


def chosen(module: tvm.IRModule, folder: Path) -> list[tuple[str, object]]:
    prices = KernelPrices(X86, 1, Records([Source("shipped", TuningDatabase(folder))]))
    canonical = tvm.transform.Sequential(relay_passes.canonicalize_passes())(module)
    return [(kernel.candidate.name, kernel.price.knobs) for kernel in FusionPlanner(prices).plan(canonical).kernels]


@pytest.mark.parametrize("cheap", ["pw", "dwpw_hwc_hwc_hwc_rows", "pwdw_hwc_hwc_hwc_rows", "pwdwpw_hwc_hwc_hwc_rows"])
def test_the_same_kernels_are_chosen_by_fewer_records(
    cheap: str, module: tvm.IRModule, scope: NetworkScope, tmp_path: Path
) -> None:
    database = TuningDatabase(tmp_path / "db")
    for task in scope.tasks:
        cost = 1e-6 if task.describe().startswith(cheap) else 9e-6
        add(database, task, task.space.default, cost)
        add(database, task, another(task), cost / 2)
    count = ship_cpu([module], scope, X86, 1, database, tmp_path / "shipped")
    assert chosen(module, tmp_path / "shipped") == chosen(module, tmp_path / "db")
    assert count == len(TuningDatabase(tmp_path / "shipped").keys()) < len(scope.tasks)


def test_a_point_that_gains_little_is_not_shipped(scope: NetworkScope, tmp_path: Path) -> None:
    database, task = TuningDatabase(tmp_path), scope.tasks[0]
    assert worth_shipping(database, task) is None
    add(database, task, task.space.default, 1e-3)
    add(database, task, another(task), 0.995e-3)
    assert worth_shipping(database, task) == (task.space.default, 1e-3)
    add(database, task, another(task), 0.9e-3)
    assert worth_shipping(database, task) == (another(task), 0.9e-3)


def test_folders_are_named_by_the_instruction_set() -> None:
    assert shipped_name(CpuTarget("any", "cortex-a72", 4, 32, 4, triple="aarch64-linux-gnu")) == "aarch64-4x32"
