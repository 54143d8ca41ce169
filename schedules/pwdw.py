"""Pointwise then depthwise, and the inverted residual: ``pwdw_*_channels``, ``pwdw_*_rows``, ``pwdwpw_*_rows``.

By channels, a step computes ``depth`` whole planes of the pointwise output and the depthwise stage on them: there is
no halo. By rows, a step computes the rows that ``depth`` rows of the block's output newly need; the k - s rows that
two steps share stay in a ring (Daghero et al. 2024; the triple is ours). With more than one thread each thread walks a
chunk of the rows of its own and computes the k - s rows at the chunk's start itself: only there is an intermediate
row computed by two threads.
"""

from __future__ import annotations

from dataclasses import replace

from tvm import s_tir

from tvm_dwfuse.blocks import Block

from .dwpw import splits_channels
from .rolling import Ring, mark_ring
from .stages import StagePlan, place_padding, row_loop, schedule_stage
from .tile import Knobs


def schedule_channels(sch: s_tir.Schedule, block: Block, plans: list[StagePlan], depth: int, threads: int) -> None:
    """Steps over channels outermost, in parallel; inside one, whole planes."""
    first, last = plans
    out = sch.get_sblock(last.out)
    n, a, b, c = sch.get_loops(out)
    channels, h, w = (c, a, b) if last.sink == "NHWC" else (a, b, c)
    steps, inner = sch.split(channels, [None, depth])
    sch.reorder(n, steps, *((h, w, inner) if last.sink == "NHWC" else (inner, h, w)))
    step = sch.fuse(n, steps)
    if threads > 1:
        sch.parallel(step)
    last = _fit_lanes(last, depth)
    schedule_stage(sch, last)
    place_padding(sch, last, step)
    sch.compute_at(sch.get_sblock(first.out), step, preserve_unit_loops=True)
    schedule_stage(sch, first)


def _fit_lanes(plan: StagePlan, depth: int) -> StagePlan:
    """The plan with whole tiles in a step of ``depth`` channels: across a step's end they would need a predicate."""
    if depth == plan.conv.out_channels or depth % plan.channels == 0:
        return plan
    lanes = max(d for d in range(1, plan.lanes + 1) if depth % d == 0)
    return replace(plan, lanes=lanes, channels=lanes)


def schedule_rows(sch: s_tir.Schedule, plans: list[StagePlan], knobs: Knobs, threads: int) -> None:
    """Chunks of rows outermost, in parallel, and steps within; inside a step, stage after stage.

    Where chunks would load the threads unevenly, each stage computes all rows at once, its channels in parallel.
    """
    first, depthwise, *_ = plans
    out = sch.get_sblock(plans[-1].out)
    n, h, w, c = sch.get_loops(out)
    rows = int(sch.get(h).extent)
    by_channels = splits_channels(sch, plans[-1], knobs, threads)
    depth = rows if by_channels else min(knobs.depth, rows)
    chunks = min(threads, -(-rows // depth))
    steps = -(-rows // (depth * chunks))
    chunk, step, inner = sch.split(h, [chunks, steps, depth])
    sch.reorder(n, chunk, step, inner, w, c)
    walk = sch.fuse(n, chunk)
    if threads > 1 and not by_channels:
        sch.parallel(walk)
    for plan in reversed(plans):
        if plan is not plans[-1]:
            sch.compute_at(sch.get_sblock(plan.out), step, preserve_unit_loops=True)
        schedule_stage(sch, plan, parallel_channels=by_channels)
        place_padding(sch, plan, step)
    _carry_rows(sch, first, depthwise, depth, steps, chunks, walk, step)


def _carry_rows(
    sch: s_tir.Schedule,
    first: StagePlan,
    depthwise: StagePlan,
    depth: int,
    steps: int,
    chunks: int,
    walk: s_tir.schedule.LoopRV,
    step: s_tir.schedule.LoopRV,
) -> None:
    conv = depthwise.conv
    reach = conv.dilation[0] * (conv.kernel[0] - 1) + 1
    carried = reach - conv.strides[0]
    if steps == 1 or carried <= 0:
        return
    window = (depth - 1) * conv.strides[0] + reach
    axis = 1 if first.sink == "NHWC" else 2
    produced = sch.get_sblock(first.out)
    mark_ring(sch, produced, row_loop(sch, produced), step, walk, Ring(axis, window, chunks), carried)
