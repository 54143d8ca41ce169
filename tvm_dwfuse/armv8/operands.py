"""Operands of a depthwise kernel: random contents, and float64 results to check a kernel by."""

from __future__ import annotations

import numpy as np

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes

#: Largest difference from the float64 result, relative to the sum of the absolute products, that rounding explains.
TOLERANCE = 1e-5

_OUTPUT = {"forward": "y", "backward_data": "dx", "backward_weight": "dw"}


def random_operands(procedure: Procedure, conv: Depthwise, seed: int = 0) -> list[np.ndarray]:
    """Contents of a kernel's parameters, float32; the output, which stands last, is filled with NaN."""
    numbers = np.random.default_rng(seed)
    shapes = operand_shapes(procedure, conv)
    inputs = [numbers.standard_normal(shape, np.float32) for shape in list(shapes.values())[:-1]]
    return [*inputs, np.full(shapes[_OUTPUT[procedure]], np.nan, np.float32)]


def check_result(procedure: Procedure, conv: Depthwise, operands: list[np.ndarray], result: np.ndarray) -> None:
    """Compare a kernel's output with the one computed in float64 from ``operands``.

    Raises:
        DwfuseError: they differ by more than rounding explains.
    """
    inputs = [operand.astype(np.float64) for operand in operands[:-1]]
    expected = compute(procedure, conv, *inputs)
    bound = TOLERANCE * compute(procedure, conv, *map(np.abs, inputs)) + 1e-30
    # Written so that NaN counts as wrong.
    wrong = ~(np.abs(result - expected) <= bound)
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise DwfuseError(
            f"{procedure} in {conv.layout}: {wrong.sum()} of {wrong.size} values are wrong, the first at {place}: "
            f"{result[place]:g}, not {expected[place]:g}"
        )


def compute(procedure: Procedure, conv: Depthwise, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The output of a procedure without bias from its two inputs, in their precision, tap by tap."""
    nhwc = conv.layout == "NHWC"
    first = _to_nchw(first, nhwc)
    if procedure == "backward_weight":
        return _weight_gradient(conv, first, _to_nchw(second, nhwc))
    weights = second if nhwc else second[:, 0].transpose(1, 2, 0)
    result = (_forward if procedure == "forward" else _data_gradient)(conv, first, weights)
    return result.transpose(0, 2, 3, 1) if nhwc else result


def _forward(conv: Depthwise, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    padded = _padded(conv, np.repeat(x, conv.multiplier, axis=1))
    result = np.zeros((conv.batch, conv.out_channels, *conv.out_size), x.dtype)
    for i, j in np.ndindex(*conv.kernel):
        result += padded[_window(conv, i, j)] * weights[i, j][:, None, None]
    return result


def _data_gradient(conv: Depthwise, dy: np.ndarray, weights: np.ndarray) -> np.ndarray:
    padded = _padded(conv, np.zeros((conv.batch, conv.out_channels, conv.height, conv.width), dy.dtype))
    for i, j in np.ndindex(*conv.kernel):
        padded[_window(conv, i, j)] += dy * weights[i, j][:, None, None]
    top, left, _, _ = conv.padding
    result = padded[..., top : top + conv.height, left : left + conv.width]
    return result.reshape(conv.batch, conv.channels, conv.multiplier, conv.height, conv.width).sum(axis=2)


def _weight_gradient(conv: Depthwise, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    padded = _padded(conv, np.repeat(x, conv.multiplier, axis=1))
    result = np.empty((*conv.kernel, conv.out_channels), x.dtype)
    for i, j in np.ndindex(*conv.kernel):
        result[i, j] = (padded[_window(conv, i, j)] * dy).sum(axis=(0, 2, 3))
    return result if conv.layout == "NHWC" else result.transpose(2, 0, 1)[:, None]


def _padded(conv: Depthwise, x: np.ndarray) -> np.ndarray:
    top, left, bottom, right = conv.padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _window(conv: Depthwise, i: int, j: int) -> tuple[slice, ...]:
    """All images and channels, and the padded rows and columns that tap (i, j) meets."""
    starts = (i * conv.dilation[0], j * conv.dilation[1])
    rows, columns = (
        slice(start, start + (size - 1) * stride + 1, stride)
        for start, size, stride in zip(starts, conv.out_size, conv.stride, strict=True)
    )
    return slice(None), slice(None), rows, columns


def _to_nchw(array: np.ndarray, nhwc: bool) -> np.ndarray:
    return array.transpose(0, 3, 1, 2) if nhwc else array
