"""Candidates in child processes: how they fail, what waits for what, and that no process is left."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point
from tvm_dwfuse.tuning.measure import ERROR_KINDS, Measurement
from tvm_dwfuse.tuning.measure.child import NOT_YET, Child
from tvm_dwfuse.tuning.measure.pool import Pool

from . import servers
from .servers import EXIT, FAIL, HANG, RAISE, REFUSE, SEGFAULT, Task

TASK = Task("2")

#: Time limit of a step, in seconds.
LIMIT_S = 1.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A line for each step that came to its end: its name, begin and end."""
    return tmp_path / "log"


@pytest.fixture
def pool(log: Path) -> Iterator[Pool]:
    pool = Pool(LIMIT_S, servers.Server, log)
    yield pool
    pool.close()
    assert not psutil.Process().children(recursive=True), "a process is left"


def measured(pool: Pool, *points: Point, children: int = 2, task: Task = TASK) -> list[Measurement]:
    pairs = list(pool.measure(task, points, children, builds=children, runs=1))
    found = dict(pairs)
    assert len(pairs) == len(found) == len(points)
    return [found[index] for index in range(len(points))]


def good(cost: int) -> Point:
    return {"cost": cost}


def test_each_candidate_gets_its_own_costs(pool: Pool) -> None:
    costs = [measurement.costs for measurement in measured(pool, *map(good, range(7)), children=3)]
    assert costs == [(float(cost), 2.0) for cost in range(7)]


def test_processes_are_kept_for_the_next_task(pool: Pool) -> None:
    measured(pool, good(1), good(2))
    before = {process.pid for process in psutil.Process().children()}
    assert [found.costs for found in measured(pool, good(1), good(2), task=Task("3"))] == [(1.0, 3.0), (2.0, 3.0)]
    assert {process.pid for process in psutil.Process().children()} == before


@pytest.mark.parametrize(
    ("step", "behaviour", "error"),
    [
        ("build", RAISE, "build: no such kernel"),
        ("run", RAISE, "crash: no such kernel"),
        ("run", FAIL, "wrong: all of it"),
        ("build", SEGFAULT, "crash: the build ended the process with SIGSEGV"),
        ("run", SEGFAULT, "crash: the run ended the process with SIGSEGV"),
        ("run", EXIT, "crash: the run ended the process with exit status 3"),
        ("build", HANG, "timeout: the build took longer than 1 s"),
        ("run", HANG, "timeout: the run took longer than 1 s"),
    ],
)
def test_a_failure_is_that_candidates_alone(pool: Pool, step: str, behaviour: int, error: str) -> None:
    found = measured(pool, good(1), {"cost": 0, step: behaviour}, good(2), good(3))
    assert found[1] == Measurement((), error)
    assert found[1].error.startswith(ERROR_KINDS)
    assert [measurement.costs[0] for measurement in (found[0], *found[2:])] == [1, 2, 3]


def test_only_one_runs_while_others_build(pool: Pool, log: Path) -> None:
    measured(pool, *map(good, range(8)), children=3)
    steps = [(name, float(begin), float(end)) for name, begin, end in map(str.split, log.read_text().splitlines())]
    runs = sorted((begin, end) for name, begin, end in steps if name == "run")
    builds = [(begin, end) for name, begin, end in steps if name == "build"]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(runs))
    assert any(begin < end_of_run and begin_of_run < end for begin, end in builds for begin_of_run, end_of_run in runs)


def test_where_nothing_can_be_measured_the_search_ends(pool: Pool) -> None:
    with pytest.raises(DwfuseError, match="nothing can be measured"):
        measured(pool, good(1), {"cost": 0, "build": REFUSE})
    assert measured(pool, good(5))[0].costs == (5.0, 2.0), "the pool can be used again"


def test_a_server_that_cannot_be_made(log: Path) -> None:
    pool = Pool(LIMIT_S, servers.broken, log)
    message = r"^the process that measures does not start \(exit status 1\): ImportError: no TVM here$"
    with pytest.raises(DwfuseError, match=message):
        measured(pool, good(1))
    pool.close()


def test_giving_up_ends_what_is_under_way(pool: Pool) -> None:
    """As when the tuner is interrupted."""
    # Two children: the first to run is one of the first two, whichever is built sooner.
    results = pool.measure(TASK, [good(1), good(3), {"cost": 0, "run": HANG}, good(2)], 2, 2, 1)
    assert next(results)[1].ok
    results.close()
    assert measured(pool, good(5))[0].costs == (5.0, 2.0)


def test_temporary_files_go_when_the_pool_is_closed(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pool = Pool(LIMIT_S, servers.Server, log)
    measured(pool, good(1))
    (folder,) = tmp_path.glob("dwfuse-measure-*")
    assert folder.is_dir()
    pool.close()
    assert not folder.exists()


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_orphan_that_hangs_ends_itself(log: Path, tmp_path: Path) -> None:
    """A tuner that was killed enforces no time limit."""
    child = Child(str(tmp_path), servers.Server, log)
    while child.connection.poll(30) and child.receive() is not NOT_YET:
        pass
    child.ask("build", ({"cost": 0, "run": HANG},), 10)
    pid = child.ask("process", (), 10)
    process = psutil.Process(pid)
    child.send("run", (), -4.0)  # the limit, and the seconds of grace that it has besides
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert child.connection.poll(10)
    with pytest.raises(Exception, match=signal.Signals.SIGALRM.name):
        child.receive()


def test_an_orphan_with_nothing_to_do_ends(log: Path, tmp_path: Path) -> None:
    child = Child(str(tmp_path), servers.Server, log)
    process = psutil.Process(child.ask("process", (), 10))
    child.connection.close()
    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE)
    child.close()
