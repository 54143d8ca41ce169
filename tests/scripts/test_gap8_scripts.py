"""The drivers for clusters, on the smallest network of the zoo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(name: str, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / name, *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_bench_gap8(tmp_path: Path) -> None:
    options = ["--modes", "baseline,unfused,unfused traffic,pwdw_hwc_chw_hwc_rows,traffic,latency"]
    files = ["--json", tmp_path / "bench.json", "--markdown", tmp_path / "bench.md"]
    result = run("bench_gap8.py", "--models", "ds_cnn_s", *options, *files)
    assert result.returncode == 0, result.stderr
    rows = {row["mode"]: row for row in json.loads((tmp_path / "bench.json").read_text())["rows"]}
    assert {row["source"] for row in rows.values()} <= {"model", "gvsoc"}
    assert rows["latency"]["cycles"] == min(row["cycles"] for row in rows.values())
    moved = {mode: row["l2_l1_activation_bytes"] for mode, row in rows.items()}
    assert moved["traffic"] == min(moved.values()) < moved["unfused traffic"] <= moved["unfused"]
    assert f"{rows['traffic']['cycles']:,}" in result.stdout
    assert "| baseline |" in (tmp_path / "bench.md").read_text()


def test_build_gap8(tmp_path: Path) -> None:
    result = run("build_gap8.py", "--models", "ds_cnn_s,mobilenet_v3_small_1.0_224", "-o", tmp_path)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("ds_cnn_s "))
    application = json.loads((tmp_path / "ds_cnn_s" / "application.json").read_text())
    golden = list((tmp_path / "ds_cnn_s" / application["golden"]).iterdir())
    assert int(row.split()[-1]) >= len(golden) > 5
    assert lines[-1].startswith("failed: mobilenet_v3_small_1.0_224: ")
    assert not (tmp_path / "mobilenet_v3_small_1.0_224").exists()


def test_unknown_names() -> None:
    for script in ("bench_gap8.py", "build_gap8.py"):
        result = run(script, "--models", "mobilenet_v9")
        assert result.returncode == 1
        assert "failed: mobilenet_v9: no zoo model named 'mobilenet_v9'" in result.stdout


def test_compare_choices() -> None:
    result = run("compare_choices.py", "--models", "ds_cnn_s", "--objectives", "traffic,memory")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("ds_cnn_s ")]
    assert len(rows) == 2 * 5
    assert {row[1] for row in rows} == {"traffic", "memory"}
    assert run("compare_choices.py", "--objectives", "beauty").returncode == 2
