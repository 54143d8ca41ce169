"""Which pixels a tile of products covers, and where they are packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import For, ForKind

from ..loops import int64, loop


@dataclass(frozen=True)
class PixelTiles:
    """``count`` tiles of pixels, the same in each: ``slots`` of a packed tile are the pixels at ``offsets``.

    ``packed(i)`` is the number of the packed tile, ``place(i)`` the pixel from which offsets count. ``count`` may be an
    expression.
    """

    count: int | Expr
    slots: tuple[int, ...]
    offsets: tuple[int, ...]
    packed: Callable[[Expr], Expr]
    place: Callable[[Expr], Expr]

    def loop(self, body: Callable[[Expr], tirx.Stmt]) -> tirx.Stmt:
        """``body`` of each tile."""
        if isinstance(self.count, int):
            return loop(self.count, ForKind.SERIAL, body, "pixels")
        var = tirx.Var("pixels", "int64")
        return For(var, int64(0), self.count, ForKind.SERIAL, body(var))


def flat_tiles(count: int, tile: int, left: int, lanes: int, place: Expr) -> list[PixelTiles]:
    """``count`` tiles of ``tile`` pixels that follow each other from ``place`` on, and one of the ``left`` ones."""
    whole = tuple(range(tile))
    tiles = [PixelTiles(count, whole, whole, lambda i: i, lambda i: place + i * int64(tile))] if count else []
    if left:
        behind = place + int64(count * tile)
        tiles.append(PixelTiles(1, slots_of(left, lanes), whole[:left], lambda i: int64(count), lambda i: behind))
    return tiles


def slots_of(pixels: int, lanes: int) -> tuple[int, ...]:
    """Slots of a tile's pixels, in order, that fill the last lane of the last vector.

    LLVM shortens loads whose last lanes nobody reads to odd sizes, which take two instructions.
    """
    free = -pixels % lanes
    return tuple(range(free, free + pixels))
