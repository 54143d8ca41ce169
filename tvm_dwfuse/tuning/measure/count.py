"""Counting the instructions of candidates for Armv8 cores under qemu: without a board, and the same in every run."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tvm_dwfuse import threads
from tvm_dwfuse.armv8 import tools
from tvm_dwfuse.armv8.counting import link_program
from tvm_dwfuse.armv8.emulation import count_program, require_plugins
from tvm_dwfuse.runners.process import ProgramError
from tvm_dwfuse.space import Point

from ..task import KernelTask
from . import Measurement
from .failure import Failure
from .kernels import Example, KernelAt, kernel_at, settings_for
from .pool import Pool

#: The emulator is ended so many seconds after the time limit, should there be nobody left to do that at once.
_GRACE_S = 2.0


class CountRunner:
    """Builds candidates for an Armv8 core and counts what a call executes; costs are instructions.

    The first call is counted. A later one executes some hundred instructions fewer in millions, which allocate memory,
    and emulating it would take as long again.
    """

    unit = "instructions"

    def __init__(self, limit_s: float = 60.0, kernel_at: KernelAt = kernel_at) -> None:
        """No process starts yet.

        Args:
            limit_s: seconds that building a candidate may take, and again running it.
            kernel_at: makes the kernel of a task at a point; a function of a module.

        Raises:
            DwfuseError: a compiler or qemu with plugins is not installed.
        """
        tools.cross_compiler()
        require_plugins()
        self._pool = Pool(limit_s, CountServer, kernel_at, limit_s)

    def measure(self, task: KernelTask, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        """See :meth:`tvm_dwfuse.tuning.measure.Runner.measure`."""
        cores = threads.available()
        return self._pool.measure(task, points, children=cores, builds=cores, runs=cores)

    def close(self) -> None:
        """End the processes that it keeps."""
        self._pool.close()


class CountServer:
    """What a child process does."""

    def __init__(self, kernel_at: KernelAt, limit_s: float) -> None:
        """Nothing is made yet."""
        self._kernel_at = kernel_at
        self._limit_s = limit_s
        self._folder = Path(tempfile.mkdtemp())

    def prepare(self, task: KernelTask) -> None:
        """Make the operands of a task, and what they give."""
        self._task, self._example = task, Example(task)

    def build(self, point: Point) -> None:
        """Build a candidate, which takes the place of the one before."""
        gc.collect()
        kernel = self._kernel_at(self._task, point)
        output = np.full(self._example.output_shape, np.nan, np.float32)
        arrays = [*self._example.packed(kernel).values(), output]
        with settings_for(kernel.func):
            self._line = link_program(kernel.func, arrays, self._task.machine, self._folder, calls=1)

    def run(self) -> tuple[float, ...]:
        """Check the candidate and return the instructions of a call, once."""
        try:
            cpu = tools.qemu_cpu(self._task.machine.mcpu)
            counts = count_program(self._line, self._folder, cpu, self._limit_s + _GRACE_S)
        except ProgramError as error:
            raise Failure(f"crash: {error.reason}") from error
        values = np.fromfile(self._folder / "results.bin", np.float32)
        shape = self._example.output_shape
        self._example.judge(values[-int(np.prod(shape)) :].reshape(shape))
        return (float(counts.instructions),)
