"""What the cost model learns of a kernel: numbers that say what its knobs do, rather than what they are."""

from __future__ import annotations

from math import ceil, log2

from schedules.knobs import step_bytes
from schedules.space import knobs_of
from schedules.tile import Knobs, Tile
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import VARIANTS

#: Most stages that a block has.
_MOST_STAGES = 3
#: Knobs that features have room for besides the tiles.
_OTHER_KNOBS = 8


def kernel_features(block: Block, variant: str | None, machine: CpuTarget, point: Point) -> list[float]:
    """The block, the step and for each stage its tile: registers used, outputs wasted, loads per multiply-add.

    As many numbers for every point of every kernel.
    """
    knobs = knobs_of(len(block.stages), point)
    return [
        *_one_hot(variant, (None, *VARIANTS)),
        log2(block.macs()),
        *_step_features(block, knobs, machine),
        *_stage_features(block, knobs, machine),
        *_other_features(point),
    ]


def _one_hot(value: object, values: tuple[object, ...]) -> list[float]:
    return [float(value == each) for each in values]


def _step_features(block: Block, knobs: Knobs, machine: CpuTarget) -> list[float]:
    rows = block.sizes()[-1][0]
    steps = ceil(rows / max(1, knobs.depth))
    held = step_bytes(block, max(1, min(knobs.depth, rows)))
    return [knobs.depth, steps, steps * knobs.depth / rows, held / machine.l1_bytes, held / machine.l2_bytes]


def _stage_features(block: Block, knobs: Knobs, machine: CpuTarget) -> list[float]:
    sizes = block.sizes()[1:]
    features: list[float] = []
    for stage, tile, (height, width) in zip(block.stages, knobs.tiles, sizes, strict=True):
        features += _tile_features(stage, tile, height, width, machine)
    missing = _MOST_STAGES - len(block.stages)
    return features + missing * [0.0] * (len(features) // len(block.stages))


def _tile_features(stage: Conv, tile: Tile, height: int, width: int, machine: CpuTarget) -> list[float]:
    vectors = max(1, tile.channels // max(1, tile.lanes))
    outputs = tile.rows * tile.pixels
    group_out = stage.out_channels if stage.is_depthwise else stage.out_channels // stage.groups
    return [
        float(stage.is_depthwise),
        stage.kernel[0] * stage.kernel[1],
        stage.strides[0],
        log2(stage.in_channels),
        log2(stage.out_channels),
        log2(height * width),
        tile.rows,
        tile.pixels,
        vectors,
        tile.lanes / machine.lanes,
        outputs * vectors / machine.registers,
        (outputs + vectors) / (outputs * vectors),
        _waste(width, tile.pixels),
        _waste(height, tile.rows),
        _waste(group_out, tile.channels),
    ]


def _waste(extent: int, tile: int) -> float:
    return ceil(extent / max(1, tile)) * tile / extent


def _other_features(point: Point) -> list[float]:
    """Knobs that are no part of a tile, in the order of their names."""
    others = [float(point[name]) for name in sorted(point) if not name[-1].isdigit() and name != "depth"]
    return (others + [0.0] * _OTHER_KNOBS)[:_OTHER_KNOBS]
