"""Timing candidates on this machine."""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterator, Sequence

from tvm_dwfuse import threads
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point

from ..task import KernelTask
from . import Measurement
from .comparison import Comparison
from .kernels import Example, KernelAt, compile_candidate, kernel_at
from .pool import Pool
from .timing import TimedKernel

#: Children at the same time, at most: each holds TVM, the operands and their output.
_MOST_CHILDREN = 4
#: Timed batches of a candidate.
REPEATS = 8


class LocalRunner:
    """Builds and times candidates on this machine; costs are seconds of one call.

    While one candidate is timed, others are built on the cores that it leaves free.
    """

    unit = "seconds"

    def __init__(self, limit_s: float = 20.0, kernel_at: KernelAt = kernel_at) -> None:
        """No process starts yet.

        Args:
            limit_s: seconds that building a candidate may take, and again running it.
            kernel_at: makes the kernel of a task at a point; a function of a module.
        """
        self._pool = Pool(limit_s, LocalServer, kernel_at)

    def measure(self, task: KernelTask, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        """See :meth:`tvm_dwfuse.tuning.measure.Runner.measure`.

        Raises:
            DwfuseError: the task is for another architecture.
        """
        _check_machine(task)
        children = max(1, min(_MOST_CHILDREN, threads.available() - task.threads + 1))
        return self._pool.measure(task, points, children, builds=children, runs=1)

    def compare(self, task: KernelTask, points: Sequence[Point], rounds: int = 15) -> list[Measurement]:
        """Measure candidates fairly: all in one process, in turn, ``rounds`` times, each with that many costs.

        What disturbs the machine for a while then disturbs all of them. The order turns from round to round.

        Raises:
            DwfuseError: nothing can be measured at all, or the task is for another architecture.
        """
        _check_machine(task)
        return Comparison(self._pool, task, points).measure(rounds)

    def close(self) -> None:
        """End the processes that it keeps."""
        self._pool.close()


class LocalServer:
    """What a child process does."""

    def __init__(self, kernel_at: KernelAt) -> None:
        """Nothing is made yet."""
        self._kernel_at = kernel_at
        self._kept: dict[int, TimedKernel] = {}

    def prepare(self, task: KernelTask) -> None:
        """Make the operands of a task, and what they give."""
        self._task, self._example = task, Example(task)
        threads.configure(task.threads)

    def build(self, point: Point) -> None:
        """Build a candidate, which takes the place of the one before."""
        gc.collect()  # the engine of the candidate before this one hangs in a cycle
        kernel = self._kernel_at(self._task, point)
        function = compile_candidate(kernel, self._task)["main"]
        self._candidate = TimedKernel(function, self._example, kernel, self._task.machine, self._task.threads)

    def run(self) -> tuple[float, ...]:
        """Check the candidate and return the seconds of a call, for each repetition."""
        self._candidate.check()
        seconds = self._candidate.times(REPEATS)
        self._candidate.check()
        return seconds

    def keep(self, index: int) -> None:
        """Check the candidate and keep it under that number."""
        self._candidate.check()
        self._kept[index] = self._candidate

    def lap(self, index: int) -> float:
        """Seconds of a call of the candidate kept under that number: one more batch, after an untimed one."""
        return self._kept[index].times(2)[1]


def _check_machine(task: KernelTask) -> None:
    if task.machine.arch != platform.machine():
        raise DwfuseError(
            f"{task.machine.name} is {task.machine.arch}, this machine is {platform.machine()}: time its kernels on a "
            "board with --rpc-tracker HOST:PORT --key KEY"
        )
