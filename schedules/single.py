"""Blocks of one stage: a depthwise, pointwise, standard or grouped convolution, or a dense layer, on its own."""

from __future__ import annotations

from tvm import s_tir

from tvm_dwfuse.blocks import Block

from .dwpw import split_rows
from .stages import StagePlan, place_padding, schedule_stage


def schedule(sch: s_tir.Schedule, block: Block, plan: StagePlan, depth: int, threads: int) -> None:
    """Steps of ``depth`` output rows outermost, in parallel; one register tile at a time inside."""
    step = split_rows(sch, sch.get_sblock(plan.out), plan, depth, threads)
    schedule_stage(sch, plan)
    place_padding(sch, plan, step)
    if block.prologue:
        sch.compute_at(sch.get_sblock("scaled"), step, preserve_unit_loops=True)
        lane = sch.get_loops(sch.get_sblock("scaled"))[-1]
        sch.vectorize(sch.split(lane, [None, min(plan.lanes, plan.conv.in_channels)])[1])
