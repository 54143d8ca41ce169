"""The inverted residual, NHWC throughout: ``pwdwpw_hwc_hwc_hwc_rows`` by lane.

A step makes a few rows of the depthwise output. The first pointwise stage keeps its output in a ring of rows and runs
ahead by whole tiles of pixels, across the ends of rows: in each step it computes those tiles that the step's rows need
and the steps before have not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind, IfThenElse

from tvm_dwfuse.blocks import Block, Conv

from ..lanes import vector_at
from ..loops import FlatViews, int64, loop, sequence
from ..tile import Knobs
from .depthwise import PackedDepthwise
from .packing import Packing, pack
from .products import registers
from .stages import multiply, packed_factors, stages_of
from .strips import Strips, pieces
from .tiles import PixelTiles, slots_of


def statements(block: Block, knobs: Knobs, params: Sequence[tirx.Buffer], flat: FlatViews, threads: int) -> tirx.Stmt:
    """Each thread walks a chunk of the steps with a ring of its own, and makes what the first one needs by itself."""
    out_h = block.sizes()[-1][0]
    depth = min(knobs.depth, out_h)
    steps = -(-out_h // depth)
    chunks = min(threads, steps)
    each = -(-steps // chunks)

    def walk(i: Expr) -> tirx.Stmt:
        image = tirx.floordiv(i, int64(chunks))
        chunk = tirx.floormod(i, int64(chunks))
        return _Walk(block, knobs, params, flat, depth, image).statement(chunk * int64(each), each)

    return loop(block.batch * chunks, ForKind.PARALLEL if threads > 1 else ForKind.SERIAL, walk, "walk")


@dataclass(frozen=True)
class _Progress:
    """How far the first stage has to be, in tiles of ``tile`` pixels, before each step of ``depth`` rows."""

    conv: Conv
    height: int
    width: int
    depth: int
    tile: int

    @property
    def reach(self) -> int:
        """Rows that the rows of a step read."""
        conv = self.conv
        return (self.depth - 1) * conv.strides[0] + conv.dilation[0] * (conv.kernel[0] - 1) + 1

    @property
    def whole(self) -> int:
        """Full tiles of an image."""
        return self.height * self.width // self.tile

    @property
    def left(self) -> int:
        """Pixels behind them."""
        return self.height * self.width % self.tile

    @property
    def ring(self) -> int:
        """Rows of the ring: what a step reads, and what the last tile may have made of rows behind; whole tiles."""
        rows = self.reach + -(-(self.tile - 1) // self.width)
        while rows * self.width % self.tile:
            rows += 1
        return min(rows, self.height)

    @property
    def most(self) -> int:
        """Tiles that a step may have to make."""
        return min(self.whole, -(-self.reach * self.width // self.tile) + 1)

    def first(self, step: Expr) -> Expr:
        """The first tile that ``step`` reads."""
        row = step * int64(self.depth * self.conv.strides[0]) - int64(self.conv.padding[0])
        return tirx.floordiv(tirx.max(row, int64(0)) * int64(self.width), int64(self.tile))

    def pixels(self, step: Expr) -> Expr:
        """Pixels that are needed for ``step``."""
        row = step * int64(self.depth * self.conv.strides[0]) + int64(self.reach - self.conv.padding[0])
        return tirx.min(row, int64(self.height)) * int64(self.width)

    def end(self, step: Expr) -> Expr:
        """The tile behind the last one that ``step`` needs."""
        tiles = tirx.floordiv(self.pixels(step) + int64(self.tile - 1), int64(self.tile))
        return tirx.min(tiles, int64(self.whole))

    def needs_left(self, step: Expr) -> Expr:
        """Whether ``step`` needs the pixels behind the full tiles."""
        return self.pixels(step) > int64(self.whole * self.tile)


class _Walk:
    """One image, or a part of its steps."""

    def __init__(
        self, block: Block, knobs: Knobs, params: Sequence[tirx.Buffer], flat: FlatViews, depth: int, image: Expr
    ) -> None:
        self._expand, self._depthwise, self._project = stages_of(block, knobs.tiles, params, flat)
        self._source, self._out = flat.of(params[0]), flat.of(params[-1])
        self._image, self._depth = image, depth
        (self._height, self._width), _, (self._out_h, self._out_w), _ = block.sizes()
        lanes, conv = self._expand.lanes, self._depthwise.conv
        self._progress = _Progress(conv, self._height, self._width, depth, self._expand.tile.pixels)
        self._in_packing = Packing(self._expand.conv.in_channels, self._expand.tile.pixels // lanes, lanes)
        self._mid_packing = Packing(conv.out_channels, self._project.tile.pixels // lanes, lanes)
        most = self._progress.most + (self._progress.left > 0)
        self._packed = registers("packed", most * self._in_packing.size)
        self._ring = registers("ring", self._progress.ring * self._width * conv.in_channels)
        tiles = max(self._strips(rows).tiles for rows in {depth, self._out_h % depth or depth})
        self._mid = registers("mid", tiles * self._mid_packing.size)
        self._stage = PackedDepthwise(
            self._depthwise, self._height, self._width, self._ring, self._mid, self._mid_packing
        )

    def statement(self, first: Expr, count: int) -> tirx.Stmt:
        """Steps ``first .. first + count``, as far as there are such."""
        steps = -(-self._out_h // self._depth)

        def step(i: Expr) -> tirx.Stmt:
            number = first + i
            body = sequence([*self._expand_for(number, i), self._rest_of(number)])
            return IfThenElse(number < int64(steps), body, None)

        buffers = [tirx.AllocBuffer(buffer) for buffer in (self._packed, self._ring, self._mid)]
        return sequence([*buffers, loop(count, ForKind.SERIAL, step, "step")])

    def _expand_for(self, step: Expr, walked: Expr) -> list[tirx.Stmt]:
        """The tiles of the first stage that ``step`` needs and no step of this walk before it."""
        progress, tile = self._progress, self._progress.tile
        fresh = walked == int64(0)
        begin = tirx.Var("begin", "int64")
        made = tirx.if_then_else(fresh, progress.first(step), progress.end(step - int64(1)))
        count = progress.end(step) - begin
        whole = tuple(range(tile))
        written = [tirx.Bind(begin, made), *self._expand_tiles(count, whole, int64(0), begin)]
        if progress.left:
            slots = slots_of(progress.left, self._expand.lanes)
            rest = sequence(self._expand_tiles(1, slots, int64(progress.most), int64(progress.whole)))
            late = tirx.any(fresh, tirx.Not(progress.needs_left(step - int64(1))))
            written.append(IfThenElse(tirx.all(progress.needs_left(step), late), rest, None))
        return written

    def _expand_tiles(self, count: int | Expr, slots: tuple[int, ...], packed: Expr, first: Expr) -> list[tirx.Stmt]:
        """``count`` tiles from tile ``first`` of the image on, packed from ``packed`` on."""
        tile, offsets = self._progress.tile, tuple(range(len(slots)))
        pixels, ring = self._height * self._width, self._progress.ring * self._width

        def read(i: Expr) -> Expr:
            return self._image * int64(pixels) + (first + i) * int64(tile)

        def written(i: Expr) -> Expr:
            place = (first + i) * int64(tile)
            return place if ring == pixels else tirx.floormod(place, int64(ring))

        reads = PixelTiles(count, slots, offsets, lambda i: packed + i, read)
        writes = PixelTiles(count, slots, offsets, lambda i: packed + i, written)
        inputs = packed_factors(self._in_packing, self._packed)
        return [
            pack(self._in_packing, self._packed, reads, self._input),
            multiply(self._expand, [writes], inputs, self._ring),
        ]

    def _input(self, pixel: Expr, channel: Expr) -> Expr:
        return vector_at(self._source, pixel * int64(self._in_packing.channels) + channel, self._in_packing.lanes)

    def _rest_of(self, step: Expr) -> tirx.Stmt:
        """The depthwise rows of a step and the second pointwise stage on them."""
        tiles = pieces(self._stage.rows, self._depth)
        whole = [piece for piece in tiles if piece.size == self._depth]
        rest = [piece for piece in tiles if piece.size < self._depth]
        here = self._rows(whole, step, step)
        if not rest:
            return here
        last = self._rows(rest, int64(0), step)
        return IfThenElse(step < int64(sum(piece.count for piece in whole)), here, last)

    def _rows(self, tiles: list, number: Expr, step: Expr) -> tirx.Stmt:
        row = self._image * int64(self._out_h) + step * int64(self._depth)
        parts = self._strips(tiles[0].size).pixel_tiles(row * int64(self._out_w))
        inputs = packed_factors(self._mid_packing, self._mid)
        return sequence(
            [self._stage.step(tiles, number, self._ring_row), multiply(self._project, parts, inputs, self._out)]
        )

    def _ring_row(self, row: Expr) -> Expr:
        rows = self._progress.ring
        place = row if rows == self._height else tirx.floormod(row, int64(rows))
        return place * int64(self._width * self._depthwise.conv.in_channels)

    def _strips(self, rows: int) -> Strips:
        lanes = self._depthwise.lanes
        return Strips(rows, self._out_w, self._mid_packing.groups, lanes, self._depthwise.tile.pixels >= lanes)
