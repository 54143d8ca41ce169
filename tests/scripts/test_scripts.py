from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["scripts/quickstart", "scripts/test", "scripts/environment.sh", ".ci/run"])
def test_shell_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", ROOT / name], check=True)


def test_ci_runs_scripts_test() -> None:
    assert 'exec "$(dirname "$0")/../scripts/test"' in (ROOT / ".ci" / "run").read_text()


def test_a_wrong_python_is_named_before_anything_is_made(tmp_path: Path) -> None:
    script = f"cd {tmp_path}; cp {ROOT}/setup.py .; . {ROOT}/scripts/environment.sh; prepare venv test"
    command = ["bash", "-c", script, "scripts/test"]
    result = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "PYTHON": "/no/python"}, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: Python 3.10 or newer is needed")
    assert not (tmp_path / "venv").exists()


def test_bench_host_writes_json_and_markdown(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "bench_host.py", "--models", "ds_cnn_s", "--threads", "1"]
    command += ["--against", "onnxruntime", "--rounds", "1"]
    command += ["--json", tmp_path / "bench.json", "--markdown", tmp_path / "bench.md"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["machine"]["date"]
    (network,) = content["results"]
    assert [row["engine"] for row in network["rows"]] == ["dwfuse", "dwfuse-unfused", "onnxruntime"]
    assert "| ds_cnn_s | 1 |" in (tmp_path / "bench.md").read_text()
    assert content["builds"][0]["load_s"] < 1
    assert "\nds_cnn_s  " in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--models", "mobilenet_v9"], "--models: unknown name"), (["--threads", "4096"], "threads: 4096")],
)
def test_bench_host_bad_options(options: list[str], words: str) -> None:
    command = [sys.executable, ROOT / "scripts" / "bench_host.py", *options]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {words}")
