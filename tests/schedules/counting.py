"""Count how often each element of a stage is computed, by running the schedule with a counter in every block."""

from __future__ import annotations

import numpy as np
import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock
from tvm.tirx import BufferLoad, BufferStore, For, ForKind, SeqStmt

from schedules import Kernel
from tvm_dwfuse.targets import host_target

#: Rows and columns around the counted plane, to catch what is computed outside of it.
MARGIN = 8


def count_executions(kernel: Kernel, block_name: str) -> np.ndarray:
    """How often the TensorIR block of that name runs for each (n, h, w, c), in order as one thread would run it.

    ``block_name`` is ``out<i>`` for an element of stage i, ``acc<i>_update`` for its products.
    """
    stage = int(block_name[3])
    block = kernel.block
    (h, w), channels = block.sizes()[stage + 1], block.stages[stage].out_channels
    padded = -(-channels // kernel.knobs.tiles[stage].channels) * kernel.knobs.tiles[stage].channels
    shape = (block.batch, h + 2 * MARGIN, w + 2 * MARGIN, max(channels, padded))
    counter = tirx.decl_buffer(shape, "int32", "counter")
    func = _with_counter(kernel.func, block_name, counter)
    library = tvm.compile(tvm.IRModule({"main": func}), target=host_target().tvm_target())
    counts = tvm.runtime.tensor(np.zeros(shape, np.int32))
    zeros = [tvm.runtime.tensor(np.zeros([int(n) for n in param.shape], np.float32)) for param in kernel.func.params]
    library["main"](*zeros, counts)
    inside = counts.numpy()
    plane = inside[:, MARGIN : MARGIN + h, MARGIN : MARGIN + w]
    assert inside.sum() == plane.sum(), f"{block_name} computes elements outside of its plane"
    return plane[..., :channels]


def _with_counter(func: tirx.PrimFunc, name: str, counter: tirx.Buffer) -> tirx.PrimFunc:
    found = []

    def visit_block(block: SBlock) -> SBlock:
        if block.name_hint != name:
            return block
        found.append(block)
        at = {iterator.var.name: iterator.var for iterator in block.iter_vars}
        index = [at["v_n"], at["v_h"] + MARGIN, at["v_w"] + MARGIN, at["v_c"]]
        count = BufferStore(counter, BufferLoad(counter, index) + 1, index)
        return SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            block.name_hint,
            SeqStmt([count, block.body]),
            block.init,
            block.alloc_buffers,
            block.match_buffers,
            block.annotations,
        )

    def visit_loop(loop: For) -> For:
        kind = ForKind.SERIAL if loop.kind == ForKind.PARALLEL else loop.kind
        return For(loop.loop_var, loop.min, loop.extent, kind, loop.body, loop.thread_binding, loop.annotations)

    body = tvm_ffi.structural_map(func.body, ((SBlock, visit_block), (For, visit_loop)))
    assert found, f"no block {name} in the kernel"
    return tirx.PrimFunc([*func.params, counter], body, func.ret_type, func.attrs)
