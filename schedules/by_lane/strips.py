"""How the outputs of a depthwise stage, a few rows at a time, become tiles of pixels for the products behind it.

A group is the ``lanes`` pixels of one vector: four of a row, two by two, or four rows of a column, so that groups fit
images of any width. A tile is ``groups`` adjacent groups of a strip.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from ..direct.axis import Axis, Piece
from ..loops import int64
from .tiles import PixelTiles


@dataclass(frozen=True)
class Strips:
    """``rows`` x ``width`` pixels in tiles of ``groups`` groups of ``lanes``.

    ``along_row`` asks for groups of one row, which a depthwise stage has complete as soon as it has done the row.
    """

    rows: int
    width: int
    groups: int
    lanes: int
    along_row: bool

    @property
    def group_rows(self) -> int:
        """Rows of a group, and of a strip: one if ``along_row`` and if tiles then fill the width, else the most."""
        if self.along_row and self.width % (self.lanes * self.groups) == 0:
            return 1
        return max(rows for rows in range(1, self.lanes + 1) if self.rows % rows == 0 and self.lanes % rows == 0)

    @property
    def group_columns(self) -> int:
        """Columns of a group."""
        return self.lanes // self.group_rows

    @property
    def tiles_in_strip(self) -> int:
        """Packed tiles of one strip; the last may lack groups."""
        return -(-self.width // (self.group_columns * self.groups))

    @property
    def tiles(self) -> int:
        """Packed tiles of all strips."""
        return self.rows // self.group_rows * self.tiles_in_strip

    def slot(self, row: int, column: int, width: int) -> int:
        """Lane of a pixel in its group, columns counted from where a tile of ``width`` columns begins.

        The last group may lack columns: then lanes are left free in front, as LLVM shortens loads whose last lanes
        nobody reads to odd sizes, which take two instructions.
        """
        missing = max(0, column // self.group_columns * self.group_columns + self.group_columns - width)
        return row % self.group_rows * self.group_columns + column % self.group_columns + missing

    def pixel_tiles(self, place: Expr) -> list[PixelTiles]:
        """All tiles; ``place`` is where the first of these rows begins in the output, in pixels."""
        columns = self.group_columns * self.groups
        full, left = divmod(self.width, columns)
        parts = [self._tiles(place, full, 0, columns)] if full else []
        return [*parts, self._tiles(place, 1, full, left)] if left else parts

    def _tiles(self, place: Expr, each: int, first: int, columns: int) -> PixelTiles:
        """``each`` tiles of ``columns`` columns in every strip, from tile ``first`` of the strip on."""
        pixels = sorted(
            (column // self.group_columns * self.lanes + self.slot(row, column, columns), row * self.width + column)
            for row in range(self.group_rows)
            for column in range(columns)
        )
        skipped = first * self.group_columns * self.groups

        def packed(i: Expr) -> Expr:
            strip, tile = _divmod(i, each)
            return strip * int64(self.tiles_in_strip) + tile + int64(first)

        def begin(i: Expr) -> Expr:
            strip, tile = _divmod(i, each)
            return place + strip * int64(self.group_rows * self.width) + tile * int64(columns) + int64(skipped)

        strips = self.rows // self.group_rows
        slots, offsets = zip(*pixels, strict=True)
        return PixelTiles(strips * each, slots, offsets, packed, begin)


def _divmod(i: Expr, by: int) -> tuple[Expr, Expr]:
    return tirx.floordiv(i, int64(by)), tirx.floormod(i, int64(by))


def pieces(axis: Axis, tile: int) -> list[Piece]:
    """Tiles of exactly ``tile`` outputs and what is left: those at borders one by one, those between as one piece."""
    found: list[Piece] = []
    for first in range(0, axis.outputs, tile):
        size = min(tile, axis.outputs - first)
        inside = size == tile and all(axis.is_interior(out) for out in range(first, first + size))
        last = found[-1] if found else None
        if inside and last and last.size == tile and all(axis.is_interior(last.first + i) for i in range(tile)):
            found[-1] = Piece(last.first, tile, last.count + 1)
        else:
            found.append(Piece(first, size))
    return found
