from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tvm_dwfuse import DwfuseError, linker


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CC", "CXX", "AARCH64_CC", "AARCH64_CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_says_how_to_get_a_compiler() -> None:
    with pytest.raises(DwfuseError, match=r"no C\+\+ compiler found .*apt-get install g\+\+"):
        linker.command()


def test_ziglang_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "ziglang" else None)
    assert linker.command() == [sys.executable, "-m", "ziglang", "cc"]


def test_path_comes_before_ziglang_and_cxx_before_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gcc = executable(tmp_path / "gcc", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert linker.command() == [str(gcc)]
    monkeypatch.setenv("CXX", "ccache clang++")
    assert linker.command() == ["ccache", "clang++"]


def test_failure_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executable(tmp_path / "g++", "echo first >&2; echo no space left >&2; exit 3")
    with pytest.raises(DwfuseError, match=r"g\+\+: linking failed with status 3: no space left$"):
        linker.link(str(tmp_path / "out.so"), [])
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with pytest.raises(DwfuseError, match="/no/such/compiler: cannot be run to link with"):
        linker.link(str(tmp_path / "out.so"), [])


def test_a_cross_compiler_is_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executable(tmp_path / "g++", "")
    monkeypatch.setenv("CXX", "clang++")
    with pytest.raises(DwfuseError, match=r"no cross compiler found .*apt-get install gcc-aarch64-linux-gnu"):
        linker.command("aarch64")
    assert linker.command("x86_64") == ["clang++"]


def test_order_of_cross_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "ziglang" else None)
    assert linker.command("aarch64") == [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu"]
    for name in ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"):
        path = executable(tmp_path / name, "")
        assert linker.command("aarch64") == [str(path)]
    for name in ("AARCH64_CC", "AARCH64_CXX"):
        monkeypatch.setenv(name, f"ccache {name}")
        assert linker.command("aarch64") == ["ccache", name]


def test_failure_of_a_cross_compiler_names_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AARCH64_CXX", "/no/such/compiler")
    with pytest.raises(DwfuseError, match=r"/no/such/compiler: cannot be run .* set AARCH64_CXX to"):
        linker.link(str(tmp_path / "out.so"), [], arch="aarch64")
