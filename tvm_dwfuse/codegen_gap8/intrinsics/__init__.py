"""The C functions that schedules call, each with its prototype, the file that holds it, and its meaning in TensorIR.

Schedules call them by name and by keyword, e.g. ``add(a=(l1_a, 0), b=(l1_b, 0), count=64, ...)``. The printer writes
the call out as C. :mod:`tvm_dwfuse.codegen_gap8.expand_intrinsics` puts the meaning in its place, for LLVM.
"""

from __future__ import annotations

from .convolutions import conv, depthwise, pointwise
from .definition import Arguments, Intrinsic, Parameter, Pointer
from .elementwise import add, average_pool
from .table import INTRINSICS, called_intrinsic
from .transfers import dma_in, dma_out, dma_wait

__all__ = [
    "INTRINSICS",
    "Arguments",
    "Intrinsic",
    "Parameter",
    "Pointer",
    "add",
    "average_pool",
    "called_intrinsic",
    "conv",
    "depthwise",
    "dma_in",
    "dma_out",
    "dma_wait",
    "pointwise",
]
