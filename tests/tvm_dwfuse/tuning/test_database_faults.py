"""A tuning database loses nothing: writers that are killed, two of them at once, full disks, folders that refuse."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tvm.s_tir import meta_schedule as ms

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.tuning import database as database_module
from tvm_dwfuse.tuning import lines
from tvm_dwfuse.tuning.database import FAILURES, RECORDS, WORKLOADS, Trial, TuningDatabase

from .databases import KEY, OTHER, Warnings, add, add_failed, number_of, point, start, succeeded

_FILES = (WORKLOADS, RECORDS, FAILURES)


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in _FILES if (folder / name).exists()}


# Kills


def _slow_write(handle: int, data: memoryview) -> int:
    """A write of a part, so that a kill falls into the middle of a line."""
    time.sleep(2e-4)
    return _WRITE(handle, data[:300])


_WRITE = os.write


def _add_for_ever(folder: Path, first: int, done: int) -> None:
    """Add candidates, every third of them failed, and tell of each that is added by a line into ``done``."""
    lines.os.write = _slow_write  # type: ignore[attr-defined]
    database = TuningDatabase(folder, warn=lambda message: None)
    for number in range(first, 1000):
        key = (KEY, OTHER, f'{{"task":"{number}"}}')[number % 3]
        if number % 2:
            add_failed(database, number, "build: no", key)
        else:
            add(database, number, 1.0 + number, key)
        _WRITE(done, f"{number}\n".encode())


def test_killed_writers_lose_nothing_that_was_added(tmp_path: Path) -> None:
    moments = random.Random(5)
    added: list[int] = []
    torn = 0
    for kills in range(80):
        if kills >= 20 and torn > 3:
            break
        reading, writing = os.pipe()
        first = max(added, default=-1) + 2  # the one that was in flight may be there or not
        writer = start(lambda first=first, writing=writing: _add_for_ever(tmp_path, first, writing))
        os.close(writing)
        with open(reading, encoding="ascii") as told:
            line = told.readline()  # it has begun
            time.sleep(moments.uniform(0, 0.05))
            os.kill(writer, signal.SIGKILL)
            added += [int(text) for text in (line + told.read()).splitlines()]
        os.waitpid(writer, 0)
        torn += any(content and not content.endswith(b"\n") for content in _contents(tmp_path).values())

        warnings = Warnings()
        database = warnings.open(tmp_path)
        found = [number_of(trial.point) for key in database.keys() for trial in database.trials(key)]  # noqa: SIM118
        assert len(found) == len(set(found))
        assert set(added) <= set(found)
        assert len(set(found) - set(added)) <= 20
        assert all("cut off" in message for message in warnings)
    assert torn > 3, "no kill fell into a line"

    warnings = Warnings()
    database = warnings.open(tmp_path)
    add(database, 998, 0.5)
    add_failed(database, 999, "build: no")
    assert database.best(KEY) == Trial(point(998), 0.5)
    warnings.clear()
    assert {number for number in added if number % 6 == 0} <= {
        number_of(trial.point) for trial in warnings.open(tmp_path).trials(KEY) if trial.cost
    }
    ms.database.JSONDatabase(work_dir=str(tmp_path))
    assert warnings == []


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("left", [1, 40, -2])
def test_a_torn_line_is_told_and_cut_off_by_the_next_writer(tmp_path: Path, name: str, left: int) -> None:
    database = TuningDatabase(tmp_path)
    add(database, 0, 2.0)
    add_failed(database, 1, "build: no")
    before = _contents(tmp_path)
    add(database, 2, 1.0, OTHER)
    add_failed(database, 3, "build: no", OTHER)
    after = _contents(tmp_path)
    torn = after[name][: len(before[name]) + left] if left > 0 else after[name][:left]
    for each in _FILES:
        (tmp_path / each).write_bytes(before[each])
    (tmp_path / name).write_bytes(torn)

    warnings = Warnings()
    database = warnings.open(tmp_path)
    assert database.trials(KEY) == [Trial(point(0), 2.0), Trial(point(1), None, "build: no")]
    assert warnings == [f"{tmp_path / name}:2: cut off in the middle; skipped"]
    add(database, 4, 3.0, OTHER)
    add_failed(database, 5, "build: no", OTHER)
    assert len(warnings) == 1
    opened = warnings.open(tmp_path)
    assert opened.trials(OTHER) == [Trial(point(4), 3.0), Trial(point(5), None, "build: no")]
    assert opened.trials(KEY) == database.trials(KEY)
    assert len(warnings) == 1
    assert len(ms.database.JSONDatabase(work_dir=str(tmp_path))) == 2


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    add(TuningDatabase(tmp_path), 0, 2.0)
    for name in (WORKLOADS, RECORDS):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-1])
    warnings = Warnings()
    first, second = warnings.open(tmp_path), warnings.open(tmp_path)
    add(first, 1, 1.0, OTHER)
    add(second, 2, 3.0, OTHER)
    for database in (first, second, warnings.open(tmp_path)):
        assert database.trials(KEY) == [Trial(point(0), 2.0)]
        assert database.trials(OTHER) == [Trial(point(1), 1.0), Trial(point(2), 3.0)]
    assert warnings == []


# Two processes


def _add_many(folder: Path, first: int) -> None:
    """Add 200 candidates, those of each 20 to a task that the other process adds to as well."""
    lines.os.write = _slow_write  # type: ignore[attr-defined]
    warnings = Warnings()
    database = warnings.open(folder)
    for number in range(200):
        add(database, first + number, 1.0 + number, f'{{"task":{number // 20}}}')
    assert warnings == []


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    writers = [start(lambda first=first: _add_many(tmp_path, first)) for first in (0, 200)]
    assert all([succeeded(writer) for writer in writers])
    warnings = Warnings()
    database = warnings.open(tmp_path)
    assert warnings == []
    assert len((tmp_path / WORKLOADS).read_bytes().splitlines()) == 10
    for task in range(10):
        trials = {number_of(trial.point): trial.cost for trial in database.trials(f'{{"task":{task}}}')}
        numbers = range(20 * task, 20 * task + 20)
        assert trials == {first + number: 1.0 + number for first in (0, 200) for number in numbers}
    assert len(ms.database.JSONDatabase(work_dir=str(tmp_path))) == 400


# Full disks and folders that refuse


def _check_full(folder: Path, fill: Callable[[], None], free: Callable[[], None]) -> None:
    """While the disk is full nothing can be added and nothing is lost; afterwards it goes on."""
    warnings = Warnings()
    database = warnings.open(folder)
    add(database, 0, 2.0)
    add_failed(database, 1, "build: no")
    fill()
    before = _contents(folder)
    for key in (KEY, OTHER):
        for attempt in (lambda key=key: add(database, 2, 1.0, key), lambda key=key: add_failed(database, 3, "x", key)):
            with pytest.raises(DwfuseError, match=r"cannot be written .* is kept: make room"):
                attempt()
            assert _contents(folder) == before
    assert database.trials(KEY) == TuningDatabase(folder).trials(KEY) == _first_two()
    free()
    add(database, 2, 1.0, OTHER)
    assert database.best(OTHER) == TuningDatabase(folder).best(OTHER) == Trial(point(2), 1.0)
    assert database.trials(KEY) == _first_two()
    assert warnings == []


def _first_two() -> list[Trial]:
    return [Trial(point(0), 2.0), Trial(point(1), None, "build: no")]


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 0

    def write(handle: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            room = 50
            raise OSError(errno.ENOSPC, "No space left on device")
        written = _WRITE(handle, data[:room])
        room -= written
        return written

    _check_full(tmp_path, lambda: monkeypatch.setattr(lines.os, "write", write), monkeypatch.undo)


def test_a_disk_that_is_full_when_syncing_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(handle: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    _check_full(tmp_path, lambda: monkeypatch.setattr(lines.os, "fsync", sync), monkeypatch.undo)


def test_a_limit_of_file_size_keeps_what_was_there(tmp_path: Path) -> None:
    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def work() -> None:
        _check_full(tmp_path, lambda: limit(1), lambda: limit(resource.RLIM_INFINITY))
        before = _contents(tmp_path)
        limit(len(before[RECORDS]) + 100)  # the kernel writes so much of a line
        with pytest.raises(DwfuseError, match=r"File too large.* is kept: make room"):
            add(TuningDatabase(tmp_path), 4, 1.0)
        assert _contents(tmp_path) == before

    assert succeeded(start(work))


def _add_until_refused(database: TuningDatabase, added: list[int]) -> None:
    for number in range(1000):
        if number % 5:
            add(database, number, 1.0)
        else:
            add_failed(database, number, "build: no", f'{{"task":{number}}}')
        added.append(number)


def test_a_file_system_that_is_full_keeps_what_was_there(tmp_path: Path) -> None:
    def work() -> None:
        _mount(tmp_path, size=40_960)
        database = TuningDatabase(tmp_path)
        added: list[int] = []
        with pytest.raises(DwfuseError, match=r"No space left on device.* is kept: make room"):
            _add_until_refused(database, added)
        assert 5 < len(added) < 300
        for opened in (database, TuningDatabase(tmp_path)):
            found = [number_of(trial.point) for key in opened.keys() for trial in opened.trials(key)]  # noqa: SIM118
            assert sorted(found) == added
        assert all(content.endswith(b"\n") for content in _contents(tmp_path).values())
        _mount(tmp_path, size=81_920, flags=_MS_REMOUNT)
        add(database, 999, 0.5)
        assert TuningDatabase(tmp_path).best(KEY) == Trial(point(999), 0.5)

    _in_own_mounts(work)


def test_a_failure_while_pruning_leaves_no_records_of_other_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_text(path: Path, text: str) -> None:
        if path.name == RECORDS:
            raise DwfuseError("full")
        path.write_text(text)

    database = TuningDatabase(tmp_path / "db")
    for number, key in enumerate((KEY, OTHER)):
        add(database, number, 1.0, key)
    database.pruned_to(tmp_path / "pruned")
    monkeypatch.setattr(database_module.files, "write_text", write_text)
    with pytest.raises(DwfuseError, match="full"):
        database.pruned_to(tmp_path / "pruned", [OTHER])
    assert TuningDatabase(tmp_path / "pruned").keys() == []


def test_a_folder_to_read_only_is_read_and_not_written(tmp_path: Path) -> None:
    def work() -> None:
        _mount(tmp_path, size=1 << 20)
        add(TuningDatabase(tmp_path), 0, 1.0)
        _mount(tmp_path, size=1 << 20, flags=_MS_REMOUNT | _MS_RDONLY)
        database = TuningDatabase(tmp_path)
        assert database.best(KEY) == Trial(point(0), 1.0)
        for attempt in (database.check_writable, lambda: add(database, 1, 1.0)):
            with pytest.raises(DwfuseError, match=r"cannot be written \(Read-only file system\)"):
                attempt()

    _in_own_mounts(work)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DwfuseError, match="is a file; name the folder"):
        TuningDatabase(tmp_path / "file")
    database = TuningDatabase(tmp_path / "file" / "below")
    for attempt in (database.check_writable, lambda: add(database, 0, 1.0)):
        with pytest.raises(DwfuseError, match="cannot be made"):
            attempt()


@pytest.mark.parametrize("name", _FILES)
def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DwfuseError, match=f"{name}: cannot be read"):
        TuningDatabase(tmp_path)


def test_a_folder_is_made_when_something_is_added(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path / "a" / "b")
    assert database.keys() == []
    assert not (tmp_path / "a").exists()
    add(database, 0, 1.0)
    assert TuningDatabase(tmp_path / "a" / "b").keys() == [KEY]


# File systems of a test's own

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 32, 1 << 14, 1 << 18
_REFUSED = 77


def _in_own_mounts(work: Callable[[], None]) -> None:
    """Do ``work`` in a process whose mounts nobody else sees."""

    def with_mounts() -> None:
        try:
            _leave_mounts()
        except OSError:
            os._exit(_REFUSED)
        work()

    status = os.waitstatus_to_exitcode(os.waitpid(start(with_mounts), 0)[1])
    if status == _REFUSED:
        pytest.skip("no mounts of one's own here: run as root, or allow user namespaces (man 7 user_namespaces)")
    assert status == 0


_LIBC = ctypes.CDLL(None, use_errno=True)


def _leave_mounts() -> None:
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if user else 0)))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _check(_LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def _mount(folder: Path, size: int, flags: int = 0) -> None:
    """Mount, or remount, a file system of ``size`` bytes."""
    _check(_LIBC.mount(b"tmpfs", bytes(folder), b"tmpfs", ctypes.c_ulong(flags), f"size={size}".encode()))


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
