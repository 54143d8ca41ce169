"""Files appear together or not at all."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.report_page.output import remove_others, write_together


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_are_there_and_replace_what_was(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_together(tmp_path, {"a": b"new", "b": b"2"})
    assert contents(tmp_path) == {"a": b"new", "b": b"2"}


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write = Path.write_bytes

    def fills_up(path: Path, data: bytes) -> int:
        if path.name == "b":
            write(path, data[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    with pytest.raises(DwfuseError, match="No space left"):
        write_together(tmp_path, {"a": b"new", "b": b"22"})
    assert contents(tmp_path) == {"a": b"old"}


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_bytes(b"1")
    with pytest.raises(DwfuseError, match="is a folder"):
        write_together(tmp_path, {"a": b"new", "b": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert contents(tmp_path / "b") == {"mine": b"1"}


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="cannot be written"):
        write_together(tmp_path / "nowhere", {"a": b""})


def test_only_files_of_that_pattern_are_removed(tmp_path: Path) -> None:
    write_together(
        tmp_path, dict.fromkeys(("r-cost-1.png", "r-cost-2.png", "r-cost-2.png.bak", "my-r-cost-2.png"), b"")
    )
    (tmp_path / "r-cost-3.png").mkdir()
    remove_others(tmp_path, re.compile(r"r-cost-[0-9]+[.]png"), {"r-cost-1.png"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "my-r-cost-2.png",
        "r-cost-1.png",
        "r-cost-2.png.bak",
        "r-cost-3.png",
    ]
