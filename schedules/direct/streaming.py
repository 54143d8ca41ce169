"""Whether the operands of a depthwise procedure come from memory, where it pays to ask for them ahead."""

from __future__ import annotations

import math

from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets import CpuTarget

#: Bytes of a cache line, of all targets but apple-m1, whose lines are longer.
LINE_BYTES = 64


def streams(conv: Depthwise, lanes: int, target: CpuTarget, caches: int) -> bool:
    """Whether the operands are larger than ``caches`` L2 caches, in NHWC with vectors that are whole cache lines.

    That stands for the L3 cache, whose size is not known. Hardware prefetchers do not follow as many rows at once as a
    tile has. Where a vector is a part of a cache line only, there would be several requests for each line.
    """
    size = 4 * (math.prod(conv.input_shape) + math.prod(conv.output_shape))
    return size > caches * target.l2_bytes and 4 * lanes >= LINE_BYTES
