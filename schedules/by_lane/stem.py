"""A convolution that sums over a few channels, such as the first of a network: its windows packed, then products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, ForKind, IfThenElse

from tvm_dwfuse.blocks import Block

from ..direct.axis import Axis, Piece
from ..lanes import Span, Window, gather, ramp, zeros
from ..loops import FlatViews, int64, loop, sequence
from ..tile import Knobs
from .packing import Packing
from .products import registers
from .stages import multiply, packed_factors, stages_of
from .strips import pieces
from .tiles import flat_tiles, slots_of


def statements(block: Block, knobs: Knobs, params: Sequence[tirx.Buffer], flat: FlatViews, threads: int) -> tirx.Stmt:
    """Rows of the output in parallel; of each the windows are packed, tap by tap, and multiplied. ``x`` is NCHW."""
    (stage,) = stages_of(block, knobs.tiles, params, flat)
    conv, tile = stage.conv, stage.tile
    out_h, out_w = block.sizes()[1]
    packing = Packing(conv.kernel[0] * conv.kernel[1] * conv.in_channels, tile.pixels // tile.lanes, tile.lanes)
    count, left = divmod(out_w, tile.pixels)

    def row(i: Expr) -> tirx.Stmt:
        packed = registers("packed", (count + (left > 0)) * packing.size)
        windows = _Windows(block, packing, flat.of(params[0]), packed, tirx.floordiv(i, int64(out_h)))
        tiles = flat_tiles(count, tile.pixels, left, tile.lanes, i * int64(out_w))
        products = multiply(stage, tiles, packed_factors(packing, packed), flat.of(params[-1]))
        return sequence([tirx.AllocBuffer(packed), windows.row(tirx.floormod(i, int64(out_h))), products])

    return loop(block.batch * out_h, ForKind.PARALLEL if threads > 1 else ForKind.SERIAL, row, "row")


@dataclass(frozen=True)
class _Windows:
    """What outputs read of an image, packed: channels are the (row, column, channel) of their windows."""

    block: Block
    packing: Packing
    source: tirx.Buffer
    packed: tirx.Buffer
    image: Expr

    def row(self, number: Expr) -> tirx.Stmt:
        """The windows of row ``number`` of the output."""
        return self._in_piece(pieces(self._axis(0), 1), number)

    def _in_piece(self, rows: Sequence[Piece], number: Expr) -> tirx.Stmt:
        first, *rest = rows
        here = self._tiles(first, number if first.count > 1 else int64(0))
        if not rest:
            return here
        there = self._in_piece(rest, number - int64(first.count))
        return IfThenElse(number < int64(first.count), here, there)

    def _tiles(self, rows: Piece, number: Expr) -> tirx.Stmt:
        begin = number * int64(self._axis(0).in_step)
        sources = dict(self._axis(0).reads(rows.first))

        def tiles(columns: Piece) -> tirx.Stmt:
            body = partial(self._tile, sources, begin, columns)
            return loop(columns.count, ForKind.SERIAL, body, "columns")

        return sequence([tiles(columns) for columns in pieces(self._axis(1), self._tile_size)])

    @property
    def _tile_size(self) -> int:
        return self.packing.groups * self.packing.lanes

    def _tile(self, sources: dict[int, int], begin: Expr, columns: Piece, i: Expr) -> tirx.Stmt:
        (conv,) = self.block.stages
        statements: list[tirx.Stmt] = []
        tile = i + int64(columns.first // self._tile_size)
        for channel in range(conv.in_channels):
            for tap_row in range(conv.kernel[0]):
                window = None
                if tap_row in sources:
                    window = self._window(channel, begin + int64(sources[tap_row]), columns, i)
                    statements += window.statements
                for tap in range(conv.kernel[1]):
                    k = self.packing.missing + (tap_row * conv.kernel[1] + tap) * conv.in_channels + channel
                    statements += self._vectors(window, k, tap, columns, tile)
        return sequence(statements)

    def _vectors(self, window: Window | None, k: int, tap: int, columns: Piece, tile: Expr) -> list[tirx.Stmt]:
        """What the tile's outputs read at one place of the window, group by group; zeros if it is all padding."""
        lanes = self.packing.lanes
        outs = dict(zip(slots_of(columns.size, lanes), range(columns.first, columns.first + columns.size), strict=True))
        stores: list[tirx.Stmt] = []
        for group in range(max(outs) // lanes + 1):
            slots = range(group * lanes, group * lanes + lanes)
            places = [dict(self._axis(1).reads(outs[slot])).get(tap) if slot in outs else None for slot in slots]
            value = zeros(lanes) if window is None else gather(window, places, self._span(columns), self._origin)
            at = self.packing.square(tile, int64(k // lanes), int64(group)) + int64(k % lanes * lanes)
            stores.append(BufferStore(self.packed, value, [ramp(at, lanes)]))
        return stores

    def _window(self, channel: int, row: Expr, columns: Piece, i: Expr) -> Window:
        height, width = self.block.height, self.block.width
        plane = self.image * int64(self.block.stages[0].in_channels) + int64(channel)
        start = (plane * int64(height) + row) * int64(width) + i * int64(columns.size * self._axis(1).in_step)
        return Window(self.source, start)

    @property
    def _origin(self) -> int:
        """Where shared loads begin, modulo the stride: so that the last tap reads the last lane of its load.

        LLVM shortens loads whose last lanes nobody reads to odd sizes, which take several instructions.
        """
        axis = self._axis(1)
        return (axis.taps - 1) * axis.dilation - axis.pad - (axis.in_step - 1)

    def _span(self, columns: Piece) -> Span:
        """Elements of the row that every tile of the piece has, from where its first tile counts them."""
        return Span(0, self.block.width - (columns.count - 1) * columns.size * self._axis(1).in_step)

    def _axis(self, which: int) -> Axis:
        (conv,), size = self.block.stages, (self.block.height, self.block.width)
        out = self.block.sizes()[1][which]
        return Axis.forward(
            out, size[which], conv.kernel[which], conv.strides[which], conv.dilation[which], conv.padding[which]
        )
