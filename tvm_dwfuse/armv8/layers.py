"""Kernels of single layers, built, counted and checked."""

from __future__ import annotations

import numpy as np

from schedules import build_kernel
from schedules.depthwise import build_depthwise
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure
from tvm_dwfuse.targets import CpuTarget

from .counting import count_kernel
from .emulation import Counts
from .operands import TOLERANCE, check_result, random_operands


def count_depthwise(procedure: Procedure, conv: Depthwise, machine: CpuTarget) -> Counts:
    """Count a depthwise kernel and check its result.

    Raises:
        DwfuseError: the result is wrong; and see :func:`.counting.count_kernel`.
    """
    operands = random_operands(procedure, conv)
    counts = count_kernel(build_depthwise(procedure, conv, machine), operands, machine)
    check_result(procedure, conv, operands, counts.outputs[0])
    return counts


def count_pointwise(channels: int, size: int, out_channels: int, machine: CpuTarget) -> Counts:
    """Count a pointwise kernel, NHWC, of one image of ``size`` x ``size`` pixels, and check its result.

    Raises:
        DwfuseError: as :func:`count_depthwise`.
    """
    kernel = build_kernel(Block((Conv(channels, out_channels),), 1, size, size), None, machine)
    numbers = np.random.default_rng(0)
    x = numbers.standard_normal((1, size, size, channels), np.float32)
    weight = numbers.standard_normal((out_channels, channels, 1, 1), np.float32)
    output = np.full((1, size, size, out_channels), np.nan, np.float32)
    counts = count_kernel(kernel.func, [x, kernel.pack("w0", weight), output], machine)
    matrix = weight[:, :, 0, 0].T.astype(np.float64)
    error = np.abs(counts.outputs[0] - x @ matrix)
    if not (error <= TOLERANCE * (np.abs(x) @ np.abs(matrix))).all():
        raise DwfuseError(f"pointwise {channels}@{size} -> {out_channels}: the result is wrong")
    return counts
