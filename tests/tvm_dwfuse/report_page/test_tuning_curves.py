"""The tuning curves are those of the kernels that were chosen, with the trials of the database in their order."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.tvm_dwfuse.report_page.builds import choice, cluster_manifest, cpu_manifest, group
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.report_page.of_cluster import cluster_kernels
from tvm_dwfuse.report_page.of_cpu import cpu_kernels
from tvm_dwfuse.report_page.tuning_curves import tuning_curves
from tvm_dwfuse.space import Space
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.task import canonical_key
from tvm_dwfuse.tuning.template import trace_at

SPACE = Space({"depth": tuple(range(10))}, {"depth": 0})


def key(at: int, **changes: object) -> str:
    """The task of that kernel of the artifact."""
    step = choice().steps[at]
    fields = {
        "cpu": "znver4",
        "isa": "x86_64/16x32",
        "threads": 1,
        "variant": step.variant or "pw",
        "source": None,
        "dtype": "float32",
        "shape": step.block,
        "unit": "seconds",
    }
    return canonical_key({**fields, **changes})


def fill(folder: Path, tasks: dict[str, list[float | None]]) -> Path:
    database = TuningDatabase(folder)
    for task, costs in tasks.items():
        for depth, cost in enumerate(costs):
            measured = Measurement((), "crash: it did") if cost is None else Measurement((cost,))
            database.add(task, trace_at(SPACE, task, {"depth": depth}), measured)
    return folder


def test_curves_of_the_chosen_kernels(tmp_path: Path) -> None:
    tasks: dict[str, list[float | None]] = {
        key(1): [3e-4, None, 2e-4, 2.5e-4],
        key(0): [1e-5],
        key(0, threads=2): [1e-6],
        key(0, variant="dw"): [1e-7],
        canonical_key({"cluster": "gap8", "unit": "cycles"}): [5.0],
    }
    found = tuning_curves(fill(tmp_path / "db", tasks), cpu_kernels(cpu_manifest(choice())))
    assert [[trial.cost for trial in curve.trials] for curve in found.curves] == [tasks[key(0)], tasks[key(1)]]
    assert [curve.name for curve in found.curves] == [
        "k00_pw: pw 12x10 8-8",
        "k01_pwdwpw: pwdwpw_hwc_hwc_hwc_rows 12x10 8-16-16-8",
    ]
    assert found.others == 1
    assert found.curves[1].unit.text(2e-4) == "200.0"


def test_curves_of_a_cluster(tmp_path: Path) -> None:
    stages = json.loads(json.dumps([asdict(Conv(8, 16))]))
    size = {"height": 12, "width": 10, "stages": stages}
    groups = tuple(
        group(at, "pw", 1, ("x",), "y", shape={**size, "layouts": ["hwc", layout]})
        for at, layout in enumerate(("hwc", "chw", "chw"))
    )
    fields = {"cluster": "gap8", "variant": "unfused", "layouts": ["hwc", "chw"], "shape": size, "unit": "cycles"}
    tasks: dict[str, list[float | None]] = {
        canonical_key(fields): [9.0, 8.0],
        canonical_key({**fields, "layouts": ["chw", "chw"]}): [7.0],
        canonical_key({**fields, "cluster": "pulp-open"}): [6.0],
        key(0): [5.0],
    }
    found = tuning_curves(fill(tmp_path / "db", tasks), cluster_kernels(cluster_manifest(groups)))
    assert [curve.name for curve in found.curves] == ["g01_pw and 1 more: unfused 12x10 8-16"]
    assert found.curves[0].best == (9.0, 8.0)
    assert found.others == 1


def test_costs_in_another_unit_keep_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "db", {key(0, unit="instructions"): [1234.0]})
    (curve,) = tuning_curves(folder, cpu_kernels(cpu_manifest(choice()))).curves
    assert (curve.unit.name, curve.unit.text(1234.0)) == ("instructions", "1,234")


def test_keys_of_others_are_left_out(tmp_path: Path) -> None:
    folder = fill(tmp_path / "db", {json.dumps({"something": "else"}): [1.0]})
    assert tuning_curves(folder, cpu_kernels(cpu_manifest(choice()))).curves == ()


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="no tuning database"):
        tuning_curves(tmp_path, cpu_kernels(cpu_manifest(choice())))
