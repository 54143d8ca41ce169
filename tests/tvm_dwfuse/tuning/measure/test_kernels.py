"""Candidates are the code that ``compile`` makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm

from tests.blocks import full_conv
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.pipeline import code_settings
from tvm_dwfuse.targets import ARMV8_TARGETS, CpuTarget, host_target
from tvm_dwfuse.tuning.measure.failure import Failure
from tvm_dwfuse.tuning.measure.kernels import Example, kernel_at, settings_for
from tvm_dwfuse.tuning.task import KernelTask

from . import faulty


@pytest.mark.parametrize("machine", [host_target(), ARMV8_TARGETS["cortex-a72"]], ids=lambda machine: machine.name)
def test_settings_that_save_time_change_no_instruction(machine: CpuTarget, tmp_path: Path) -> None:
    task = faulty.task_for(machine=machine)
    kernel = kernel_at(task, task.space.default)
    code = []
    for settings in (code_settings(), settings_for(kernel.func)):
        with settings:
            module = tvm.compile(tvm.IRModule({"main": kernel.func}), target=machine.tvm_target())
        module.mod.write_to_file(str(tmp_path / "kernel.o"))
        code.append((tmp_path / "kernel.o").read_bytes())
    with_pass, without = code
    assert len(with_pass) == len(without)
    differing = sum(one != other for one, other in zip(with_pass, without, strict=True))
    assert differing <= 3, "nothing but the bytes that a workspace asks for"


def test_time_is_saved_where_a_kernel_is_written_out() -> None:
    task = faulty.task_for(machine=ARMV8_TARGETS["cortex-a72"])
    kernel = kernel_at(task, task.space.default)
    assert list(settings_for(kernel.func).disabled_pass) == ["s_tir.CompactBufferAllocation"]
    generic = faulty.task_for()
    assert not settings_for(kernel_at(generic, generic.space.default).func).disabled_pass


def test_a_single_output_that_is_no_number_is_found() -> None:
    example = Example(faulty.task_for())
    output = np.zeros(example.output_shape, np.float32)
    output[0, 8, 6, 23] = np.nan
    with pytest.raises(Failure, match=r"^wrong: 1 of 1512 outputs are not numbers"):
        example.judge(output)


def test_operands_are_given_in_the_layout_that_the_kernel_takes_in() -> None:
    """The first convolution of a network takes its input as it comes, in NCHW."""
    block = Block((full_conv(3, 8, stride=2),), 1, 10, 12)
    task = KernelTask(block, None, "NCHW", host_target())
    kernel = kernel_at(task, task.space.default)
    shapes = [tuple(map(int, param.shape)) for param in kernel.func.params]
    example = Example(task)
    assert [*(array.shape for array in example.packed(kernel).values()), example.output_shape] == shapes
    assert shapes[0] == (1, 3, 10, 12)
