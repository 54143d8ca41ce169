"""Building candidates of a kernel and judging what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock

from schedules import Kernel, build_kernel
from tvm_dwfuse.pipeline import code_settings
from tvm_dwfuse.space import Point

from .. import reference
from ..task import KernelTask
from .failure import Failure

#: Makes the kernel of a task at a point.
KernelAt = Callable[[KernelTask, Point], Kernel]


def kernel_at(task: KernelTask, point: Point) -> Kernel:
    """The kernel that ``compile`` builds for the task with the knobs of that point.

    Raises:
        ValueError: the point makes no kernel.
    """
    knobs = task.knobs(point)
    return build_kernel(task.block, task.fused_variant, task.machine, task.threads, knobs, task.source)


def settings_for(func: tirx.PrimFunc) -> tvm.transform.PassContext:
    """The context to compile one kernel in.

    Where a function has no blocks but its root, no allocation depends on what blocks touch; working that out all the
    same takes half of the time that code written out as straight lines needs to compile. The instructions are the same,
    and a workspace may be some bytes larger.
    """
    blocks: list[SBlock] = []
    tvm_ffi.structural_walk(func.body, (SBlock, blocks.append))
    nothing_to_shrink = len(blocks) <= 1 and not any(block.alloc_buffers for block in blocks)
    return code_settings(without=["s_tir.CompactBufferAllocation"] if nothing_to_shrink else [])


def compile_candidate(kernel: Kernel, task: KernelTask) -> Any:
    """The executable of a kernel, whose function is called ``main``."""
    with settings_for(kernel.func):
        return tvm.compile(tvm.IRModule({"main": kernel.func}), target=task.machine.tvm_target())


class Example:
    """Operands of a task and what they give, made once for all of its candidates."""

    def __init__(self, task: KernelTask) -> None:
        """Compute the output."""
        block = task.block
        arrays = reference.operands(block)
        self._block = block
        self._expected = reference.expected(block, arrays)
        source = task.source or block.layout
        arrays["x"] = np.ascontiguousarray(reference.change_layout(arrays["x"], block.layout, source))
        self._arrays = arrays

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return self._expected.shape

    def packed(self, kernel: Kernel) -> dict[str, np.ndarray]:
        """The operands in call order, as the kernel reads them."""
        return {name: kernel.pack(name, self._arrays[name]) for name in self._block.operands()}

    def judge(self, output: np.ndarray) -> None:
        """Compare an output with the reference.

        Raises:
            Failure: it differs.
        """
        if np.isnan(output).any():
            raise Failure(f"wrong: {np.isnan(output).sum()} of {output.size} outputs are not numbers")
        error = reference.relative_error(output, self._expected)
        if not error <= reference.TOLERANCE:
            raise Failure(f"wrong: outputs differ by {error:.1e} of the largest one")
