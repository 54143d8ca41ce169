"""The C kernels built for the host, against numpy over generated geometries, with and without sanitizers."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tvm_dwfuse.codegen_gap8 import kernels

sys.path.insert(0, str(Path(__file__).parent))
import kernel_cases

ROOT = Path(__file__).parents[2]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]


def build(target: Path, *options: str) -> Path:
    sources = [path for path in kernels.kernel_files() if path.suffix == ".c"]
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run(["gcc", *flags, *options, "-o", target, *sources], check=True)
    return target


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(tmp_path_factory.mktemp("kernels") / "kernels.so")))


@pytest.mark.parametrize(("name", "seed"), list(kernel_cases.all_checks()))
def test_agrees_with_numpy(library: ctypes.CDLL, name: str, seed: int) -> None:
    kernel_cases.check(library, name, seed)


def test_no_access_outside_buffers_and_no_undefined_behaviour(tmp_path: Path) -> None:
    sanitized = build(tmp_path / "kernels.so", *SANITIZE)
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(ROOT),
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, kernel_cases.__file__, sanitized]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.skipif(shutil.which("riscv64-unknown-elf-gcc") is None, reason="needs gcc-riscv64-unknown-elf")
@pytest.mark.parametrize("level", ["-O1", "-O3"])
def test_xpulp_form_fits_the_registers(tmp_path: Path, level: str) -> None:
    """Compiled only: the assembler of plain RISC-V does not know the instructions."""
    compiler = ["riscv64-unknown-elf-gcc", "--specs=picolibc.specs", "-march=rv32imc", "-mabi=ilp32", "-std=c99"]
    for source in kernels.kernel_files():
        if source.suffix == ".c":
            options = [level, "-Wall", "-Wextra", "-Werror", "-DDWFUSE_XPULP", "-S", "-o", tmp_path / "kernels.s"]
            subprocess.run([*compiler, *options, source], check=True)


def test_packed_weights_are_zero_filled_to_words() -> None:
    weights = np.arange(1, 1 + 2 * 1 * 2 * 3, dtype=np.int8).reshape(2, 1, 2, 3)
    assert kernels.pack_depthwise_weights(weights).tolist() == [[1, 2, 3, 0, 4, 5, 6, 0], [7, 8, 9, 0, 10, 11, 12, 0]]
    assert kernels.pack_conv_weights(weights).tolist() == [[1, 2, 3, 4, 5, 6, 0, 0], [7, 8, 9, 10, 11, 12, 0, 0]]
