"""Row arithmetic of a chain over symbolic rows: the counterpart of what ``Chain`` tells by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.tiling.chain import Chain

from .emit import Scalar, ceil_div, choose, larger, let, simplified, smaller


@dataclass(frozen=True)
class RowWalk:
    """Steps over rows [begin, end) of the last tensor, ``count`` of them, and where other tensors' rows lie in rings.

    Rings are turned so that the rows which one step adds always lie in one run: the first step's end at the ring's
    end, and those of each later step start where a multiple of their number does. ``first_ends`` has the end of the
    first step's rows of each tensor, ``first_chunks`` the chunks of input that it takes.
    """

    chain: Chain
    begin: Scalar
    end: Scalar
    count: Scalar
    first_ends: tuple[Scalar, ...]
    first_chunks: Scalar

    @staticmethod
    def over(chain: Chain, begin: Scalar, end: Scalar) -> RowWalk:
        """The walk over those rows; emits what all steps share."""
        if chain.steps == 1:
            return RowWalk(chain, begin, end, 1, (0,) * len(chain.stages), 1)
        first_end = let("first_end", smaller(begin + chain.tile.rows, end))
        ends = [let(f"first_end{i}", _end_row(chain, i, first_end)) for i in range(len(chain.stages))]
        count = let("steps", ceil_div(end - begin, chain.tile.rows))
        chunks: Scalar = 1
        if chain.input_in_chunks and any(map(_reaches, chain.stages)):
            chunks = let("first_chunks", ceil_div(ends[0] - _first_row(chain, 0, begin), chain.step_rows(0)))
        return RowWalk(chain, begin, end, count, tuple(ends), chunks)

    def chunks(self, index: Scalar, first: Any) -> tuple[Scalar, Scalar]:
        """First chunk of input that step ``index`` takes, and their end."""
        end = self.first_chunks + index
        return choose(first, 0, end - 1) if not isinstance(self.first_chunks, int) else end - 1, end

    @property
    def chunk_count(self) -> Scalar:
        """Chunks of input of all steps."""
        return self.first_chunks + self.count - 1

    def chunk_rows(self, chunk: Scalar) -> tuple[Scalar, Scalar]:
        """Rows [lo, hi) of the input in that chunk; none where earlier ones have them all."""
        size = self.chain.step_rows(0)
        hi = self.first_ends[0] + (chunk - self.first_chunks + 1) * size
        lo = larger(_first_row(self.chain, 0, self.begin), hi - size)
        return lo, smaller(hi, self.end_row(0, self.end))

    def end_row(self, tensor: int, row: Scalar) -> Scalar:
        """End of the rows of ``tensor`` that rows of the last tensor before ``row`` read."""
        return _end_row(self.chain, tensor, row)

    def new_from(self, tensor: int, first: Any, begin: Scalar) -> Scalar:
        """First row of ``tensor`` that a step which begins at ``begin`` adds; ``first`` tells the first step."""
        if self.chain.steps == 1:
            return 0
        if not any(_reaches(stage) for stage in self.chain.stages[tensor:]):
            return begin
        return choose(first, _first_row(self.chain, tensor, self.begin), self.end_row(tensor, begin))

    def position(self, tensor: int, row: Scalar) -> Scalar:
        """Where ``row`` of ``tensor`` lies in its ring."""
        if self.chain.steps == 1:
            return row
        ring = self.chain.ring_rows(tensor)
        return (row - self.first_ends[tensor] + ring) % ring


def _first_row(chain: Chain, tensor: int, row: Scalar) -> Scalar:
    for stage in reversed(chain.stages[tensor:]):
        row = larger(0, row * stage.strides[0] - stage.padding[0]) if _reaches(stage) else row
    return simplified(row)


def _end_row(chain: Chain, tensor: int, row: Scalar) -> Scalar:
    for i in reversed(range(tensor, len(chain.stages))):
        stage = chain.stages[i]
        if _reaches(stage):
            row = smaller(chain.sizes[i][0], (row - 1) * stage.strides[0] - stage.padding[0] + stage.kernel[0])
    return simplified(row)


def _reaches(stage: Conv) -> bool:
    """Whether a row of the output reads anything but the same row of the input."""
    return (stage.kernel[0], stage.strides[0], stage.padding[0], stage.padding[2]) != (1, 1, 0, 0)
