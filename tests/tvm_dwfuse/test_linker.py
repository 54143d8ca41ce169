from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tvm_dwfuse import DwfuseError, linker


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


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
