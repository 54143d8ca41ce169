"""What the loops of the weight gradient have in common: operands, parts of a filter, and shares of the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind, IfThenElse

from tvm_dwfuse.kernels.depthwise import Depthwise

from ..loops import int64, loop, sequence
from .axis import Axis, Piece


@dataclass(frozen=True)
class Problem:
    """A weight gradient and the one-dimensional views of its operands; ``db`` is None without a bias.

    ``rows`` and ``columns`` are the axes of the forward convolution.
    """

    conv: Depthwise
    rows: Axis
    columns: Axis
    x: tirx.Buffer
    dy: tirx.Buffer
    dw: tirx.Buffer
    db: tirx.Buffer | None

    @property
    def taps(self) -> int:
        """Taps of the filter of one channel."""
        return self.rows.taps * self.columns.taps


@dataclass(frozen=True)
class Shares:
    """The work as ``splits`` x ``chunks`` tasks: a chunk of the channels, over a part of the strips of all images.

    With several splits each sums for itself, and their sums are added up in the end.
    """

    splits: int
    chunks: int

    @property
    def tasks(self) -> int:
        """How many there are."""
        return self.splits * self.chunks


def share(channels: int, strips: int, threads: int) -> Shares:
    """Equal tasks for ``threads``: by channels (or vectors of them) where these come out even, by strips otherwise."""

    def idle(shares: Shares) -> float:
        tasks = -(-channels // shares.chunks) * -(-strips // shares.splits)
        rounds = -(-shares.tasks // threads)
        return round(rounds * tasks * threads / (channels * strips) - 1, 1)

    candidates = [
        Shares(splits, min(channels, -(-threads // splits) * repeat))
        for splits in range(1, min(threads, strips) + 1)
        for repeat in (1, 2, 3, 4)
    ]
    return min(candidates, key=lambda shares: (idle(shares), shares.splits, shares.chunks))


#: Writes the code of one strip: the strips it is one of, and its number among these.
StripBody = Callable[[Piece, Expr], tirx.Stmt]


def strip_loops(pieces: list[Piece], image: Expr, split: Expr, splits: int, body: StripBody) -> tirx.Stmt:
    """All strips of an image that are this split's: it takes every ``splits``-th strip of all images."""
    strips = sum(piece.count for piece in pieces)
    statements = []
    before = 0
    for piece in pieces:
        number = image * int64(strips) + int64(before)
        statements.append(loop(piece.count, ForKind.SERIAL, _guarded(piece, number, split, splits, body), "strip"))
        before += piece.count
    return sequence(statements)


def _guarded(piece: Piece, number: Expr, split: Expr, splits: int, body: StripBody) -> Callable[[Expr], tirx.Stmt]:
    def strip(index: Expr) -> tirx.Stmt:
        if splits == 1:
            return body(piece, index)
        is_ours = tirx.floormod(number + index, int64(splits)).equal(split)
        return IfThenElse(is_ours, body(piece, index), None)

    return strip
