"""A chain of convolutions as a function: blocks of channels, steps of rows, stages, transfers.

What each step reads and writes is told by :class:`tvm_dwfuse.tiling.chain.Chain`; here it becomes loops. Constants
and inputs of the next step are on their way while this one is computed, where the tile is double-buffered.
"""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from tvm_dwfuse.groups import Group
from tvm_dwfuse.tiling.chain import Chain

from . import constants, transfers
from .emit import Scalar, allocate, let, loop, scalars, smaller, tensor, wait
from .rows import RowWalk
from .stages import compute_stage
from .walk import Step, Walk


def chain_function(group: Group, chain: Chain) -> tirx.PrimFunc:
    """The PrimFunc of a chain; see :func:`.build.build_group`."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name(group.name)
        names = ", ".join(layer.name for layer in group.layers)
        ordered = [["row_begin", "row_end"], ["block_begin", "block_end"]]
        T.func_attr({"gap8.doc": f"{names}: {group.variant}", "gap8.ranges": ordered})
        walk = _declare(group, chain)
        with loop("block", *walk.blocks) as block:
            channels = walk.block_channels(block)
            with loop("step", 0, walk.rows.count) as index:
                _emit_step(walk, block, index, channels)
        walk.output_slots.drain()
    return builder.get()


def _declare(group: Group, chain: Chain) -> Walk:
    """The function's parameters and L1 buffers."""
    x = tensor("x", "uint8")
    operands = tuple((tensor(f"w{i}", "int8"), tensor(f"q{i}", "int32")) for i in range(len(chain.stages)))
    y = tensor("y", "uint8")
    row_begin, row_end, x_row0, y_row0, block_begin, block_end = scalars(
        "row_begin", "row_end", "x_row0", "y_row0", "block_begin", "block_end"
    )
    l1 = allocate(chain.buffers)
    # What is one step or one block is always computed whole.
    rows = (row_begin, row_end) if chain.steps > 1 else (0, chain.out_rows)
    origins = (x_row0, y_row0) if chain.steps > 1 else (0, 0)
    blocks = (block_begin, block_end) if chain.blocks > 1 else (0, 1)
    return Walk(chain, group.layers, x, y, operands, l1, RowWalk.over(chain, *rows), origins, blocks)


def _emit_step(walk: Walk, block: Scalar, index: Scalar, channels: Scalar) -> None:
    begin = let("begin", walk.rows.begin + index * walk.chain.tile.rows)
    end = let("end", smaller(begin + walk.chain.tile.rows, walk.rows.end))
    turn = let("turn", (block - walk.blocks[0]) * walk.rows.count + index)
    step = Step(block, index, True if walk.chain.steps == 1 else index == 0, turn, begin, end, channels)

    constants.start_block(walk, step)
    transfers.start_input(walk, step)
    constants.start_first_stream(walk, step)
    constants.await_block(walk, step)
    transfers.await_input(walk, step)
    wait(walk.output_slots.slot(turn))
    # Starts come last: code fetched from L2 behind a transfer waits for it.
    constants.start_next_block(walk, step)
    transfers.start_next_input(walk, step)
    for stage in range(len(walk.chain.stages)):
        compute_stage(walk, step, stage)
    transfers.store_output(walk, step)
