"""The training script: a whole run as a program of its own; short ones, and what cannot run, within this process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from tvm_dwfuse.terminal import told_in_one_line

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_digits.py"


def train(*options: object) -> Result:
    spec = importlib.util.spec_from_file_location("train_digits", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    app = typer.Typer()
    app.command()(told_in_one_line(script.main))
    return CliRunner().invoke(app, list(map(str, options)))


def needs_scikit_learn() -> None:
    pytest.importorskip("sklearn", reason="install the extra 'train'")


def test_both_ways_learn_alike(tmp_path: Path) -> None:
    needs_scikit_learn()
    command = [sys.executable, SCRIPT, "--compare", "--json", tmp_path / "runs.json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "runs.json").read_text())
    ours, theirs = report["runs"]
    assert ours["recipe"]["depthwise"]
    assert not theirs["recipe"]["depthwise"]
    assert min(run["accuracy"] for run in (ours, theirs)) >= 0.97
    assert ours["losses"][-1] < 0.05 * ours["losses"][0]
    assert ours["losses"][:3] == pytest.approx(theirs["losses"][:3], rel=1e-4)
    assert report["disagreement"] <= 1e-3
    assert f"20          {ours['losses'][-1]:.5f}" in result.stdout
    assert f"dwfuse: {ours['accuracy']:.2%} of 360 held-out digits" in result.stdout


def test_one_way() -> None:
    needs_scikit_learn()
    result = train("--epochs", 2, "--no-dwfuse", "--batch", 64)
    assert result.exit_code == 0, result.output
    header, _, first, second, accuracy = result.stdout.splitlines()
    assert header == "epoch  loss, TVM"
    assert float(second.split()[1]) < float(first.split()[1])
    assert accuracy.startswith("TVM: ")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch", 1438], "error: batch: 1438 images asked for, but there are only 1437"),
        (["--threads", 4096], "error: threads: 4096 asked for"),
        (["--compare", "--no-dwfuse"], "error: --compare trains both ways"),
        (["--json", "/nowhere/x.json"], "error: /nowhere/x.json: cannot be written"),
    ],
)
def test_bad_options(options: list[object], words: str) -> None:
    needs_scikit_learn()
    result = train(*options)
    assert result.exit_code == 2
    assert result.stderr.startswith(words)
    assert result.stderr.count("\n") == 1


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    result = train()
    assert result.exit_code == 2
    assert result.stderr == "error: training on digits needs scikit-learn: pip install 'tvm-dwfuse[train]'\n"
