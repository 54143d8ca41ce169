"""What can be chosen about kernels by lane, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.targets import CpuTarget

from ..stages import MAX_TILE_BYTES
from ..tile import Freedom, Knobs, Tile
from .knobs import CACHE_SHARE, is_one_pixel, product_tiles

#: Rows of a step behind a depthwise stage. More are more code: a depthwise tile has all of them.
_FUSED_DEPTHS = (1, 2, 4, 8, 12, 16)

#: Steps of a pointwise stage on its own, as shares of what the cache holds.
_STEPS = (1, 2, 4, 8)

#: Columns of a depthwise tile.
_COLUMNS = (1, 2, 4, 8)

#: Vectors of sums of a single pixel: loads bound it, and enough of them hide latency.
_VECTORS_OF_ONE_PIXEL = (2, 4, 8, 12, 16)

#: Most groups of pixels in a tile of products.
_MOST_GROUPS = 4

#: Registers that the choices leave to LLVM, which loads some values a step early; the default leaves three.
_SPARE = 1


def freedom(block: Block, target: CpuTarget, default: Knobs) -> Freedom:
    """Steps and tiles: of products all that registers hold, of a depthwise stage a few columns."""
    depths = [default.depth]
    if block.order == "pw" and not is_one_pixel(block):
        depths = sorted({max(1, default.depth // steps) for steps in _STEPS})
    elif len(block.stages) > 1:
        depths = [
            depth for depth in _FUSED_DEPTHS if depth <= block.sizes()[-1][0] and _step_fits(block, depth, target)
        ]
    choices: dict[str, Sequence[int]] = {"depth": depths}
    for i, stage in enumerate(block.stages):
        choices |= {f"{name}{i}": values for name, values in _stage_choices(block, stage, target).items()}

    def fits(knobs: Knobs) -> bool:
        return _refusal(block, knobs, target.lanes) is None and all(
            stage.is_depthwise or _registers(tile) + _SPARE <= target.registers
            for stage, tile in zip(block.stages, knobs.tiles, strict=True)
        )

    return Freedom(choices, fits)


def _stage_choices(block: Block, stage: Conv, target: CpuTarget) -> dict[str, list[int]]:
    if stage.is_depthwise:
        return {"pixels": [count for count in _COLUMNS if count <= block.sizes()[-1][1]]}
    if is_one_pixel(block):
        return {"channels": [count * target.lanes for count in _VECTORS_OF_ONE_PIXEL]}
    tiles = product_tiles(target, _MOST_GROUPS, _SPARE)
    return {
        "pixels": sorted({tile.pixels for tile in tiles}),
        "channels": sorted({tile.channels for tile in tiles if tile.channels <= stage.out_channels}),
    }


def _step_fits(block: Block, depth: int, target: CpuTarget) -> bool:
    """Whether the packed rows of a step are within their share of the cache; a single row always counts as such."""
    depthwise = next(i for i, stage in enumerate(block.stages) if stage.is_depthwise)
    width, channels = block.sizes()[depthwise + 1][1], block.stages[depthwise].out_channels
    return depth == 1 or 4 * depth * width * channels <= CACHE_SHARE * target.l2_bytes


def _registers(tile: Tile) -> int:
    """Sums, and what a step of k loads."""
    vectors, groups = tile.channels // tile.lanes, -(-tile.pixels // tile.lanes)
    return tile.pixels * vectors + groups + vectors


def check(block: Block, knobs: Knobs, target: CpuTarget) -> None:
    """Refuse knobs that no kernel by lane has.

    Raises:
        ValueError: what is wrong with them.
    """
    reason = _refusal(block, knobs, target.lanes)
    if reason:
        raise ValueError(reason)


def _refusal(block: Block, knobs: Knobs, lanes: int) -> str | None:
    """Why no kernel by lane has these knobs, None if one has."""
    if len(knobs.tiles) != len(block.stages):
        return f"{len(knobs.tiles)} tiles for a block of {len(block.stages)} stages"
    if knobs.depth < 1:
        return f"a step of {knobs.depth} rows"
    wrong = (_tile_refusal(block, stage, tile, lanes) for stage, tile in zip(block.stages, knobs.tiles, strict=True))
    return next((reason for reason in wrong if reason), None)


def _tile_refusal(block: Block, stage: Conv, tile: Tile, lanes: int) -> str | None:
    if tile.lanes != lanes:
        return f"a tile with vectors of {tile.lanes}: the machine has {lanes} lanes"
    if tile.rows != 1:
        return f"a tile of {tile.rows} rows: tiles by lane have one, or in a depthwise stage those of the step"
    if stage.is_depthwise:
        return (
            None if tile.pixels > 0 and tile.channels == lanes else f"{tile} is no vector of channels by some columns"
        )
    if tile.channels < lanes or tile.channels % lanes:
        return f"a tile of {tile.channels} channels is no number of vectors of {lanes}"
    if not is_one_pixel(block) and (tile.pixels < lanes or tile.pixels % lanes):
        return f"a tile of {tile.pixels} pixels is no number of groups of {lanes}"
    if 4 * tile.pixels * tile.channels > MAX_TILE_BYTES:
        return f"a tile of {tile.pixels} x {tile.channels} sums does not fit the registers"
    return None
