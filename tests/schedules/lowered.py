"""Look at a kernel as TVM lowers it for LLVM."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir.pipeline import default_s_tir_pipeline
from tvm.tirx import AllocBuffer, BufferStore, For, ForKind, IfThenElse

from schedules import Kernel
from tvm_dwfuse.targets import host_target

BUFFERS_PLACED = "s_tir.LowerOpaqueBlock"
TAILS_SPLIT = "s_tir.LoopPartition"
VECTORISED = "tirx.VectorizeLoop"


def lower(kernel: Kernel, after: str) -> tirx.PrimFunc:
    """The kernel's function after the pass of that name in TVM's own pipeline."""
    return lower_function(kernel.func, after)


def lower_function(function: tirx.PrimFunc, after: str) -> tirx.PrimFunc:
    """A function after the pass of that name in TVM's own pipeline."""
    seen: dict[str, tvm.IRModule] = {}

    @tvm.instrument.pass_instrument
    class Keep:
        def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
            if info.name == after:
                seen[after] = mod

    pipeline, *_ = default_s_tir_pipeline()
    bind = tirx.transform.BindTarget(tvm.target.Target(host_target().tvm_target(), host="llvm"))
    # The search for common subexpressions comes later than any of these passes, and takes longer than all of them.
    with tvm.transform.PassContext(instruments=[Keep()], config={"tirx.disable_cse_tir": True}):
        pipeline(bind(tvm.IRModule({"main": function.with_attr("global_symbol", "main")})))
    return seen[after]["main"]


def allocations(kernel: Kernel) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of the buffers that the kernel allocates, by name; a name stands for each place it is allocated at."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def visit(alloc: AllocBuffer) -> None:
        shape = tuple(int(extent) for extent in alloc.buffer.shape)
        shapes.setdefault(str(alloc.buffer.name), []).append(shape)

    tvm_ffi.structural_walk(lower(kernel, BUFFERS_PLACED).body, (AllocBuffer, visit))
    return shapes


def vector_conditions(kernel: Kernel) -> tuple[int, list[str]]:
    """How many vectorised loops there are once tails are split off, and the conditions in them that differ by lane."""
    loops: list[For] = []

    def visit(loop: For) -> None:
        if loop.kind == ForKind.VECTORIZED:
            loops.append(loop)

    tvm_ffi.structural_walk(lower(kernel, TAILS_SPLIT).body, (For, visit))
    return len(loops), [str(condition) for loop in loops for condition in _lane_conditions(loop)]


def _lane_conditions(loop: For) -> list[tvm.ir.Expr]:
    conditions: list[tvm.ir.Expr] = []

    def visit_call(call: tvm.ir.Call) -> None:
        if isinstance(call.op, tvm.ir.Op) and call.op.name.endswith(".if_then_else"):
            conditions.append(call.args[0])

    tvm_ffi.structural_walk(
        loop.body,
        ((IfThenElse, lambda branch: conditions.append(branch.condition)), (tvm.ir.Call, visit_call)),
    )
    return [condition for condition in conditions if _depends_on(condition, loop.loop_var)]


def _depends_on(expr: tvm.ir.Expr, wanted: tirx.Var) -> bool:
    found: list[bool] = []
    tvm_ffi.structural_walk(expr, (tirx.Var, lambda var: found.append(var.same_as(wanted))))
    return any(found)


def store_lanes(kernel: Kernel) -> dict[str, set[int]]:
    """Lanes of the stores to each buffer, by the buffer's name."""
    lanes: dict[str, set[int]] = {}

    def visit(store: BufferStore) -> None:
        lanes.setdefault(str(store.buffer.name), set()).add(int(store.value.ty.dtype.lanes))

    tvm_ffi.structural_walk(lower(kernel, VECTORISED).body, (BufferStore, visit))
    return lanes
