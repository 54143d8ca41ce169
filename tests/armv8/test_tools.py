from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_dwfuse.armv8 import tools
from tvm_dwfuse.errors import DwfuseError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (tools.cross_compiler, "no aarch64-linux-gnu-gcc: `apt-get install gcc-aarch64-linux-gnu`"),
        (tools.qemu, "no qemu-aarch64: `apt-get install qemu-user`"),
        (tools.llvm_mca, "no llvm-mca-19: `apt-get install llvm-19`"),
        (
            lambda: tools.binutil("objdump"),
            "no aarch64-linux-gnu-objdump: `apt-get install binutils-aarch64-linux-gnu`",
        ),
    ],
)
def test_a_missing_tool_names_its_package(
    find: Callable[[], object], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tools._find.cache_clear()
    try:
        with pytest.raises(DwfuseError) as raised:
            find()
    finally:
        tools._find.cache_clear()
    assert str(raised.value) == message


def test_a_missing_tool_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/bench_armv8.py", "--quick"]
    environment = {**os.environ, "PATH": str(tmp_path)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: no aarch64-linux-gnu-gcc: `apt-get install gcc-aarch64-linux-gnu`\n"


def test_an_unknown_target_is_told() -> None:
    with pytest.raises(DwfuseError, match="--target gap8: not an ARMv8 target; there are cortex-a53, "):
        tools.arm_core("--target", "gap8")
    assert tools.arm_core("--target", "kunpeng-920").mcpu == "tsv110"


def test_cores_that_qemu_does_not_have() -> None:
    assert tools.qemu_cpu("cortex-a72") == "cortex-a72"
    assert tools.qemu_cpu("tsv110") == "max"
