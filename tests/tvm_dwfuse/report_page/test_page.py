"""The page and its pictures: every block with its numbers, nothing from outside, readable without seeing it."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.tvm_dwfuse.report_page.builds import choice, cluster_manifest, cpu_manifest, group, write_cluster, write_cpu
from tests.tvm_dwfuse.report_page.html_reader import Page
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.report_page import write_build_report
from tvm_dwfuse.report_page.of_cluster import cluster_build

Image = pytest.importorskip("PIL.Image", reason="needs matplotlib: pip install matplotlib")
cost_charts = pytest.importorskip("tvm_dwfuse.report_page.bars").cost_charts
picture_charts = pytest.importorskip("tvm_dwfuse.report_page.picture").picture_charts


@dataclass(frozen=True)
class Written:
    """A report: its files and the page read."""

    files: list[Path]
    html: str
    page: Page


def written(build: Path) -> Written:
    files = write_build_report(build, build.parent / "report.html")
    html = files[0].read_text()
    return Written(files, html, Page(html))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(write_cluster(tmp_path_factory.mktemp("cluster") / "build"))


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(write_cpu(tmp_path_factory.mktemp("cpu") / "build"))


@pytest.fixture(params=["cluster", "cpu"])
def report(request: pytest.FixtureRequest) -> Written:
    """Both."""
    return request.getfixturevalue(request.param)


def test_every_group_with_its_numbers(cluster: Written) -> None:
    choices = {row[0]: row for row in cluster.page.tables["Blocks: what was chosen, and what else there was"]}
    memory = {row[0]: row for row in cluster.page.tables["Blocks: bytes moved and kept"]}
    for number, found in enumerate(cluster_manifest().groups):
        row = choices[f"{number} {found.name}"]
        assert row[2] == f"{found.variant} {found.tile}; {found.origin}"
        assert row[3] == f"{found.cycles:,}"
        assert all(layer in row[1] for layer in found.layers)
        row = memory[f"{number} {found.name}"]
        assert all(f"{name} {size:,}" in row[1] for name, size in found.buffers.items())
        moved = (found.activation_bytes, found.constant_bytes, found.l3_bytes)
        assert row[2:7] == [f"{n:,}" for n in (sum(found.buffers.values()), *moved, sum(moved))]
    assert choices["0 g00_pw"][4:] == ["\N{EN DASH}", "10 (+20.0%) \N{MINUS SIGN}4 bytes: pwdw, over 3 layers"]
    assert choices["1 g01_pwdw"][4] == "81,000 fusing: \N{MINUS SIGN}12.3%"
    assert memory["1 g01_pwdw"][7] == "19,000"
    assert choices["total"][3] == f"{cluster_manifest().cycles:,}"


def test_every_kernel_with_its_numbers(cpu: Written) -> None:
    header, alone, fused, total = cpu.page.tables["Blocks: what was chosen, and what else there was"]
    assert header[3:] == ["Cost, us", "Unfused, us", "Runner-up adds"]
    assert alone[3:] == ["10.0", "\N{EN DASH}", "\N{EN DASH}"]
    assert fused[2] == "pwdwpw_hwc_hwc_hwc_rows depth 2, rows0 1; tuned (db/)"
    assert fused[3:] == [
        "40.0",
        "60.0 fusing: \N{MINUS SIGN}33.3%",
        "5.0 (+12.5%) +0 bytes: pwdw_hwc_hwc_hwc_rows + pw",
    ]
    assert total[3:5] == ["50.0", "70.0"]
    _, chosen, unfused, everything = cpu.page.tables["The whole network"]
    assert chosen[1:] == ["50.0", "\N{EN DASH}", "40,000", "\N{EN DASH}"]
    assert unfused[1:] == ["70.0", "\N{MINUS SIGN}28.6%", "110,000", "\N{MINUS SIGN}63.6%"]
    assert everything[1:3] == ["55.0", "\N{MINUS SIGN}9.1%"]
    _, alone, fused, _ = cpu.page.tables["Blocks: bytes moved and kept"]
    assert (alone[2:], fused[2:]) == (["0", "20,000", "\N{EN DASH}"], ["7,000", "20,000", "90,000"])


def test_nothing_comes_from_outside(report: Written) -> None:
    assert not re.search(r"(https?:)?//\w|url\(|@import", re.sub(r"data:[^\"]*", "", report.html))
    assert {tag for tag, _ in report.page.tags} & {"script", "link", "iframe", "object"} == set()
    assert all(uri.startswith("data:image/svg+xml;base64,") for uri in report.page.attributes("src"))
    anchors = {f"#{name}" for name in report.page.attributes("id")}
    assert set(report.page.attributes("href")) <= anchors


def test_pictures_are_whole_and_said_in_words(report: Written) -> None:
    assert len(report.page.images) == len(report.files) - 1 >= 4
    for image in report.page.images:
        assert len(image["alt"] or "") > 40
        svg = base64.b64decode((image["src"] or "").partition(",")[2])
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert not re.search(rb"href=\"(?!#)", svg)


def test_png_files_can_be_decoded(report: Written) -> None:
    for path in report.files[1:]:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width == 1440
            assert len(image.convert("RGB").getcolors(1 << 20)) > 5


def test_structure_for_screen_readers(report: Written) -> None:
    tags = [tag for tag, _ in report.page.tags]
    assert ("html", {"lang": "en"}) in report.page.tags
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("caption") == tags.count("table")
    scopes = report.page.attributes("scope")
    assert len(scopes) == tags.count("th")
    labels = report.page.attributes("aria-labelledby")
    assert set(labels) <= set(report.page.attributes("id"))
    assert len(labels) == tags.count("section")


def test_names_are_escaped(tmp_path: Path) -> None:
    groups = (group(0, "pw", 1, ("x",), "y", layers=("<script>alert(1)</script>&",)),)
    report = written(write_cluster(tmp_path / "build", cluster_manifest(groups)))
    assert "toy & co" in "".join(report.page.text)
    assert "<script" not in report.html
    assert "<script>alert(1)</script>&" in "".join(report.page.text)


def test_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    build = write_cpu(tmp_path / "build")
    here = [path.read_bytes() for path in write_build_report(build, tmp_path / "r.html")]
    code = "import sys; from pathlib import Path; from tvm_dwfuse.report_page import write_build_report\n"
    code += "write_build_report(Path(sys.argv[1]), Path(sys.argv[2]))"
    there = tmp_path / "there"
    there.mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, build, there / "r.html"], check=True, env=environment)
    names = [path.name for path in tmp_path.glob("r*.*")]
    assert sorted(path.name for path in there.iterdir()) == sorted(names)
    assert sorted(path.read_bytes() for path in there.iterdir()) == sorted(here)


def test_a_long_network_is_in_parts_that_fit_a_sheet() -> None:
    groups = tuple(group(at, "pwdw", 2, (f"t{at}",), f"t{at + 1}") for at in range(45))
    build = cluster_build(cluster_manifest(groups))
    for charts, count in ((cost_charts(build), 2), (picture_charts(build), 1)):
        found = list(charts)
        assert len(found) == count
        for chart in found:
            width, height = chart.figure.get_size_inches()
            assert width == 7.2
            assert height <= 10


def test_charts_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    build = write_cpu(tmp_path / "build")
    assert {path.name for path in written(build).files} > {"report-cost-1.png"}
    (tmp_path / "report-of-mine.png").write_bytes(b"")
    (build / "manifest.json").write_text(cpu_manifest(None).to_json())
    written(build)
    assert {path.name for path in tmp_path.glob("report*")} == {"report.html", "report-of-mine.png"}


def test_an_artifact_of_before(tmp_path: Path) -> None:
    report = written(write_cpu(tmp_path / "build", cpu_manifest(None)))
    assert len(report.files) == 1
    assert "Compile the model again" in "".join(report.page.text)


def test_a_network_of_which_nothing_is_fused(tmp_path: Path) -> None:
    made = choice()
    alone = replace(made, steps=made.steps[:1])
    report = written(write_cpu(tmp_path / "build", cpu_manifest(alone)))
    assert "0 of 1 blocks are fused" in "".join(report.page.text)
    assert not any("buffers" in path.name for path in report.files)


# Faults.


def bad_folders(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    damaged = write_cpu(tmp_path / "damaged")
    (damaged / "manifest.json").write_text("{")
    gutted = write_cluster(tmp_path / "gutted")
    (gutted / "manifest.json").write_text('{"kind": "application"}')
    old = write_cluster(tmp_path / "old", replace(cluster_manifest(), tvm_dwfuse="0.0.1"))
    options = {**cluster_manifest().options, "target": "moon"}
    foreign = write_cluster(tmp_path / "foreign", replace(cluster_manifest(), options=options))
    yield foreign, "damaged manifest"
    yield tmp_path / "nowhere", "no such folder"
    yield tmp_path / "file", "no such folder"
    yield tmp_path / "empty", "not an artifact"
    yield damaged, "damaged manifest"
    yield gutted, "damaged manifest"
    yield old, "made by tvm_dwfuse 0.0.1"


def test_what_is_no_build(tmp_path: Path) -> None:
    for folder, words in bad_folders(tmp_path):
        with pytest.raises(DwfuseError, match=words):
            write_build_report(folder, tmp_path / "report.html")
    assert not list(tmp_path.glob("report*"))


def test_no_profile_of_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="cannot profile"):
        write_build_report(write_cluster(tmp_path / "build"), tmp_path / "report.html", profile=True)


def test_no_report_without_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tvm_dwfuse.report_page.find_spec", lambda name: None)
    with pytest.raises(DwfuseError, match="pip install"):
        write_build_report(write_cluster(tmp_path / "build"), tmp_path / "report.html")
