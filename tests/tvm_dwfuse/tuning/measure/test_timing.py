"""What a call of a candidate reads, and which clock it is timed by."""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace

import numpy as np
import pytest

from tvm_dwfuse.targets import host_target
from tvm_dwfuse.tuning.measure.failure import Failure
from tvm_dwfuse.tuning.measure.kernels import Example, kernel_at
from tvm_dwfuse.tuning.measure.timing import TimedKernel

from . import faulty

TASK = faulty.task_for()
KERNEL = kernel_at(TASK, TASK.space.default)
NAMES = faulty.BLOCK.operands()


def timed(function, l2_bytes: int = 1 << 20, threads: int = 1) -> TimedKernel:
    return TimedKernel(function, Example(TASK), KERNEL, replace(host_target(), l2_bytes=l2_bytes), threads)


class Recorder:
    """Stands for a kernel and remembers where its arguments were."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, *arguments) -> None:
        self.calls.append([np.from_dlpack(argument).ctypes.data for argument in arguments])

    def places(self, name: str) -> set[int]:
        place = NAMES.index(name)
        return {call[place] for call in self.calls}


def test_weights_are_read_from_beyond_l2_and_the_input_is_not() -> None:
    constants = sum(Example(TASK).packed(KERNEL)[name].nbytes for name in NAMES if name != "x")
    recorder = Recorder()
    timed(recorder, l2_bytes=constants * 5).times(2)
    assert len(recorder.places("x")) == 1
    assert len({call[-1] for call in recorder.calls}) == 1, "there is one output"
    for name in ("w0", "b0", "w1", "b1"):
        assert len(recorder.places(name)) == 10, "twice L2"
    assert all(place % 64 == 0 for call in recorder.calls for place in call)


def test_large_weights_need_no_copies() -> None:
    recorder = Recorder()
    timed(recorder, l2_bytes=16).times(2)
    assert len(recorder.places("w1")) == 1


def test_the_clock_of_one_thread_stands_still_while_it_waits() -> None:
    def sleep(*arguments) -> None:
        del arguments
        time.sleep(2e-3)

    assert max(timed(sleep, threads=1).times(3)) < 1e-3
    assert min(timed(sleep, threads=2).times(3)) > 2e-3


def test_an_output_that_is_not_written_is_wrong() -> None:
    with pytest.raises(Failure, match=r"^wrong: 1512 of 1512 outputs are not numbers$"):
        timed(lambda *arguments: None).check()


def test_an_output_of_zeros_is_wrong() -> None:
    def clear(*arguments) -> None:
        output = np.from_dlpack(arguments[-1])
        ctypes.memset(output.ctypes.data, 0, output.nbytes)

    with pytest.raises(Failure, match=r"^wrong: outputs differ by 1\.0e\+00 of the largest one$"):
        timed(clear).check()
