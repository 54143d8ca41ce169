"""Timing a kernel with the caches as they are in a network.

A layer's input was written by the layer before and is in the L2 cache, as far as it fits. Its weights were read one
inference ago, and those of all other layers since: they come from L3. So calls take turns among copies of the constant
operands that are too large together for L2, while input and output stay; a kernel that reads its weights several times,
or asks for them in advance, is timed for what that is worth. Flushing the caches in place of that would also throw out
the input, and would leave calls too short to be timed one by one.

The clock of a kernel of one thread is that thread's: it stands still while another process has the core. So candidates
can be built meanwhile, and on a busy machine, with eight processes a core, the same kernel's times agreed within 1.5%.
Kernels of several threads are timed by the clock on the wall, and nothing is built meanwhile.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import tvm_ffi

from schedules import Kernel
from tvm_dwfuse.targets import CpuTarget

from .failure import Failure
from .kernels import Example

#: float32 values around each array, which no kernel writes; a multiple of the 64 bytes that TVM aligns arrays to.
_GUARD = 256
#: Seconds of a batch. Its median is taken, so that an interrupt costs it one sample.
_BATCH_S = 2e-3
#: Seconds between two readings of the clock, which take half a microsecond.
_SAMPLE_S = 5e-5
#: Copies of small weights, which fill L1 but not L2: there is little of them to read.
_MOST_COPIES = 48


class TimedKernel:
    """A compiled kernel and the arguments of its calls."""

    def __init__(
        self, function: Callable[..., Any], example: Example, kernel: Kernel, machine: CpuTarget, threads: int
    ) -> None:
        """Take the compiled ``function`` of ``kernel`` and the operands and output of ``example``."""
        self._clock = time.thread_time if threads == 1 else time.perf_counter
        self._function = function
        self._example = example
        operands = example.packed(kernel)
        self._output = _Guarded(np.full(example.output_shape, np.nan, np.float32))
        constants = [name for name in operands if name[0] in "wb"]
        kept = {name: _Guarded(value) for name, value in operands.items() if name not in constants}
        calls = []
        for _ in range(_copies(sum(operands[name].nbytes for name in constants), machine)):
            arrays = {**kept, **{name: _Guarded(operands[name]) for name in constants}}
            calls.append([*(arrays[name].tensor for name in operands), self._output.tensor])
        self._arguments = cycle(calls)
        self._group = self._samples = 0

    def check(self) -> None:
        """Compare the output of a call with the reference.

        Raises:
            Failure: it differs, or the kernel wrote outside of it.
        """
        self._output.array[...] = np.nan
        self._function(*next(self._arguments))
        if self._output.is_damaged():
            raise Failure("wrong: it writes outside of its output")
        self._example.judge(self._output.array)

    def times(self, repeats: int) -> tuple[float, ...]:
        """Seconds of a call, the median of a batch, for each of so many batches."""
        if not self._group:
            seconds = min(self._sample(1), self._sample(1))
            self._group = max(1, round(_SAMPLE_S / seconds))
            self._samples = max(1, round(_BATCH_S / (self._group * seconds)))
        return tuple(self._batch() for _ in range(repeats))

    def _batch(self) -> float:
        return statistics.median([self._sample(self._group) for _ in range(self._samples)])

    def _sample(self, calls: int) -> float:
        function, arguments, clock = self._function, self._arguments, self._clock
        start = clock()
        for _ in range(calls):
            function(*next(arguments))
        return (clock() - start) / calls


class _Guarded:
    """An array in the middle of NaN: what reads beside it gives NaN, and what writes there is found out."""

    def __init__(self, value: np.ndarray) -> None:
        memory = np.full(value.size + 2 * _GUARD + 16, np.nan, np.float32)
        self._memory = memory[-memory.ctypes.data % 64 // 4 :]
        self.array = self._memory[_GUARD : _GUARD + value.size].reshape(value.shape)
        self.array[...] = value
        self.tensor = tvm_ffi.from_dlpack(self.array)

    def is_damaged(self) -> bool:
        """Whether something was written beside the array."""
        around = (self._memory[:_GUARD], self._memory[_GUARD + self.array.size :])
        return not all(np.isnan(part).all() for part in around)


def _copies(constant_bytes: int, machine: CpuTarget) -> int:
    """How many copies of the constants are twice as large as L2."""
    return max(1, min(_MOST_COPIES, -(-2 * machine.l2_bytes // max(1, constant_bytes))))
