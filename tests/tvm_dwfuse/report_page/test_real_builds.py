"""``dwfuse report`` of networks that were compiled here, against their manifests and a database of their kernels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.tvm_dwfuse.commands import fail, succeed
from tests.tvm_dwfuse.conftest import INPUT_SHAPE, separable_model
from tests.tvm_dwfuse.report_page.html_reader import Page
from tvm_dwfuse import artifact, compile_application
from tvm_dwfuse import compile as compile_network
from tvm_dwfuse.quantize import quantize
from tvm_dwfuse.report_page.layers import geometry
from tvm_dwfuse.space import Space
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.task import KernelTask
from tvm_dwfuse.tuning.template import trace_at

read_build = pytest.importorskip("tvm_dwfuse.report_page.report").read_build

CHOICES = "Blocks: what was chosen, and what else there was"


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("host") / "build"
    compile_network(separable_model(), threads=1).save(folder)
    return folder


@pytest.fixture(scope="module")
def on_gap8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gap8")
    onnx.save(separable_model(), folder / "net.onnx")
    images = np.random.default_rng(3).standard_normal((8, *INPUT_SHAPE[1:])).astype(np.float32)
    np.savez(folder / "data.npz", x=images)
    quantize(folder / "net.onnx", folder / "data.npz", folder / "int8.onnx")
    compile_application(folder / "int8.onnx", folder / "build")
    return folder / "build"


def read_page(path: Path) -> Page:
    return Page(path.read_text())


def test_an_application(on_gap8: Path, tmp_path: Path) -> None:
    output = succeed("report", on_gap8, "-o", tmp_path / "r.html")
    charts = list(tmp_path.glob("r-*.png"))
    assert output == f"wrote {tmp_path / 'r.html'} and {len(charts)} charts beside it\n"
    rows = {row[0]: row for row in read_page(tmp_path / "r.html").tables[CHOICES]}
    groups = json.loads((on_gap8 / "manifest.json").read_text())["groups"]
    assert len(rows) == len(groups) + 2
    for number, group in enumerate(groups):
        row = rows[f"{number} {group['name']}"]
        assert row[2].startswith(group["variant"])
        assert row[3] == f"{group['cycles']:,}"
        ways = {way["variant"]: way["cycles"] for way in group["alternatives"]}
        if len(group["layers"]) > 1:
            assert row[4].startswith(f"{group['cycles'] + ways['unfused'] - ways[group['variant']]:,} ")
        if group["runner_up"]:
            assert group["runner_up"]["instead"]["variant"].partition(" + ")[0] in row[5]
    assert "1x1 8→16" in rows["0 " + groups[0]["name"]][1]


def test_an_artifact_measured_here(on_host: Path, tmp_path: Path) -> None:
    succeed("report", on_host, "-o", tmp_path / "r.html", "--profile")
    page = read_page(tmp_path / "r.html")
    steps = artifact.read(on_host).choice.steps
    header, *rows, total = page.tables[CHOICES]
    assert header[-1] == "Measured, us"
    for step, row in zip(steps, rows, strict=True):
        assert row[2].startswith(step.variant or "unfused")
        assert row[3] == f"{1e6 * step.costs.latency:,.1f}"
        assert all(name in row[1] for name in step.layers)
        assert float(row[-1].replace(",", "")) > 0
    assert float(total[-1].replace(",", "")) > 0
    measured = {row[0] for row in page.tables["Operators as measured"]}
    assert {step.kernel for step in steps} <= measured


def test_curves_of_its_kernels(on_host: Path, tmp_path: Path) -> None:
    step = artifact.read(on_host).choice.steps[0]
    task = KernelTask(geometry(step.block), step.variant, step.source, host_target(), 1)
    database = TuningDatabase(tmp_path / "db")
    points = [task.space.default, next(point for point in task.space.points() if point != task.space.default)]
    for point, seconds in zip(points, (4e-5, 3e-5), strict=True):
        database.add(task.key, trace_at(task.space, task.key, point), Measurement((seconds,)))
    succeed("report", on_host, "--db", tmp_path / "db", "-o", tmp_path / "r.html")
    _, row = read_page(tmp_path / "r.html").tables["Kernels that were tuned"]
    assert row[0].startswith("k00_")
    assert row[1:] == ["2", "0", "40.0 us", "30.0 us", "\N{MINUS SIGN}25.0%"]
    assert (tmp_path / "r-tuning-1.png").is_file()


def test_a_database_of_other_kernels_is_said_to_be_one(on_gap8: Path, tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path / "db")
    database.add("{}", trace_at(Space({"a": (1, 2)}, {"a": 1}), "{}", {"a": 1}), Measurement((1.0,)))
    (missing,) = read_build(on_gap8, tmp_path / "db").missing
    assert "has no trial of a kernel of this build" in missing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "nowhere/r.html"), "nowhere/r.html: cannot be written"),
        (("-o", "."), "is a folder; name a file"),
        (("-o", "r.html", "--db", "nowhere"), "nowhere: no tuning database"),
        (("-o", "r.html", "--profile"), "leave out --profile"),
    ],
)
def test_one_line_says_what_is_wrong(
    options: tuple[str, ...], words: str, on_gap8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in fail("report", on_gap8, *options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_build(tmp_path: Path) -> None:
    assert "no such folder" in fail("report", tmp_path / "nowhere", "-o", tmp_path / "r.html")
    (tmp_path / "x.onnx").write_bytes(b"")
    assert "error: " in fail("report", tmp_path / "x.onnx", "-o", tmp_path / "r.html")
