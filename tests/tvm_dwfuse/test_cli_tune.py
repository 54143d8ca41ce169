"""``dwfuse tune``: what it prints, one line for each mistake, and nothing lost when it is killed."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.tvm_dwfuse.commands import fail, succeed
from tests.tvm_dwfuse.tuning.databases import Warnings
from tvm_dwfuse import api_tune
from tvm_dwfuse.space import Point
from tvm_dwfuse.tuning.measure import Measurement

ROOT = Path(__file__).resolve().parents[2]

#: Seconds that a process may take before it counts as hanging.
LIMIT_S = 120


class QuickRunner:
    """Makes costs up: each candidate takes two milliseconds, and costs more the more its knobs add up to."""

    unit = "seconds"

    def measure(self, task, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        for index, point in enumerate(points):
            time.sleep(0.002)
            yield index, Measurement((1e-6 * (50 + sum(point.values())),))

    def close(self) -> None:
        pass


def tune_quickly(model: str, work_dir: str, trials: str, seed: str) -> None:
    """``tune`` with the runner above; prints a dot for each trial that it tells of."""
    api_tune._make = lambda name, measuring: QuickRunner()
    told = lambda progress: os.write(1, b".")  # noqa: E731
    api_tune.tune(model, work_dir, trials=int(trials), threads=1, seed=int(seed), on_progress=told)


def start(model: Path, work_dir: Path, trials: int, seed: int = 0) -> subprocess.Popen[bytes]:
    """``tune_quickly`` in a process that may be killed; a new one, as forks of one with OpenMP's threads hang."""
    code = "import sys; from tests.tvm_dwfuse.test_cli_tune import tune_quickly; tune_quickly(*sys.argv[1:])"
    arguments = [str(each) for each in (model, work_dir, trials, seed)]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE)


def killed_after(process: subprocess.Popen[bytes], trials: int, seconds: float = 0.0) -> int:
    """Wait until so many trials are told of, and so long besides, kill the process; the trials that it told of."""
    told = len(process.stdout.read(trials))
    time.sleep(seconds)
    process.kill()
    return told + len(process.communicate(timeout=LIMIT_S)[0])


def on_record(folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Task and point of each trial; what the database warns of fails the test, but for a line that was cut off."""
    warnings = Warnings()
    database = warnings.open(folder)
    trials = [(key, tuple(trial.point.values())) for key in database.keys() for trial in database.trials(key)]  # noqa: SIM118
    assert all("cut off in the middle" in warning for warning in warnings)
    return trials


@pytest.fixture
def model(make_onnx: Callable[..., Path]) -> Path:
    return make_onnx(pointwise_only=True)


def test_a_network_is_tuned_and_compiled_with_what_was_found(model: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "db"
    text = succeed("tune", model, "--work-dir", work_dir, "--trials", "6", "--threads", "1")
    assert "6 trials in " in text
    assert text.endswith(f"compile with --db {work_dir}\n")
    assert len(set(on_record(work_dir))) == 6
    assert "0 trials in " in succeed("tune", model, "--work-dir", work_dir, "--trials", "6", "--threads", "1")
    assert "kernels: 2, 2 of them tuned" in succeed("explain", model, "--db", work_dir, "--threads", "1")


def test_killed_at_any_moment_it_loses_the_trial_in_flight_at_most(model: Path, tmp_path: Path) -> None:
    generator, trials, work_dir = random.Random(1), 200, tmp_path / "db"
    before: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(4):
        told = killed_after(start(model, work_dir, trials), 1 + generator.randrange(20), generator.uniform(0, 0.05))
        now = on_record(work_dir)
        assert set(before) <= set(now)
        assert len(before) + told <= len(now) <= len(before) + told + 1
        before = now
    last = start(model, work_dir, trials)
    last.communicate(timeout=LIMIT_S)
    assert last.returncode == 0
    after = on_record(work_dir)
    assert set(before) <= set(after)
    assert len(after) == len(set(after)) == trials


def test_two_processes_tune_into_one_folder(model: Path, tmp_path: Path) -> None:
    processes = [start(model, tmp_path / "db", 30, seed) for seed in (1, 2)]
    for process in processes:
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
    warnings = Warnings()
    database = warnings.open(tmp_path / "db")
    assert warnings == []
    assert 30 <= len(on_record(tmp_path / "db")) <= 60
    assert all(database.best(key) for key in database.keys())  # noqa: SIM118


_INTERRUPTED = """
import os, signal, sys
from tests.tvm_dwfuse import test_cli_tune
from tvm_dwfuse import api_tune
from tvm_dwfuse.cli import main

class Interrupted(test_cli_tune.QuickRunner):
    def measure(self, task, points):
        for number, each in enumerate(super().measure(task, points)):
            if number == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield each

api_tune._make = lambda name, measuring: Interrupted()
main()
"""


def test_an_interrupt_ends_in_one_line_that_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    arguments = ["tune", str(model), "--work-dir", str(tmp_path / "db"), "--threads", "1"]
    result = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert result.returncode == 130, result.stderr
    assert result.stdout == ""
    assert result.stderr == (
        f"stopped: the trials so far are on record in {tmp_path / 'db'}; the same command goes on\n"
    )
    assert len(on_record(tmp_path / "db")) >= 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runner", "oven"], "unknown runner 'oven'; known: local, rpc, count, gvsoc, model"),
        (["--runner", "rpc"], "needs both --rpc-tracker HOST:PORT and --key"),
        (["--runner", "rpc", "--rpc-tracker", "127.0.0.1:1"], "needs both --rpc-tracker HOST:PORT and --key"),
        (["--runner", "model"], "runner 'model': not for target host"),
        (["--key", "pi4"], "does not use a tracker"),
        (["--target", "cortex-a72", "--runner", "local"], "not this machine"),
        (["--target", "gap8", "--runner", "model"], "quantize"),
        (["--target", "gap8", "--runner", "local"], "runner 'local': not for target gap8"),
        (["--target", "nowhere"], "unknown target 'nowhere'"),
    ],
)
def test_mistakes_are_told_in_one_line(options: list[str], words: str, model: Path, tmp_path: Path) -> None:
    assert words in fail("tune", model, "--work-dir", tmp_path / "db", *options)


def test_xgboost_is_asked_for(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(api_tune, "find_spec", lambda name: None if name == "xgboost" else find(name))
    assert "pip install tvm-dwfuse[tune]" in fail("tune", model, "--work-dir", tmp_path / "db")
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/db"])
def test_a_folder_that_cannot_be_written_is_refused_early(place: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / place) in fail("tune", model, "--work-dir", tmp_path / place)


def test_a_missing_model_is_told(tmp_path: Path) -> None:
    assert "none.onnx" in fail("tune", tmp_path / "none.onnx", "--work-dir", tmp_path / "db")
