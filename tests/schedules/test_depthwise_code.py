"""What depthwise kernels are made of: no padded copy, no test for a border, no spills, in TVM's code and in Arm's."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import pytest
import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import AllocBuffer, For, IfThenElse, Select

from schedules.depthwise import build_depthwise
from tests.armv8.tools import needs_qemu
from tests.schedules.depthwise_kernels import small_kernels_in_parallel
from tests.schedules.lowered import TAILS_SPLIT, lower_function
from tvm_dwfuse.armv8.analysis import hot_loops
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets import get_cpu

LAYOUTS: tuple[Layout, ...] = ("NCHW", "NHWC")
FLOAT_BYTES = 4
#: What TVM's backend for LLVM still puts on the stack. A larger buffer is asked for from the runtime.
STACK_BYTES = 1024

GEOMETRIES = {
    "3x3": Depthwise(16, 56, 56, padding=(1, 1, 1, 1)),
    "3x3 stride 2": Depthwise(16, 56, 56, stride=(2, 2), padding=(1, 1, 1, 1)),
    "5x5, uneven padding": Depthwise(32, 22, 24, (5, 5), padding=(2, 1, 3, 2)),
}
KERNELS = [*itertools.product(("3x3", "3x3 stride 2"), LAYOUTS, PROCEDURES)]
FOR_TARGETS = [
    *((*kernel, "cortex-a72") for kernel in KERNELS),
    *itertools.product(("5x5, uneven padding",), LAYOUTS, PROCEDURES, ("host",)),
]

for_every_target = pytest.mark.parametrize(("name", "layout", "procedure", "target"), FOR_TARGETS)


def build(name: str, layout: Layout, procedure: Procedure, target: str, threads: int = 1) -> tirx.PrimFunc:
    return build_depthwise(procedure, replace(GEOMETRIES[name], layout=layout), get_cpu(target), threads)


@cache
def lowered(name: str, layout: Layout, procedure: Procedure, target: str) -> tirx.PrimFunc:
    return lower_function(build(name, layout, procedure, target), TAILS_SPLIT)


@for_every_target
def test_no_padded_copy(name: str, layout: Layout, procedure: Procedure, target: str) -> None:
    sizes = allocated_bytes(lowered(name, layout, procedure, target))
    assert all(size <= STACK_BYTES for size in sizes.values()), sizes


@for_every_target
def test_nothing_is_tested_inside_loops(name: str, layout: Layout, procedure: Procedure, target: str) -> None:
    """Borders are peeled: neither they nor what lies between asks where it is."""
    loops: list[For] = []
    tvm_ffi.structural_walk(lowered(name, layout, procedure, target).body, (For, loops.append))
    assert loops
    assert [condition for loop in loops for condition in conditions(loop)] == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_keep_nothing_but_sums_of_weights(layout: Layout) -> None:
    with small_kernels_in_parallel():
        function = build("3x3", layout, "backward_weight", "host", threads=2)
    sums = 2 * FLOAT_BYTES * math.prod(GEOMETRIES["3x3"].weight_shape)
    sizes = allocated_bytes(lower_function(function, TAILS_SPLIT))
    assert all(size <= max(sums, STACK_BYTES) for size in sizes.values()), sizes


def allocated_bytes(function: tirx.PrimFunc) -> dict[str, int]:
    """The bytes of the largest buffer of each name."""
    sizes: dict[str, int] = {}

    def visit(alloc: AllocBuffer) -> None:
        size = FLOAT_BYTES * math.prod(map(int, alloc.buffer.shape))
        sizes[str(alloc.buffer.name)] = max(size, sizes.get(str(alloc.buffer.name), 0))

    tvm_ffi.structural_walk(function.body, (AllocBuffer, visit))
    return sizes


def conditions(loop: For) -> list[str]:
    found: list[str] = []

    def visit_call(call: tvm.ir.Call) -> None:
        if isinstance(call.op, tvm.ir.Op) and call.op.name.endswith(".if_then_else"):
            found.append(str(call))

    tvm_ffi.structural_walk(
        loop.body,
        (
            (IfThenElse, lambda branch: found.append(str(branch.condition))),
            (Select, lambda select: found.append(str(select.condition))),
            (tvm.ir.Call, visit_call),
        ),
    )
    return found


@needs_qemu
@pytest.mark.parametrize(("name", "layout", "procedure"), KERNELS)
def test_the_hottest_loop_on_arm(name: str, layout: Layout, procedure: Procedure) -> None:
    """It only loads, multiplies and stores outputs: no test but its own, no call, nothing kept on the stack."""
    hottest = hot_loops(build(name, layout, procedure, "cortex-a72"), get_cpu("cortex-a72"))[0]
    body = hottest.loop.body
    stores = [at for at in body if at.mnemonic.startswith("st")]
    assert hottest.loop.border_checks == []
    assert [str(at) for at in body if at.mnemonic in ("bl", "blr")] == []
    assert [str(at) for at in body if "[sp" in at.operands] == []
    # One store may write several vectors.
    allowed = hottest.loop.multiplies * vectors_stored(procedure, GEOMETRIES[name])
    assert len(stores) <= allowed, f"{len(stores)} stores, not {allowed}:\n{hottest.loop}"


def vectors_stored(procedure: Procedure, conv: Depthwise) -> float:
    """Vectors of outputs for each vector multiplied."""
    if procedure == "backward_weight":
        return 0
    taps = math.prod(conv.kernel)
    return 1 / taps if procedure == "forward" else math.prod(conv.stride) / taps
