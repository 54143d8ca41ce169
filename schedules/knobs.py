"""The knobs of a kernel, and where they stand when nothing has been tuned."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_dwfuse.blocks import Block, Conv, Layout
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant


@dataclass(frozen=True)
class Tile:
    """Outputs held in registers at once: ``rows`` x ``pixels`` (along the width) x ``channels``."""

    rows: int
    pixels: int
    channels: int


@dataclass(frozen=True)
class Knobs:
    """What can be chosen about a kernel without changing what it computes.

    ``depth`` is FD, the depth of the step that fills the intermediate buffer: output rows of the block for the
    ``rows`` traversal and for single stages, channels for the ``channels`` traversal. ``tiles`` has one register
    tile a stage.
    """

    depth: int
    tiles: tuple[Tile, ...]


#: Share of the private cache that one step's intermediate may fill; the rest is for weights, input and output.
_CACHE_SHARE = 0.4


def default_knobs(block: Block, variant: Variant | None, target: CpuTarget, threads: int = 1) -> Knobs:
    """Knobs from the target's registers and caches, for a variant or (``None``) a block of one stage."""
    layouts = stage_layouts(block, variant)
    sizes = block.sizes()
    tiles = tuple(
        _tile(stage, layouts[i], layouts[i + 1], sizes[i + 1], target) for i, stage in enumerate(block.stages)
    )
    if variant is not None and variant.traversal == "channels":
        return Knobs(_channel_depth(block, target, threads), tiles)
    return Knobs(_row_depth(block, target, threads), tiles)


def stage_layouts(block: Block, variant: Variant | None) -> list[Layout]:
    """Layout of the input and of each stage's output."""
    if variant is None:
        return [block.layout] * (len(block.stages) + 1)
    mid: Layout = "NHWC" if variant.mid == "hwc" else "NCHW"
    return [variant.in_layout, *[mid] * (len(block.stages) - 1), variant.out_layout]


def _tile(stage: Conv, source: Layout, sink: Layout, size: tuple[int, int], target: CpuTarget) -> Tile:
    height, width = size
    if stage.is_depthwise:
        return _depthwise_tile(stage, width, target)
    if source == "NCHW" and sink == "NCHW":
        return Tile(1, target.lanes, max(1, min(target.registers // 2, stage.out_channels // stage.groups)))
    return _dense_tile(stage, height, width, target)


def _depthwise_tile(stage: Conv, width: int, target: CpuTarget) -> Tile:
    """One vector of channels by as many pixels as leave registers for a row of taps and the input column."""
    room = min(target.registers // 2 - 2, 8)
    return Tile(1, _best_divisor(width, room), min(target.lanes, stage.out_channels))


def _dense_tile(stage: Conv, height: int, width: int, target: CpuTarget) -> Tile:
    """pixels x vectors accumulators: each step of k loads ``vectors`` weights and broadcasts ``pixels`` inputs.

    One register is left for the broadcast, one for each weight vector. Among the tiles that fit, the one with the
    fewest loads for each product wins, counting what tails waste.
    """
    group_out = stage.out_channels // stage.groups
    budget = target.registers - 2
    best, best_cost = Tile(1, 1, target.lanes), float("inf")
    for vectors in (1, 2):
        channels = vectors * target.lanes
        for pixels in range(1, min(width, 16) + 1):
            if pixels * vectors + vectors > budget:
                break
            cost = _dense_cost(width, pixels, group_out, channels, vectors, target.lanes)
            if cost < best_cost:
                best, best_cost = Tile(1, pixels, channels), cost
    if group_out < target.lanes:
        return Tile(best.rows, best.pixels, group_out)
    return best


def _dense_cost(width: int, pixels: int, channels: int, tile: int, vectors: int, lanes: int) -> float:
    """Cycles for one row of outputs per step of k, in the unit of one FMA: products bound by FMA, loads and latency."""
    padded = -(-channels // tile) * vectors
    full, rest = divmod(width, pixels)

    def tile_cycles(p: int) -> float:
        loads = 1.0 * vectors + 0.5 * p
        latency = 4.0
        return max(p * vectors + 0.15 * loads, loads, latency)

    per_tile = full * tile_cycles(pixels) + (tile_cycles(rest) if rest else 0.0)
    return per_tile * padded / vectors


def _best_divisor(extent: int, limit: int) -> int:
    """The largest divisor within ``limit``, unless that is small: then the tile that wastes least in its tail."""
    divisor = max(d for d in range(1, min(limit, extent) + 1) if extent % d == 0)
    if divisor >= min(4, extent):
        return divisor
    return min(range(min(4, extent), min(limit, extent) + 1), key=lambda t: (-(-extent // t) * t - extent, -t))


def _row_depth(block: Block, target: CpuTarget, threads: int) -> int:
    """Rows a step: as many as the cache holds, evenly, and no fewer steps than threads."""
    sizes = block.sizes()
    out_h = sizes[-1][0]
    row_bytes = max(
        (4 * w * stage.out_channels for (_, w), stage in zip(sizes[1:-1], block.stages[:-1], strict=True)),
        default=4 * sizes[0][1] * block.stages[0].in_channels,
    )
    most = max(1, int(_CACHE_SHARE * target.l2_bytes) // max(1, row_bytes))
    if threads > 1:
        most = min(most, max(1, -(-out_h * block.batch // threads)))
    steps = -(-out_h // min(most, out_h))
    return -(-out_h // steps)


def _channel_depth(block: Block, target: CpuTarget, threads: int) -> int:
    """Channels a step: one register tile of the pointwise stage, or of the depthwise one where that is wider."""
    del threads
    return min(block.stages[-1].out_channels, 2 * target.lanes)
