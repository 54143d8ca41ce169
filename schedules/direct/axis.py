"""One spatial axis of a depthwise procedure whose outputs gather from inputs, and how tiles cover it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Output ``o`` reads through tap ``t`` the input ``(o * in_step + sign * (t * dilation - pad)) / out_step``.

    Where that is no whole number, or no input, it reads nothing. ``out_step`` outputs and ``in_step`` inputs further
    everything repeats. The forward convolution has ``out_step`` 1 and ``in_step`` the stride; the data gradient, which
    turns the roles around, has them exchanged and ``sign`` -1 (Dumoulin and Visin 2016, section 4).
    """

    outputs: int
    inputs: int
    taps: int
    in_step: int
    out_step: int
    dilation: int
    pad: int
    sign: int

    @staticmethod
    def forward(outputs: int, inputs: int, taps: int, stride: int, dilation: int, pad: int) -> Axis:
        """The axis of a convolution."""
        return Axis(outputs, inputs, taps, stride, 1, dilation, pad, 1)

    def transposed(self) -> Axis:
        """The axis of the data gradient of this convolution."""
        return Axis(
            self.inputs, self.outputs, self.taps, self.out_step, self.in_step, self.dilation, self.pad, -self.sign
        )

    def source(self, out: int, tap: int) -> int | None:
        """The input that ``out`` reads through ``tap``, be it inside or not; None if it falls between inputs."""
        place = out * self.in_step + self.sign * (tap * self.dilation - self.pad)
        return None if place % self.out_step else place // self.out_step

    def has(self, source: int | None) -> bool:
        """Whether there is such an input."""
        return source is not None and 0 <= source < self.inputs

    def reads(self, out: int) -> list[tuple[int, int]]:
        """The (tap, input) pairs of one output."""
        pairs = ((tap, self.source(out, tap)) for tap in range(self.taps))
        return [(tap, source) for tap, source in pairs if source is not None and self.has(source)]

    def is_interior(self, out: int) -> bool:
        """Whether no tap of ``out`` falls on the border."""
        sources = (self.source(out, tap) for tap in range(self.taps))
        return all(source is None or self.has(source) for source in sources)


@dataclass(frozen=True)
class Piece:
    """``count`` tiles of outputs ``first .. first + size``, each ``size`` further; ``count`` above 1 is a loop."""

    first: int
    size: int
    count: int = 1


def cover(axis: Axis, tile: int) -> list[Piece]:
    """Tiles of at most ``tile`` outputs: those at the borders one by one, those between as one piece.

    A tile begins at a multiple of ``out_step``, and the sizes differ as little as that allows.
    """
    count = -(-axis.outputs // tile)
    size = -(-axis.outputs // count)
    size = -(-size // axis.out_step) * axis.out_step
    pieces: list[Piece] = []
    for first in range(0, axis.outputs, size):
        piece = Piece(first, min(size, axis.outputs - first))
        last = pieces[-1] if pieces else None
        if last and last.size == piece.size and _is_interior(axis, last) and _is_interior(axis, piece):
            pieces[-1] = Piece(last.first, size, last.count + 1)
        else:
            pieces.append(piece)
    return pieces


def _is_interior(axis: Axis, piece: Piece) -> bool:
    return all(axis.is_interior(out) for out in range(piece.first, piece.first + piece.size))
