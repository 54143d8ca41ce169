"""From a block to a scheduled kernel: picks the family, applies the knobs, cleans the result up for LLVM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx

from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.kernels.definition import block_definition, pack_weight
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import VARIANTS, Variant

from . import by_lane, depthwise_block, dwpw, pwdw, single
from .knobs import can_split_channels, default_knobs, fit_channel_depth, stage_layouts
from .predicates import hoist_predicates
from .prefetching import prefetch_weights
from .rolling import roll_rows
from .stages import StagePlan
from .tile import CHANNELS, PARALLEL_MACS, Knobs


@dataclass(frozen=True)
class Kernel:
    """A scheduled function and what it expects: operands in the order of :meth:`Block.operands`, then the output.

    ``source`` is the layout of the input where that is not the block's.
    """

    block: Block
    variant: Variant | None
    knobs: Knobs
    func: tirx.PrimFunc
    source: Layout | None = None

    def pack(self, name: str, value: np.ndarray) -> np.ndarray:
        """The constant operand ``name`` (an OIHW weight or a bias) as the kernel reads it."""
        if not name.startswith("w"):
            return value
        index = int(name[1:])
        return pack_weight(self.block.stages[index], value, self.knobs.tiles[index].channels)


def legal_variants(block: Block) -> list[Variant]:
    """The fused variants that compute this block without a layout change around it, in the table's order."""
    return [variant for variant in VARIANTS.values() if variant.supports(block)]


def worthwhile_threads(block: Block, threads: int) -> int:
    """Of the threads there are, those that a kernel for this block uses."""
    return threads if block.macs() >= PARALLEL_MACS else 1


def build_kernel(
    block: Block,
    variant: Variant | None,
    target: CpuTarget,
    threads: int = 1,
    knobs: Knobs | None = None,
    source: Layout | None = None,
) -> Kernel:
    """Schedule ``block`` as ``variant`` (``None`` for a block of one stage).

    ``source`` is the layout of the input where that is not the block's: a single stage can take it in.

    Raises:
        ValueError: the variant does not compute such a block, or the knobs do not fit it.
    """
    if variant is not None and not variant.supports(block):
        raise ValueError(f"{variant.name} does not compute a {block.order} block in {block.layout}")
    threads = worthwhile_threads(block, threads)
    knobs = knobs or default_knobs(block, variant, target, threads, source)
    if by_lane.computes(block, variant, target, source):
        by_lane.check(block, knobs, target)
        layouts = stage_layouts(block, variant, source)
        definition = block_definition(block, layouts, [tile.channels for tile in knobs.tiles])
        return Kernel(block, variant, knobs, by_lane.build(definition, block, knobs, threads), source)
    if depthwise_block.computes(block, source):
        return Kernel(block, variant, knobs, depthwise_block.build(block, target, threads, knobs), source)
    _check_knobs(block, variant, knobs, source)
    sch = schedule_block(block, variant, target, threads, knobs, source)
    func = prefetch_weights(roll_rows(hoist_predicates(sch.mod["main"])))
    return Kernel(block, variant, knobs, func, source)


def _check_knobs(block: Block, variant: Variant | None, knobs: Knobs, source: Layout | None) -> None:
    """Refuse knobs that a schedule would take for something else."""
    if len(knobs.tiles) != len(block.stages):
        raise ValueError(f"{len(knobs.tiles)} tiles for a block of {len(block.stages)} stages")
    if variant is not None and variant.order != "dwpw" and variant.traversal == "rows" and knobs.tiles[0].rows != 1:
        raise ValueError(f"{variant.name} carries single rows from step to step: its first tile must have one row")
    if knobs.parallel == CHANNELS and not can_split_channels(block, variant, source):
        raise ValueError("threads cannot share the channels of this kernel: each needs those of the others")
    for stage, tile in zip(block.stages, knobs.tiles, strict=True):
        if 1 < stage.groups < stage.in_channels and stage.out_channels // stage.groups % tile.channels:
            raise ValueError(f"a tile of {tile.channels} channels does not divide the channels of a group")


def schedule_block(
    block: Block,
    variant: Variant | None,
    target: CpuTarget,
    threads: int,
    knobs: Knobs,
    source: Layout | None = None,
) -> s_tir.Schedule:
    """The schedule alone, its trace included."""
    layouts = stage_layouts(block, variant, source)
    plans = [
        StagePlan(
            i,
            stage,
            layouts[i],
            layouts[i + 1],
            tile.lanes,
            tile.rows,
            tile.pixels,
            tile.channels,
            weight_to_prefetch(block, i, target),
            knobs.unroll,
        )
        for i, (stage, tile) in enumerate(zip(block.stages, knobs.tiles, strict=True))
    ]
    sch = s_tir.Schedule(block_definition(block, layouts, [tile.channels for tile in knobs.tiles]))
    if variant is None:
        single.schedule(sch, block, plans[0], knobs, threads)
    elif variant.order == "dwpw":
        dwpw.schedule(sch, plans, knobs, threads)
    elif variant.traversal == "channels":
        pwdw.schedule_channels(sch, block, plans, fit_channel_depth(block, knobs), threads)
    else:
        pwdw.schedule_rows(sch, plans, knobs, threads)
    return sch


def weight_to_prefetch(block: Block, index: int, target: CpuTarget) -> int | None:
    """Position of stage ``index``'s weight among the parameters if prefetching it pays, else None.

    It does for one that is larger than the L1 cache and used for several pixels: with a single pixel the stream of
    weights is all there is, and it runs at the bandwidth of memory anyhow.
    """
    stage = block.stages[index]
    if block.sizes()[index + 1] == (1, 1):
        return None
    size = 4 * stage.out_channels * stage.in_channels // stage.groups * stage.kernel[0] * stage.kernel[1]
    return block.operands().index(f"w{index}") if size >= target.l1_bytes else None
