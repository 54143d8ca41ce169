"""The scripts that tune the zoo and measure what that brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)


def test_the_zoo_is_tuned_gone_on_with_and_shipped(tmp_path: Path) -> None:
    command = [SCRIPTS / "tune_zoo.py", "--work-dir", tmp_path / "work", "--targets", "gap8", "--networks", "ds_cnn_s"]
    command += ["--runner", "model", "--trials", "30", "--ship", "--into", tmp_path / "tuned"]
    first, second = run(*command), run(*command)
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout.startswith("gap8: best ")
    assert "\n30 trials in " in first.stdout
    assert "\n0 trials in " in second.stdout
    assert f"wrote {tmp_path / 'tuned' / 'gap8'}: " in first.stdout
    assert (tmp_path / "tuned" / "gap8" / "database_tuning_record.json").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["tune_zoo.py", "--work-dir", "db", "--targets", "nowhere"], "--targets: unknown name 'nowhere'"),
        (["bench_tuning.py", "--enumerate", "ds_cnn_s"], "give NETWORK:KERNEL"),
        (["bench_tuning.py", "--db", "/nowhere"], "/nowhere: holds no tuning database"),
    ],
)
def test_bad_options_are_told_in_one_line(command: list[str], words: str) -> None:
    result = run(SCRIPTS / command[0], *command[1:])
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
