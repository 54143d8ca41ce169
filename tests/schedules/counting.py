"""Count what a kernel does, by running its schedule with a counter in one of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import SBlock
from tvm.tirx import BufferLoad, BufferStore, For, ForKind, SeqStmt

from schedules import Kernel
from tvm_dwfuse.targets import host_target

#: Rows and columns around the counted plane, to catch what is computed outside of it.
MARGIN = 8


@dataclass(frozen=True)
class Counter:
    """Counts the executions of the block of that name, each at ``index`` of an array of that shape.

    ``index`` gets the block and the variable of the parallel loop around it.
    """

    block: str
    shape: tuple[int, ...]
    index: Callable[[SBlock, Expr], list[Expr]]


def count_executions(kernel: Kernel, *names: str) -> list[np.ndarray]:
    """How often the TensorIR block of each name runs for each (n, h, w, c), in order as one thread would run it.

    A name is ``out<i>`` for the elements of stage i, ``acc<i>_update`` for their products; by default all ``out<i>``.
    """
    names = names or tuple(f"out{i}" for i in range(len(kernel.block.stages)))
    counts = _count(kernel, [_element_counter(kernel, name) for name in names])
    return [_plane(kernel, name, count) for name, count in zip(names, counts, strict=True)]


def _element_counter(kernel: Kernel, name: str) -> Counter:
    stage = int(name[3])
    h, w = kernel.block.sizes()[stage + 1]
    channels, tile = kernel.block.stages[stage].out_channels, kernel.knobs.tiles[stage].channels
    filled_up = -(-channels // tile) * tile

    def element(block: SBlock, _walk: Expr) -> list[Expr]:
        at = {iterator.var.name: iterator.var for iterator in block.iter_vars}
        return [at["v_n"], at["v_h"] + MARGIN, at["v_w"] + MARGIN, at["v_c"]]

    return Counter(name, (kernel.block.batch, h + 2 * MARGIN, w + 2 * MARGIN, max(channels, filled_up)), element)


def _plane(kernel: Kernel, name: str, counts: np.ndarray) -> np.ndarray:
    inside = counts[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert counts.sum() == inside.sum(), f"{name} computes elements outside of its plane"
    return inside[..., : kernel.block.stages[int(name[3])].out_channels]


def count_stores_by_walk(kernel: Kernel, name: str, axis: int, walks: int) -> np.ndarray:
    """How often block ``name`` stores to each index along ``axis`` of its output's buffer, by parallel iteration."""

    def stored(block: SBlock, walk: Expr) -> list[Expr]:
        return [walk, block.body.indices[axis]]

    extent = int(_block(kernel.func, name).writes[0].source.shape[axis])
    (counts,) = _count(kernel, [Counter(name, (walks, extent), stored)])
    return counts


def _count(kernel: Kernel, counters: list[Counter]) -> list[np.ndarray]:
    buffers = [tirx.decl_buffer(counter.shape, "int32", "counter") for counter in counters]
    func = _with_counters(
        kernel.func, dict(zip((c.block for c in counters), zip(buffers, counters, strict=True), strict=True))
    )
    library = tvm.compile(tvm.IRModule({"main": func}), target=host_target().tvm_target())
    zeros = [tvm.runtime.tensor(np.zeros([int(n) for n in param.shape], np.float32)) for param in kernel.func.params]
    counts = [tvm.runtime.tensor(np.zeros(counter.shape, np.int32)) for counter in counters]
    library["main"](*zeros, *counts)
    return [count.numpy() for count in counts]


def _with_counters(func: tirx.PrimFunc, counters: dict[str, tuple[tirx.Buffer, Counter]]) -> tirx.PrimFunc:
    """The function with a parameter more for each; what ran in parallel runs in order, so that no count is lost."""
    for name in counters:
        _block(func, name)
    walk: list[Expr] = [tirx.IntImm("int32", 0)]

    def visit_block(block: SBlock, mutator: tvm_ffi.structural.StructuralMutator) -> SBlock:
        block = mutator.default_mutate(block)
        if block.name_hint not in counters:
            return block
        buffer, counter = counters[block.name_hint]
        at = counter.index(block, walk[-1])
        return SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            SeqStmt([BufferStore(buffer, BufferLoad(buffer, at) + 1, at), block.body]),
            block.init,
            block.alloc_buffers,
            block.match_buffers,
            block.annotations,
        )

    def visit_loop(loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        if loop.kind != ForKind.PARALLEL:
            return mutator.default_mutate(loop)
        walk.append(loop.loop_var)
        body = mutator.mutate(loop.body)
        walk.pop()
        return For(loop.loop_var, loop.min, loop.extent, ForKind.SERIAL, body, loop.thread_binding, loop.annotations)

    body = tvm_ffi.structural_mutate(func.body, ((SBlock, visit_block), (For, visit_loop)))
    buffers = [buffer for buffer, _ in counters.values()]
    return tirx.PrimFunc([*func.params, *buffers], body, func.ret_type, func.attrs)


def _block(func: tirx.PrimFunc, name: str) -> SBlock:
    found: list[SBlock] = []

    def visit(block: SBlock) -> None:
        if block.name_hint == name:
            found.append(block)

    tvm_ffi.structural_walk(func.body, (SBlock, visit))
    assert len(found) == 1, f"{len(found)} blocks {name} in the kernel"
    return found[0]
