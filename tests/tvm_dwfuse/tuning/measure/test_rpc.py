"""Measuring through a tracker: its servers are processes of their own, and may go away."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest
from tvm.rpc.server import Server
from tvm.rpc.tracker import Tracker

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import ARMV8_TARGETS
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.measure import tracker as tracker_module
from tvm_dwfuse.tuning.measure.rpc import RpcRunner

from . import faulty

PORTS = range(19200, 19999)
TASK = faulty.task_for()

#: For example `qemu-aarch64 -L ROOT -E PYTHONPATH=ROOT/site ROOT/usr/bin/python3`, where ROOT has Debian's arm64
#: packages of Python and its libraries, and ROOT/site the aarch64 wheels of apache-tvm and what it depends on.
EMULATED_VARIABLE = "DWFUSE_AARCH64_PYTHON"
EMULATED = os.environ.get(EMULATED_VARIABLE, "")

#: TVM's own server, but in this process: its command starts another Python by ``sys.executable``, which only a kernel
#: that knows of the emulator can run.
SERVER = """
import sys, time
from tvm.rpc.server import PopenRPCServerState
tracker, port = map(int, sys.argv[1:])
PopenRPCServerState("127.0.0.1", port, port + 799, tracker_addr=("127.0.0.1", tracker), key="emulated", silent=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """A tracker. It and the servers that follow do without PyTorch, which TVM imports where it is installed."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "torch.py").write_text("raise ImportError\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        tracker = Tracker("127.0.0.1", PORTS.start, PORTS.stop, silent=True)
        yield tracker
        tracker.terminate()


@pytest.fixture(scope="module")
def boards(tracker: Tracker) -> Iterator[list[Server]]:
    """Two servers of the key ``board``."""
    with started(tracker, "board", 2) as servers:
        yield servers


@contextmanager
def started(tracker: Tracker, key: str, count: int) -> Iterator[list[Server]]:
    """Servers of that key, in processes of their own."""
    place = ("127.0.0.1", tracker.port)
    servers = [
        Server("127.0.0.1", PORTS.start, PORTS.stop, tracker_addr=place, key=key, silent=True) for _ in range(count)
    ]
    try:
        await_boards(tracker, key, count)
        yield servers
    finally:
        for server in servers:
            server.terminate()


@contextmanager
def running(tracker: Tracker, key: str, limit_s: float = 8, wait_s: float = 20) -> Iterator[RpcRunner]:
    runner = RpcRunner(address(tracker), key, limit_s, wait_s, faulty.kernel_at)
    try:
        yield runner
    finally:
        runner.close()


def await_boards(tracker: Tracker, key: str, count: int) -> None:
    """Servers register some time after they have started."""
    servers = tracker_module.Tracker(address(tracker), key)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with suppress(DwfuseError):
            if servers.servers() == (count, count):
                return
        time.sleep(0.1)
    raise AssertionError(f"no {count} servers of the key {key}")


def address(tracker: Tracker) -> str:
    return f"127.0.0.1:{tracker.port}"


@pytest.mark.usefixtures("boards")
def test_a_board_of_another_architecture(tracker: Tracker) -> None:
    task = faulty.task_for(machine=ARMV8_TARGETS["cortex-a72"])
    message = f"is {platform.machine()}, the target cortex-a72 is aarch64"
    with running(tracker, "board") as runner, pytest.raises(DwfuseError, match=message):
        next(runner.measure(task, [task.space.default]))


def test_failures_are_of_their_candidates_and_lost_boards_are_missed_by_nobody(
    tracker: Tracker, boards: list[Server]
) -> None:
    faults = (faulty.NONE, faulty.REFUSED, faulty.WRONG, faulty.RAISING, *[faulty.NONE] * 8)
    found: dict[int, Measurement] = {}
    await_boards(tracker, "board", 2)
    with running(tracker, "board") as runner:
        for index, measurement in runner.measure(TASK, [faulty.with_fault(TASK, fault) for fault in faults]):
            found[index] = measurement
            if len(found) == 5:
                boards[0].terminate()
    assert sorted(found) == list(range(len(faults)))
    good, refused, wrong, raising, *others = (found[index] for index in range(len(faults)))
    assert good.ok
    assert len(good.costs) == 10
    assert 0 < good.cost < 1e-2
    assert refused.error == "build: no such kernel"
    assert wrong.error.startswith("wrong: outputs differ by ")
    assert raising.error.startswith("crash: ")
    assert "not on this machine" in raising.error
    lost = [measurement.error for measurement in others if not measurement.ok]
    assert len(lost) <= 1, "the other board goes on"
    assert all(error.startswith("lost: the server at 127.0.0.1:") for error in lost)


def test_a_hang_ends_its_session_and_a_crash_its_server(tracker: Tracker) -> None:
    """TVM's server in Python ends when a session of it crashes; when the last one is gone, measuring ends."""
    with started(tracker, "fragile", 1) as (server,), running(tracker, "fragile", limit_s=5, wait_s=2) as runner:

        def error_of(fault: int) -> str:
            ((_, measurement),) = runner.measure(TASK, [faulty.with_fault(TASK, fault)])
            return measurement.error

        assert error_of(faulty.HANGING) == "timeout: the run took longer than 5 s"
        assert error_of(faulty.NONE) == ""
        assert error_of(faulty.CRASHING).startswith(f"lost: the server at 127.0.0.1:{server.port} went away")
        with pytest.raises(DwfuseError, match="has no server of the key fragile"):
            error_of(faulty.NONE)


def test_no_tracker() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(DwfuseError, match=rf"^no TVM RPC tracker at {place} \(.*\); start one there with `python"):
            RpcRunner(place, "board")


@pytest.mark.parametrize(("answer", "reason"), [(b"", "it does not answer"), (b"HTTP/1.1", "something else listens")])
def test_something_else_listens(answer: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "_ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        Thread(target=lambda: listener.accept()[0].sendall(answer), daemon=True).start()
        with pytest.raises(DwfuseError, match=f"no TVM RPC tracker at 127.0.0.1:{port} .{reason}"):
            RpcRunner(f"127.0.0.1:{port}", "board")


def test_no_such_key(tracker: Tracker) -> None:
    with pytest.raises(DwfuseError, match=r"no server of the key pi4 \(it has .*\); register one with `python -m"):
        RpcRunner(address(tracker), "pi4")


@pytest.mark.parametrize("text", ["board", "board:x", ""])
def test_malformed_address(text: str) -> None:
    with pytest.raises(DwfuseError, match=f"^--rpc-tracker {text}: expected HOST:PORT"):
        RpcRunner(text, "board")


@pytest.fixture
def emulated_board(tracker: Tracker) -> Iterator[None]:
    """An aarch64 server of the key ``emulated``."""
    with subprocess.Popen([*shlex.split(EMULATED), "-c", SERVER, str(tracker.port), str(PORTS.start)]) as server:
        yield
        server.kill()


@pytest.mark.skipif(not EMULATED, reason=f"set {EMULATED_VARIABLE} to a command that runs an aarch64 Python with TVM")
@pytest.mark.usefixtures("emulated_board")
def test_an_emulated_board(tracker: Tracker) -> None:
    await_boards(tracker, "emulated", 1)
    task = faulty.task_for(machine=ARMV8_TARGETS["cortex-a72"])
    points = [faulty.with_fault(task, fault) for fault in (faulty.NONE, faulty.WRONG, faulty.NONE)]
    with running(tracker, "emulated", limit_s=60) as runner:
        found = dict(runner.measure(task, points))
    assert found[0].ok
    assert found[1].error.startswith("wrong: outputs differ by ")
    assert found[2].ok
