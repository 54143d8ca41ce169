"""Timing candidates on boards, as many at once as TVM's RPC tracker has free servers."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tvm

from tvm_dwfuse import linker, threads
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.rpc import reason_of, server_arch
from tvm_dwfuse.space import Point
from tvm_dwfuse.threads import size_pool

from ..task import KernelTask
from . import Measurement
from .failure import Failure
from .kernels import Example, KernelAt, compile_candidate, kernel_at
from .pool import Pool
from .tracker import Lease, NoServer, Tracker

#: Timed calls of a candidate.
REPEATS = 10
#: TVM's runtime throws all operands but the first out of the caches before each timed call: weights are cold in a
#: network, whose other layers have used the caches since, and the input, just written by the layer before, is not.
_BEFORE_CALL = "cache_flush_cpu_non_first_arg"
#: Children at the same time, at most, however many boards there are.
_MOST_CHILDREN = 32
#: A server ends a session after the time limit; this side gives it up so many seconds later.
_GRACE_S = 5.0
#: A server that ends is off the tracker's list after so many seconds.
_FAREWELL_S = 1.5


class RpcRunner:
    """Builds candidates here and times them on the servers of a key; costs are seconds of one call.

    A candidate whose server goes away is failed ("lost: ") and not tried again: it may be what ended the server, and
    would end one after the other.
    """

    unit = "seconds"

    def __init__(
        self, tracker: str, key: str, limit_s: float = 60.0, wait_s: float = 120.0, kernel_at: KernelAt = kernel_at
    ) -> None:
        """No process starts yet.

        Args:
            tracker: its address, ``HOST:PORT``.
            key: that the boards are registered with.
            limit_s: seconds that building a candidate may take, and again sending and running it.
            wait_s: seconds to wait for a server to be free.
            kernel_at: makes the kernel of a task at a point; a function of a module.

        Raises:
            DwfuseError: the address is malformed, there is no tracker, or it has no server of that key.
        """
        self._tracker = Tracker(tracker, key)
        self._tracker.servers()
        self._pool = Pool(limit_s, RpcServer, self._tracker, limit_s, wait_s, kernel_at, waiting_s=wait_s + _GRACE_S)

    def measure(self, task: KernelTask, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        """See :meth:`tvm_dwfuse.tuning.measure.Runner.measure`; one more candidate is built than there are boards.

        Raises:
            DwfuseError: the tracker is gone, or the last server of the key, or a server is of another architecture.
        """
        linker.command(task.machine.arch)
        _, free = self.boards()
        boards = max(1, min(free, _MOST_CHILDREN - 1))
        return self._pool.measure(task, points, children=boards + 1, builds=threads.available(), runs=boards)

    def boards(self) -> tuple[int, int]:
        """How many servers of the key the tracker has, and how many of them are free.

        Raises:
            DwfuseError: there is no tracker, or it has no server of that key.
        """
        return self._tracker.servers()

    def close(self) -> None:
        """End the processes that it keeps."""
        self._pool.close()


class RpcServer:
    """What a child process does."""

    def __init__(self, tracker: Tracker, limit_s: float, wait_s: float, kernel_at: KernelAt) -> None:
        """Nothing is made yet."""
        self._tracker = tracker
        self._limit_s = limit_s
        self._wait_s = wait_s
        self._kernel_at = kernel_at
        self._library = Path(tempfile.mkdtemp()) / "candidate.so"

    def prepare(self, task: KernelTask) -> None:
        """Make the operands of a task, and what they give."""
        self._task, self._example = task, Example(task)

    def build(self, point: Point) -> None:
        """Build a candidate, which takes the place of the one before."""
        gc.collect()
        self._kernel = self._kernel_at(self._task, point)
        executable = compile_candidate(self._kernel, self._task)
        executable.export_library(str(self._library), fcompile=linker.link, arch=self._task.machine.arch)

    def run(self) -> tuple[float, ...]:
        """Check the candidate on a server and return the seconds of a call, for each repetition."""
        lease = self._lease()
        try:
            return self._run_on(lease)
        except (RuntimeError, AttributeError, OSError) as error:
            raise Failure(self._blame(lease, error)) from error

    def _lease(self) -> Lease:
        try:
            return self._tracker.request(self._wait_s)
        except NoServer as error:
            self._tracker.servers()
            raise Failure(f"lost: no server of the key was free for {self._wait_s:g} s") from error

    def _run_on(self, lease: Lease) -> tuple[float, ...]:
        session = tvm.rpc.connect(lease.host, lease.port, lease.match_key, session_timeout=self._limit_s)
        arch = server_arch(session)
        if arch and arch != self._task.machine.arch:
            raise DwfuseError(
                f"the RPC server at {lease} is {arch}, the target {self._task.machine.name} is "
                f"{self._task.machine.arch}: give boards of one kind a key of their own"
            )
        session.upload(str(self._library))
        library = session.load_module(self._library.name)
        size_pool(session.get_function, self._task.threads, f"the pool of the RPC server at {lease}")
        device = session.cpu()
        arrays = [tvm.runtime.tensor(array, device) for array in self._example.packed(self._kernel).values()]
        blank = np.full(self._example.output_shape, np.nan, np.float32)
        output = tvm.runtime.tensor(blank, device)
        library["main"](*arrays, output)
        self._example.judge(output.numpy())
        evaluate = library.time_evaluator("main", device, number=1, repeat=REPEATS, f_preproc=_BEFORE_CALL)
        return tuple(evaluate(*arrays, output).results)

    def _blame(self, lease: Lease, error: Exception) -> str:
        """What to say of a session that failed: its server may be gone."""
        if "session has expired" in str(error):
            return f"timeout: the run took longer than {self._limit_s:g} s"
        if self._is_gone(lease):
            return f"lost: the server at {lease} went away: {reason_of(error)}"
        return f"crash: {reason_of(error)}"

    def _is_gone(self, lease: Lease) -> bool:
        """Whether the tracker strikes the server off its list within :data:`_FAREWELL_S` seconds."""
        deadline = time.monotonic() + _FAREWELL_S
        while self._tracker.has(lease):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
