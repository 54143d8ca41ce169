"""Count what a kernel does, by running its schedule with a counter in one of its blocks."""

from __future__ import annotations

from collections.abc import Callable

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

#: Where to count one execution of a block, from the block and the variable of the parallel loop around it.
Index = Callable[[SBlock, Expr], list[Expr]]


def count_executions(kernel: Kernel, block_name: str) -> np.ndarray:
    """How often the TensorIR block of that name runs for each (n, h, w, c), in order as one thread would run it.

    ``block_name`` is ``out<i>`` for an element of stage i, ``acc<i>_update`` for its products.
    """
    stage = int(block_name[3])
    block = kernel.block
    (h, w), channels = block.sizes()[stage + 1], block.stages[stage].out_channels
    padded = -(-channels // kernel.knobs.tiles[stage].channels) * kernel.knobs.tiles[stage].channels

    def element(sblock: SBlock, _walk: Expr) -> list[Expr]:
        at = {iterator.var.name: iterator.var for iterator in sblock.iter_vars}
        return [at["v_n"], at["v_h"] + MARGIN, at["v_w"] + MARGIN, at["v_c"]]

    counts = _count(kernel, block_name, (block.batch, h + 2 * MARGIN, w + 2 * MARGIN, max(channels, padded)), element)
    plane = counts[:, MARGIN : MARGIN + h, MARGIN : MARGIN + w]
    assert counts.sum() == plane.sum(), f"{block_name} computes elements outside of its plane"
    return plane[..., :channels]


def count_stores_by_walk(kernel: Kernel, block_name: str, axis: int, walks: int) -> np.ndarray:
    """How often the block stores to each index along ``axis`` of its output's buffer, for each parallel iteration."""

    def stored(sblock: SBlock, walk: Expr) -> list[Expr]:
        return [walk, sblock.body.indices[axis]]

    (output,) = {write.source for sblock in _blocks(kernel.func, block_name) for write in sblock.writes}
    return _count(kernel, block_name, (walks, int(output.shape[axis])), stored)


def _count(kernel: Kernel, block_name: str, shape: tuple[int, ...], index: Index) -> np.ndarray:
    counter = tirx.decl_buffer(shape, "int32", "counter")
    func = _with_counter(kernel.func, block_name, counter, index)
    library = tvm.compile(tvm.IRModule({"main": func}), target=host_target().tvm_target())
    zeros = [tvm.runtime.tensor(np.zeros([int(n) for n in param.shape], np.float32)) for param in kernel.func.params]
    counts = tvm.runtime.tensor(np.zeros(shape, np.int32))
    library["main"](*zeros, counts)
    return counts.numpy()


def _with_counter(func: tirx.PrimFunc, name: str, counter: tirx.Buffer, index: Index) -> tirx.PrimFunc:
    """The function with one parameter more; what ran in parallel runs in order, so that no count is lost."""
    assert _blocks(func, name), f"no block {name} in the kernel"
    walk: list[Expr] = [tirx.IntImm("int32", 0)]

    def visit_block(block: SBlock) -> SBlock:
        if block.name_hint != name:
            return block
        at = index(block, walk[-1])
        return SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            SeqStmt([BufferStore(counter, BufferLoad(counter, at) + 1, at), block.body]),
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

    def enter_block(block: SBlock, mutator: tvm_ffi.structural.StructuralMutator) -> SBlock:
        return visit_block(mutator.default_mutate(block))

    body = tvm_ffi.structural_mutate(func.body, ((SBlock, enter_block), (For, visit_loop)))
    return tirx.PrimFunc([*func.params, counter], body, func.ret_type, func.attrs)


def _blocks(func: tirx.PrimFunc, name: str) -> list[SBlock]:
    found: list[SBlock] = []

    def visit(block: SBlock) -> None:
        if block.name_hint == name:
            found.append(block)

    tvm_ffi.structural_walk(func.body, (SBlock, visit))
    return found
