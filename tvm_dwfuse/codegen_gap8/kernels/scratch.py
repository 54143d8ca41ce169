"""Constant layouts and scratch sizes of the C kernels in this directory."""

from __future__ import annotations

import numpy as np


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


def pack_conv_weights(weights: np.ndarray) -> np.ndarray:
    """Weights of a convolution with groups = 1 as ``dwfuse_pointwise`` and ``dwfuse_conv`` read them.

    Args:
        weights: int8, OIHW.

    Returns:
        int8 (O, k): a row for each output channel, ordered (kernel row, kernel column, input channel), zero filled to
        ``k``, a multiple of 4.
    """
    rows = weights.transpose(0, 2, 3, 1).reshape(len(weights), -1)
    return _padded(rows)


def pack_depthwise_weights(weights: np.ndarray) -> np.ndarray:
    """Weights of a depthwise convolution as ``dwfuse_depthwise`` reads them.

    Args:
        weights: int8, (channels, 1, kernel height, kernel width).

    Returns:
        int8 (channels, kernel height * w): each kernel row zero filled to ``w``, the kernel width rounded up to a
        multiple of 4.
    """
    return _padded(weights[:, 0]).reshape(len(weights), -1)


def pack_requantization(multiplier: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The kernels' table ``q``: int32 (channels, 2), multiplier and offset of each output channel."""
    return np.stack([multiplier, offset], axis=1).astype(np.int32)


def conv_scratch(kernel: tuple[int, int], in_channels: int) -> int:
    """Bytes of scratch that ``dwfuse_conv`` needs for each core: four pixels' worth of operands."""
    return 4 * round_up(kernel[0] * kernel[1] * in_channels, 4)


def depthwise_scratch(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, int, int, int],
    out_width: int,
    band: int,
    channels_last: bool,
) -> int:
    """Bytes of scratch that ``dwfuse_depthwise`` needs for each core.

    Args:
        kernel, strides: (height, width).
        padding: (top, left, bottom, right) of the layer; a tile inside the image may have less at the top and bottom.
        out_width: columns of the output.
        band: output rows staged at a time; at most the rows of one call.
        channels_last: whether the input is HWC, staged four channels at a time. A CHW input is staged one channel at
            a time, or not at all if :func:`pads_in_registers`.
    """
    narrow = pads_in_registers(kernel, strides, padding, out_width)
    if narrow and not channels_last:
        return 0
    rows = (band - 1) * strides[0] + kernel[0]
    begin_of_last = (out_width - 1) * strides[1]
    if narrow:
        row_bytes = round_up(begin_of_last + kernel[1] - padding[1], 4)
    else:
        row_bytes = round_up(-padding[1] % 4 + begin_of_last + round_up(kernel[1], 4), 4)
    return (4 if channels_last else 1) * (rows * row_bytes + 4)


def pads_in_registers(
    kernel: tuple[int, int], strides: tuple[int, int], padding: tuple[int, int, int, int], out_width: int
) -> bool:
    """Whether the 3x3 kernels compute it, which need no padding in memory.

    From a CHW input they read directly, without scratch and without the cost of staging.
    """
    return kernel == (3, 3) and strides in ((1, 1), (2, 2)) and max(padding) <= 1 and out_width >= 4


def _padded(rows: np.ndarray) -> np.ndarray:
    """The array with its last axis zero filled to a multiple of 4."""
    missing = -rows.shape[-1] % 4
    return np.ascontiguousarray(np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, missing)]))
