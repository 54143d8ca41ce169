"""Depthwise then pointwise, by rows: ``dwpw_*_rows`` (Daghero et al. 2024).

A step computes ``depth`` rows of the depthwise output, all channels, into a buffer that stays in the cache, and at
once multiplies them by the pointwise weights. No depthwise row is needed by two steps, so nothing is computed twice.
"""

from __future__ import annotations

from tvm import s_tir

from .knobs import rows_are_uneven
from .stages import StagePlan, place_padding, schedule_stage
from .tile import BY_RULE, CHANNELS, Knobs


def schedule(sch: s_tir.Schedule, plans: list[StagePlan], knobs: Knobs, threads: int) -> None:
    """Steps over rows outermost, in parallel; inside one, the depthwise stage and then the pointwise stage.

    Where rows would load the threads unevenly, each stage computes all rows at once, its channels in parallel.
    """
    first, last = plans
    by_channels = splits_channels(sch, last, knobs, threads)
    step = (
        split_rows(sch, last, row_count(sch, last), 1) if by_channels else split_rows(sch, last, knobs.depth, threads)
    )
    schedule_stage(sch, last, parallel_channels=by_channels)
    sch.compute_at(sch.get_sblock(first.out), step, preserve_unit_loops=True)
    schedule_stage(sch, first, parallel_channels=by_channels)
    place_padding(sch, first, step)


def splits_channels(sch: s_tir.Schedule, last: StagePlan, knobs: Knobs, threads: int) -> bool:
    """Whether threads share the channels of a block rather than its rows."""
    if last.lanes_along_width or threads == 1:
        return False
    if knobs.parallel != BY_RULE:
        return knobs.parallel == CHANNELS
    batch, *_ = sch.get_loops(sch.get_sblock(last.out))
    return rows_are_uneven(int(sch.get(batch).extent), row_count(sch, last), threads)


def row_count(sch: s_tir.Schedule, plan: StagePlan) -> int:
    """Rows of the stage's output."""
    _, a, b, _ = sch.get_loops(sch.get_sblock(plan.out))
    return int(sch.get(a if plan.sink == "NHWC" else b).extent)


def split_rows(sch: s_tir.Schedule, plan: StagePlan, depth: int, threads: int) -> s_tir.schedule.LoopRV:
    """Split the rows of the stage's output into steps of ``depth``; returns the loop over (image, step), in parallel.

    TVM can prove a loop parallel as long as nothing is computed inside it, so this comes before all else.
    """
    n, a, b, c = sch.get_loops(sch.get_sblock(plan.out))
    h = a if plan.sink == "NHWC" else b
    steps, inner = sch.split(h, [None, depth])
    if plan.sink == "NHWC":
        sch.reorder(n, steps, inner, b, c)
    else:
        sch.reorder(n, steps, a, inner, c)
    step = sch.fuse(n, steps)
    if threads > 1:
        sch.parallel(step)
    return step
