"""Depthwise convolution, forward: y[o] = b[o] + sum over taps of w[o][i][j] * x[o // multiplier][...]."""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets import CpuTarget

from .direct.axis import Axis
from .direct.gather import GatherTile
from .direct.kernel import gather_function


def axes(conv: Depthwise) -> tuple[Axis, Axis]:
    """What the rows and the columns of the output read."""
    top, left, _, _ = conv.padding
    out_h, out_w = conv.out_size
    return (
        Axis.forward(out_h, conv.height, conv.kernel[0], conv.stride[0], conv.dilation[0], top),
        Axis.forward(out_w, conv.width, conv.kernel[1], conv.stride[1], conv.dilation[1], left),
    )


def build(
    conv: Depthwise, target: CpuTarget, threads: int = 1, bias: bool = False, tile: GatherTile | None = None
) -> tirx.PrimFunc:
    """The kernel: x, w [, b] -> y, of the shapes in ``operand_shapes("forward", conv, bias)``.

    ``tile`` is the register tile, None for the default one.
    """
    return gather_function("forward", conv, axes(conv), target, threads, bias, tile)
