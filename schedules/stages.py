"""How one stage is computed in registers, whatever family it is part of.

Each function here takes the last four loops of block ``out<i>`` (batch, then rows, columns and channels in the order
of the stage's layout), tiles them, and computes ``acc<i>`` inside one register tile. Which rows or channels those
loops cover is the family's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir

from tvm_dwfuse.blocks import Conv, Layout
from tvm_dwfuse.kernels.definition import accumulator_layout

from .prefetching import mark_weights

#: Bytes of accumulators that a tile may have: TVM puts a buffer of 1 KiB, or one of another scope than ``global``, into
#: its workspace, and inside a parallel loop LLVM then stores every accumulator after every product.
MAX_TILE_BYTES = 1023

#: Makes TVM's LoopPartition split a loop where a tail does not fill it, so that full tiles run without predicates.
PARTITION = "pragma_loop_partition_hint"


@dataclass(frozen=True)
class StagePlan:
    """One stage as a schedule sees it: ``rows`` x ``pixels`` x ``channels`` outputs are held in registers.

    ``prefetch`` is the position of the stage's weight among the function's parameters, if it is to be prefetched;
    if it is not, up to ``unroll`` steps of the sum over channels are written out.
    """

    index: int
    conv: Conv
    source: Layout
    sink: Layout
    lanes: int
    rows: int
    pixels: int
    channels: int
    prefetch: int | None = None
    unroll: int = 1

    @property
    def out(self) -> str:
        """Name of the block that applies the epilogue."""
        return f"out{self.index}"

    @property
    def acc(self) -> str:
        """Name of the block that sums the products."""
        return f"acc{self.index}"

    @property
    def pad(self) -> str | None:
        """Name of the block that pads the input, if the stage has one."""
        return f"pad{self.index}" if any(self.conv.padding) else None

    @property
    def lanes_along_width(self) -> bool:
        """Whether vectors run along the width rather than along the channels."""
        return accumulator_layout(self.conv, self.source, self.sink) == "NCHW"


def schedule_stage(sch: s_tir.Schedule, plan: StagePlan, *, parallel_channels: bool = False) -> None:
    """Tile ``out<i>`` and compute ``acc<i>`` in a register tile of it.

    The loop over channel tiles stands outside those over pixels, so that one tile of weights stays in the nearest
    cache while the pixels stream by; ``parallel_channels`` makes it parallel (lanes along channels only).
    """
    inline_padding(sch, plan)
    if plan.lanes_along_width:
        _tile_along_width(sch, plan)
    else:
        _tile_along_channels(sch, plan, parallel_channels)


def inline_padding(sch: s_tir.Schedule, plan: StagePlan) -> None:
    """Reads test for the border instead of reading a padded copy (Hao et al. 2022: implicit padding).

    Where vectors run along the width a test would differ from lane to lane, and a dense convolution repeats each
    test for every output channel: those keep a padded copy, which :func:`place_padding` puts beside its use.
    """
    if plan.pad and not keeps_padded_copy(plan):
        sch.compute_inline(sch.get_sblock(plan.pad))


def keeps_padded_copy(plan: StagePlan) -> bool:
    """Whether the stage reads a padded copy of its input."""
    return plan.pad is not None and (plan.lanes_along_width or not plan.conv.is_depthwise)


def place_padding(sch: s_tir.Schedule, plan: StagePlan, at: s_tir.schedule.LoopRV) -> None:
    """Compute the padded copy, where there is one, for what the body of loop ``at`` reads."""
    if keeps_padded_copy(plan):
        sch.compute_at(sch.get_sblock(plan.pad), at, preserve_unit_loops=True)


def _tile_along_channels(sch: s_tir.Schedule, plan: StagePlan, parallel_channels: bool) -> None:
    out, acc = sch.get_sblock(plan.out), sch.get_sblock(plan.acc)
    lanes = min(plan.lanes, plan.channels)
    h, w, c = _spatial_loops(sch, out, plan.sink)
    tails = Tails.of(sch, (h, plan.rows), (w, plan.pixels), (c, plan.channels))
    if plan.pad and plan.conv.is_depthwise:
        # LoopPartition would mix the tail's conditions with those of the border.
        tails = Tails(False, False, tails.channels)
    ho, hi = sch.split(h, [None, plan.rows])
    wo, wi = sch.split(w, [None, plan.pixels])
    co, cv, cl = sch.split(c, [None, plan.channels // lanes, lanes])
    sch.reorder(co, ho, wo, hi, wi, cv, cl)
    if parallel_channels:
        sch.parallel(co)
    sch.compute_at(acc, wo, preserve_unit_loops=True)
    _into_registers(sch, [hi, wi, cv], cl)
    tails.peel(sch, rows=[ho, hi], columns=[wo, wi], channels=[co, cv, cl])

    h, w, c, *reduction = _acc_loops(sch, acc, plan)
    cv, cl = sch.split(c, [None, lanes])
    if plan.conv.is_depthwise:
        sch.reorder(*reduction, h, w, cv, cl)
        _into_registers(sch, [*reduction, h, w, cv], cl)
    else:
        rh, rw, k = reduction
        sch.reorder(rh, rw, k, h, w, cv, cl)
        if plan.prefetch is not None:
            mark_weights(sch, k, plan.prefetch)
        else:
            _write_out(sch, k, plan.unroll)
        _into_registers(sch, [h, w, cv], cl)
    tails.peel(sch, rows=[h], columns=[w], channels=[cv, cl])
    sch.decompose_reduction(acc, reduction[0])


def _write_out(sch: s_tir.Schedule, loop: s_tir.schedule.LoopRV, most: int) -> None:
    """Unroll as many iterations, up to ``most``, as divide the loop."""
    extent = int(sch.get(loop).extent)
    count = max(d for d in range(1, most + 1) if extent % d == 0)
    if count > 1:
        _, inner = sch.split(loop, [None, count])
        sch.unroll(inner)


def row_loop(sch: s_tir.Schedule, out: s_tir.schedule.SBlockRV) -> s_tir.schedule.LoopRV:
    """The loop over tiles of rows that :func:`schedule_stage` left around ``out``, lanes along channels."""
    return sch.get_loops(out)[-6]


def _tile_along_width(sch: s_tir.Schedule, plan: StagePlan) -> None:
    out, acc = sch.get_sblock(plan.out), sch.get_sblock(plan.acc)
    h, w, c = _spatial_loops(sch, out, plan.sink)
    channels = 1 if plan.conv.is_depthwise else plan.channels
    lanes = plan.pixels
    tails = Tails.of(sch, (h, plan.rows), (w, lanes), (c, channels))
    ho, hi = sch.split(h, [None, plan.rows])
    wo, wl = sch.split(w, [None, lanes])
    co, ci = sch.split(c, [None, channels])
    sch.reorder(co, ho, wo, hi, ci, wl)
    sch.compute_at(acc, wo, preserve_unit_loops=True)
    _into_registers(sch, [hi, ci], wl)
    tails.peel(sch, rows=[ho, hi], columns=[wo, wl], channels=[co, ci])

    h, w, c, *reduction = _acc_loops(sch, acc, plan)
    sch.reorder(*reduction, h, c, w)
    _into_registers(sch, [h, c, *(reduction if plan.conv.is_depthwise else [])], w)
    tails.peel(sch, rows=[h], columns=[w], channels=[c])
    sch.decompose_reduction(acc, reduction[0])


@dataclass(frozen=True)
class Tails:
    """Which of a stage's axes are not filled evenly by its tile."""

    rows: bool
    columns: bool
    channels: bool

    @staticmethod
    def of(sch: s_tir.Schedule, *axes: tuple[s_tir.schedule.LoopRV, int]) -> Tails:
        """From (loop, tile) for rows, columns and channels."""
        return Tails(*(int(sch.get(loop).extent) % tile != 0 for loop, tile in axes))

    def peel(self, sch: s_tir.Schedule, *, rows: list, columns: list, channels: list) -> None:
        """Ask for the last, partial tile of each uneven axis to get code of its own."""
        for uneven, loops in ((self.rows, rows), (self.columns, columns), (self.channels, channels)):
            for loop in loops if uneven else ():
                sch.annotate(loop, PARTITION, 1)


def _spatial_loops(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, layout: Layout) -> list:
    """Loops over rows, columns and channels: the last three of a block that has no reduction."""
    last = sch.get_loops(block)[-3:]
    return last if layout == "NHWC" else [last[1], last[2], last[0]]


def _acc_loops(sch: s_tir.Schedule, acc: s_tir.schedule.SBlockRV, plan: StagePlan) -> list:
    """Loops of ``acc`` inside its tile: rows, columns, channels, then the reduction."""
    count = 2 if plan.conv.is_depthwise else 3
    loops = sch.get_loops(acc)
    spatial, reduction = loops[-3 - count : -count], loops[-count:]
    if plan.lanes_along_width:
        spatial = [spatial[1], spatial[2], spatial[0]]
    return [*spatial, *reduction]


def _into_registers(sch: s_tir.Schedule, unrolled: list, lane: s_tir.schedule.LoopRV) -> None:
    for loop in unrolled:
        sch.unroll(loop)
    sch.vectorize(lane)
