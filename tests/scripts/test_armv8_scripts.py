"""The drivers for ARMv8 cores, on the smallest network of the zoo."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.runners.tools import needs
from tvm_dwfuse import DwfuseError, artifact, linker
from tvm_dwfuse.bench.cross import CrossBuild, ZooNetwork
from tvm_dwfuse.codegen_c import tools

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

needs_arm_tools = needs(
    lambda: linker.command("aarch64"), lambda: tools.compiler("aarch64"), lambda: tools.emulator("aarch64", "generic")
)


def run(name: str, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / name, *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@needs_arm_tools
def test_build_armv8_goes_on_past_a_failure_and_tells_it(tmp_path: Path) -> None:
    taken = tmp_path / "cortex-a53" / "ds_cnn_s"
    taken.mkdir(parents=True)
    (taken / "thesis.txt").touch()
    result = run(
        "build_armv8.py", "--models", "ds_cnn_s", "--targets", "cortex-a53,cortex-a72", "--check", "-o", tmp_path
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert artifact.read(tmp_path / "cortex-a72" / "ds_cnn_s").target.name == "cortex-a72"
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("ds_cnn_s "))
    assert row.split()[1] == "cortex-a72"
    assert 0 <= float(row.split()[-1]) <= 1e-4
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"failed: ds_cnn_s for cortex-a53: {taken}: holds something that is not an artifact")


def test_build_armv8_goes_on_past_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(self: ZooNetwork, target: str, *args: object) -> CrossBuild:
        if target == "cortex-a53":
            raise RuntimeError("Check failed:\nno such register")
        return CrossBuild(self.name, target, 1.0, 1, 1, 4, None)

    monkeypatch.setattr(ZooNetwork, "build", build)
    main = runpy.run_path(str(SCRIPTS / "build_armv8.py"))["main"]
    with pytest.raises(typer.Exit) as exit:
        main("ds_cnn_s", "cortex-a53,cortex-a72")
    assert exit.value.exit_code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split()[:2] == ["ds_cnn_s", "cortex-a72"]
    assert lines[-1] == "failed: ds_cnn_s for cortex-a53: RuntimeError: Check failed: no such register"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": "mobilenet_v9"}, "--models: unknown name 'mobilenet_v9'"),
        ({"models": "ds_cnn_s", "targets": "gap8"}, "--targets: unknown name 'gap8'; known: cortex-a53,"),
        ({"models": "ds_cnn_s", "threads": 65}, "threads: 65 asked for"),
    ],
)
def test_build_armv8_bad_options(options: dict[str, object], words: str) -> None:
    main = runpy.run_path(str(SCRIPTS / "build_armv8.py"))["main"]
    with pytest.raises(DwfuseError, match=re.escape(words)):
        main(**options)
