"""The example program: what it says of mistakes, and that it runs for another machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.codegen_c.libraries import Network, Ports, needs_cross_tools, zoo_network
from tvm_dwfuse.armv8 import tools
from tvm_dwfuse.codegen_c import run_example, write_c_library
from tvm_dwfuse.errors import DwfuseError

FILES = ["x", "y", "0", "1", "2", "3", "4", "5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = Network("ports", Ports)
    where = tmp_path_factory.mktemp("ports")
    write_c_library(network.lowered, network.manifest, network.machine, where)
    return where


@pytest.fixture
def example(folder: Path, tmp_path: Path) -> list[str]:
    """The command to which only mistakes have to be added; its inputs are there."""
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(bytes(96))
    return [str(folder / "example")]


def run(line: list[str], where: Path) -> tuple[int, str]:
    result = subprocess.run(line, cwd=where, capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


def test_tells_the_time_and_writes_all_outputs(example: list[str], tmp_path: Path) -> None:
    result = subprocess.run([*example, *FILES, "--runs", "3"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("runs 3, median ")
    assert [(tmp_path / name).stat().st_size for name in FILES[2:]] == [96, 96, 96, 48, 96, 40]
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("size", "told"), [(95, "x: is too short for input x float32[1, 4, 6], 96 bytes"), (97, "x: is too long for input")]
)
def test_files_of_another_size(size: int, told: str, example: list[str], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(size))
    status, message = run([*example, *FILES], tmp_path)
    assert status == 2
    assert message.startswith(told)
    assert message.count("\n") == 1
    assert not (tmp_path / "0").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (FILES[:7], "7 files given, 8 expected\nusage: "),
        ([*FILES, "more"], "more: one file too many\nusage: "),
        ([*FILES, "--fast"], "--fast: no such option\nusage: "),
        ([*FILES, "--runs"], "--runs : expected a number from 1 to 1000000\n"),
        ([*FILES, "--runs", "2x"], "--runs 2x: expected a number from 1 to 1000000\n"),
        ([*FILES, "--runs", "0"], "--runs 0: expected a number from 1 to 1000000\n"),
        ([*FILES, "--threads", "-1"], "--threads -1: expected a number from 1 to 1024\n"),
        (["missing", *FILES[1:]], "missing: cannot be read (No such file or directory)\n"),
        ([*FILES[:7], "nowhere/5"], "nowhere/5: cannot be written (No such file or directory)\n"),
    ],
)
def test_mistakes(arguments: list[str], told: str, example: list[str], tmp_path: Path) -> None:
    status, message = run([*example, *arguments], tmp_path)
    assert status == 2
    assert message.startswith(told)


def test_runs_under_qemu(tmp_path: Path) -> None:
    needs_cross_tools()
    network = zoo_network("ds_cnn_s", "cortex-a72")
    write_c_library(network.lowered, network.manifest, network.machine, tmp_path)
    (result,) = run_example(tmp_path, network.manifest, network.arrays)
    (expected,) = zoo_network("ds_cnn_s").reference()
    assert np.abs(result - expected).max() <= 1e-5 * np.abs(expected).max()


def test_says_when_the_program_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="has no program 'example'; compile the model again"):
        run_example(tmp_path, Network("ports", Ports).manifest, [])


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = zoo_network("ds_cnn_s", "cortex-a72")
    monkeypatch.setenv("AARCH64_CC", "no-such-compiler")
    with pytest.raises(DwfuseError, match=r"^no-such-compiler: cannot be run .*; set CC or AARCH64_CC"):
        write_c_library(network.lowered, network.manifest, network.machine, tmp_path)
    monkeypatch.delenv("AARCH64_CC")
    monkeypatch.setattr("shutil.which", lambda name: None)
    tools._find.cache_clear()
    with pytest.raises(DwfuseError, match=r"^no aarch64-linux-gnu-gcc: `apt-get install gcc-aarch64-linux-gnu`$"):
        write_c_library(network.lowered, network.manifest, network.machine, tmp_path)
    tools._find.cache_clear()
