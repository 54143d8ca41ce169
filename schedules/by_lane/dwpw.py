"""Depthwise then pointwise, NHWC throughout: ``dwpw_hwc_hwc_hwc_rows`` by lane."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind

from tvm_dwfuse.blocks import Block

from ..loops import FlatViews, int64, loop, sequence
from ..tile import Knobs
from .depthwise import PackedDepthwise
from .packing import Packing
from .products import registers
from .stages import multiply, packed_factors, stages_of
from .strips import Strips, pieces


def statements(block: Block, knobs: Knobs, params: Sequence[tirx.Buffer], flat: FlatViews, threads: int) -> tirx.Stmt:
    """Steps of a row tile of the depthwise stage, in parallel; a step packs its outputs and multiplies them."""
    depthwise, pointwise = stages_of(block, knobs.tiles, params, flat)
    source, out = flat.of(params[0]), flat.of(params[-1])
    (height, width), (out_h, out_w), _ = block.sizes()
    channels, lanes = depthwise.conv.out_channels, depthwise.lanes
    packing = Packing(channels, pointwise.tile.pixels // lanes, lanes)

    def step(rows: list, image: Expr, number: Expr, first_row: Expr, parallel: bool) -> tirx.Stmt:
        strips = Strips(rows[0].size, out_w, packing.groups, lanes, depthwise.tile.pixels >= lanes)
        packed = registers("packed", strips.tiles * packing.size)
        stage = PackedDepthwise(depthwise, height, width, source, packed, packing)
        place = (image * int64(out_h) + first_row) * int64(out_w)

        def row_place(row: Expr) -> Expr:
            return (image * int64(height) + row) * int64(width * channels)

        return sequence(
            [
                tirx.AllocBuffer(packed),
                stage.step(rows, number, row_place, parallel),
                multiply(pointwise, strips.pixel_tiles(place), packed_factors(packing, packed), out, parallel=parallel),
            ]
        )

    geometry = PackedDepthwise(depthwise, height, width, source, source, packing)
    depth = min(knobs.depth, out_h)
    whole = [piece for piece in pieces(geometry.rows, depth) if piece.size == depth]
    rest = [piece for piece in pieces(geometry.rows, depth) if piece.size < depth]
    steps = out_h // depth
    shared = threads > 1 and block.batch * steps >= threads

    def whole_step(i: Expr) -> tirx.Stmt:
        image = tirx.floordiv(i, int64(steps)) if block.batch > 1 else int64(0)
        number = tirx.floormod(i, int64(steps)) if block.batch > 1 else i
        return step(whole, image, number, number * int64(depth), threads > 1 and not shared)

    kind = ForKind.PARALLEL if shared else ForKind.SERIAL
    written = [loop(block.batch * steps, kind, whole_step, "step")]

    def last_step(image: Expr) -> tirx.Stmt:
        return step(rest, image, int64(0), int64(steps * depth), threads > 1)

    if rest:
        written.append(loop(block.batch, ForKind.SERIAL, last_step, "image"))
    return sequence(written)
