"""Tasks to measure, and kernels that fail: child processes import this module and find ``kernel_at`` here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm import tirx
from tvm.ir.expr import StringImm
from tvm.s_tir import SBlock, SBlockRealize

from schedules import Kernel
from tests.blocks import depthwise, pointwise
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.tuning.measure import kernels
from tvm_dwfuse.tuning.task import KernelTask

BLOCK = Block((depthwise(16), pointwise(16, 24)), 1, 9, 7)

#: Values of the knob ``fault``.
NONE, REFUSED, WRONG, BESIDE, CRASHING, SEGFAULT, HANGING, RAISING = range(8)


def task_for(block: Block = BLOCK, machine: CpuTarget | None = None, threads: int = 1) -> KernelTask:
    variant = "dwpw_hwc_hwc_hwc_rows" if block.order == "dwpw" else None
    return KernelTask(block, variant, None, machine or host_target(), threads)


def with_fault(task: KernelTask, fault: int) -> Point:
    return {**task.space.default, "fault": fault}


def kernel_at(task: KernelTask, point: Point) -> Kernel:
    """The kernel that other tasks have, but for the fault of the point."""
    knobs = dict(point)
    fault = knobs.pop("fault", NONE)
    if fault == REFUSED:
        raise ValueError("no such kernel")
    if fault == WRONG:
        return kernels.kernel_at(replace(task, block=_without_last_activation(task.block)), knobs)
    kernel = kernels.kernel_at(task, knobs)
    return replace(kernel, func=_with(kernel.func, _STATEMENTS[fault])) if fault else kernel


def _without_last_activation(block: Block) -> Block:
    *stages, last = block.stages
    return replace(block, stages=(*stages, replace(last, epilogue=last.epilogue[:-1])))


def _with(func: tirx.PrimFunc, statement: Callable[[tirx.Buffer], tirx.Stmt]) -> tirx.PrimFunc:
    """The function with a statement before all others."""
    block = func.body.block
    first = statement(func.params[-1])
    body = SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        tirx.SeqStmt([first, block.body]),
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
    realize = SBlockRealize(func.body.iter_values, func.body.predicate, body)
    return tirx.PrimFunc(func.params, realize, func.ret_type, func.attrs)


def _beside(output: tirx.Buffer) -> tirx.Stmt:
    n, h, w, c = output.shape
    return tirx.BufferStore(output, tirx.const(1.0, "float32"), [n - 1, h - 1, w - 1, c + 3])


def _crashing(output: tirx.Buffer) -> tirx.Stmt:
    del output
    return tirx.Evaluate(tirx.call_extern("int32", "abort"))


def _segfault(output: tirx.Buffer) -> tirx.Stmt:
    far = tirx.const(1 << 44, "int64")
    return tirx.BufferStore(output, tirx.const(1.0, "float32"), [far, far * 0, far * 0, far * 0])


def _hanging(output: tirx.Buffer) -> tirx.Stmt:
    always = output[0, 0, 0, 0] == output[0, 0, 0, 0]
    return tirx.While(tirx.Or(always, tirx.Not(always)), _beside(output))


def _raising(output: tirx.Buffer) -> tirx.Stmt:
    return tirx.AssertStmt(output[0, 0, 0, 0] == 1, StringImm("RuntimeError"), [StringImm("not on this machine")])


_STATEMENTS = {
    BESIDE: _beside,
    CRASHING: _crashing,
    SEGFAULT: _segfault,
    HANGING: _hanging,
    RAISING: _raising,
}
