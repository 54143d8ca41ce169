"""Blocks of one stage: a depthwise, pointwise, standard or grouped convolution, or a dense layer, on its own."""

from __future__ import annotations

from tvm import s_tir

from tvm_dwfuse.blocks import Block

from .dwpw import row_count, split_rows, splits_channels
from .stages import PARTITION, StagePlan, place_padding, schedule_stage
from .tile import Knobs


def schedule(sch: s_tir.Schedule, block: Block, plan: StagePlan, knobs: Knobs, threads: int) -> None:
    """Steps of ``depth`` output rows outermost, in parallel; one register tile at a time inside.

    A pointwise stage whose rows would load the threads unevenly runs its channel tiles in parallel instead.
    """
    by_channels = plan.conv.is_pointwise and not block.prologue and splits_channels(sch, plan, knobs, threads)
    step = (
        split_rows(sch, plan, row_count(sch, plan), 1) if by_channels else split_rows(sch, plan, knobs.depth, threads)
    )
    schedule_stage(sch, plan, parallel_channels=by_channels)
    place_padding(sch, plan, step)
    if block.prologue:
        _place_scaling(sch, plan, step)


def _place_scaling(sch: s_tir.Schedule, plan: StagePlan, step: s_tir.schedule.LoopRV) -> None:
    """Multiply the input of a step by the scale before its products, so that it is done once for all channels."""
    scaled = sch.get_sblock("scaled")
    sch.compute_at(scaled, step, preserve_unit_loops=True)
    innermost = sch.get_loops(scaled)[-1]
    lanes = min(plan.lanes, int(sch.get(innermost).extent))
    even = int(sch.get(innermost).extent) % lanes == 0
    vectors, lane = sch.split(innermost, [None, lanes])
    for loop in () if even else (vectors, lane):
        sch.annotate(loop, PARTITION, 1)
    sch.vectorize(lane)
