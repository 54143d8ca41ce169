"""The gradient of the data of a depthwise convolution: dx gathers from dy what the forward procedure scattered.

At stride 1 that is a convolution with the kernel turned by 180 degrees. At stride s each of s x s phases of dx is a
stride-1 convolution of dy with the taps that fall on it: nothing is multiplied with the zeros that an upsampled dy
would have, and rows or columns of x that no output read become zero.
"""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets import CpuTarget

from .depthwise_forward import axes
from .direct.gather import GatherTile
from .direct.kernel import gather_function


def build(conv: Depthwise, target: CpuTarget, threads: int = 1, tile: GatherTile | None = None) -> tirx.PrimFunc:
    """The kernel: dy, w -> dx, of the shapes in ``operand_shapes("backward_data", conv)``.

    ``tile`` is the register tile, None for the default one.
    """
    rows, columns = (axis.transposed() for axis in axes(conv))
    return gather_function("backward_data", conv, (rows, columns), target, threads, False, tile)
