from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_depthwise.py"


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, options)], capture_output=True, text=True)


def test_writes_json_and_markdown(tmp_path: Path) -> None:
    files = ["--json", tmp_path / "rows.json", "--markdown", tmp_path / "tables.md"]
    result = bench("--quick", "--layers", "384@3", "--threads", "1", "--batches", "1", *files)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "rows.json").read_text())
    assert content["machine"]["date"]
    engines = Counter(row["engine"] for row in content["rows"])
    assert engines["dwfuse"] == 3
    assert all(count == 3 for count in engines.values())
    assert {"layer", "pass", "threads", "batch", "engine", "median_ms"} <= content["rows"][0].keys()
    assert {row["pass"] for row in content["rows"]} == {"forward", "backward_data", "backward_weight"}
    assert "| forward | 1 | 1 | 3x |" in (tmp_path / "tables.md").read_text()
    assert "\n384@3 " in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "1@1"], "--layers: unknown layer '1@1'; known: all, quick, 32@112"),
        (["--threads", "4096"], "threads: 4096 asked for"),
        (["--threads", "two"], "--threads two: expected positive numbers"),
        (["--batches", "0"], "--batches 0: expected positive numbers"),
        (["--layouts", "NCHW"], "--layouts: unknown name 'NCHW'; known: preferred, both"),
        (["--json", "/no/such/folder/rows.json"], "/no/such/folder/rows.json: cannot be written"),
    ],
)
def test_bad_options(options: list[str], words: str) -> None:
    result = bench(*options)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {words}")
