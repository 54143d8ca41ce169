"""What a block computes, in numpy and float64: the judge of every candidate. Shares no code with the kernels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from tvm_dwfuse.blocks import Block, Conv, Layout, activation_shape

#: Largest error of an output, of the largest output. Sums in float32 err by some 1e-6 of it, whatever their order; a
#: product too many or too few shows as 1e-2.
TOLERANCE = 1e-4

_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def operands(block: Block, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 operands by name, in call order: activations in the block's layout, weights OIHW, biases (C,).

    Weights are scaled so that activations keep their spread from stage to stage.
    """
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32)

    def activation(height: int, width: int, channels: int) -> np.ndarray:
        return normal(*activation_shape(block.layout, block.batch, height, width, channels))

    channels = block.stages[0].in_channels
    values = {"x": activation(block.height, block.width, channels)}
    if block.prologue:
        values["scale"] = activation(1, 1, channels)
    for i, (conv, size) in enumerate(zip(block.stages, block.sizes()[1:], strict=True)):
        shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)
        values[f"w{i}"] = normal(*shape) / np.float32(np.sqrt(np.prod(shape[1:])))
        if "bias" in conv.epilogue:
            values[f"b{i}"] = normal(conv.out_channels)
        if "add" in conv.epilogue:
            values[f"r{i}"] = activation(*size, conv.out_channels)
    return {name: values[name] for name in block.operands()}


def expected(block: Block, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The block's output in float64 and in its layout, for arrays by name as :func:`operands` makes them."""
    values = {name: value.astype(np.float64) for name, value in arrays.items()}
    x = change_layout(values["x"], block.layout, "NHWC")
    if block.prologue:
        x = x * change_layout(values["scale"], block.layout, "NHWC")
    for i, conv in enumerate(block.stages):
        x = _convolve(x, values[f"w{i}"], conv)
        for step in conv.epilogue:
            if step == "bias":
                x = x + values[f"b{i}"]
            elif step == "add":
                x = x + change_layout(values[f"r{i}"], block.layout, "NHWC")
            else:
                x = _ACTIVATIONS[step](x)
    return np.ascontiguousarray(change_layout(x, "NHWC", block.layout))


def relative_error(actual: np.ndarray, correct: np.ndarray) -> float:
    """The largest difference, of the largest value of ``correct``; not a number where a value is not."""
    difference = np.abs(actual.astype(np.float64) - correct).max()
    return float(difference / max(np.abs(correct).max(), np.finfo(np.float32).tiny))


def change_layout(x: np.ndarray, source: Layout, sink: Layout) -> np.ndarray:
    """A view of an activation in another layout."""
    if source == sink:
        return x
    return x.transpose(0, 2, 3, 1) if sink == "NHWC" else x.transpose(0, 3, 1, 2)


def _convolve(x: np.ndarray, weight: np.ndarray, conv: Conv) -> np.ndarray:
    """The convolution of NHWC ``x`` with an OIHW weight, tap by tap: as matrix products, or channel by channel."""
    height, width = conv.out_size(*x.shape[1:3])
    top, left, bottom, right = conv.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    result = np.zeros((x.shape[0], height, width, conv.out_channels))
    for row, column in product(range(conv.kernel[0]), range(conv.kernel[1])):
        rows = _reach(row * conv.dilation[0], height, conv.strides[0])
        columns = _reach(column * conv.dilation[1], width, conv.strides[1])
        result += _tap(x[:, rows, columns], weight[:, :, row, column], conv)
    return result


def _reach(start: int, count: int, step: int) -> slice:
    return slice(start, start + (count - 1) * step + 1, step)


def _tap(x: np.ndarray, weight: np.ndarray, conv: Conv) -> np.ndarray:
    """Products of NHWC ``x`` with one tap of each filter, (out_channels, in_channels of a group)."""
    if conv.is_depthwise:
        return np.repeat(x, conv.channel_multiplier, axis=3) * weight[:, 0]
    if conv.groups == 1:
        return x @ weight.T
    grouped = x.reshape(*x.shape[:3], conv.groups, 1, -1)
    filters = weight.reshape(conv.groups, conv.channel_multiplier, -1).transpose(0, 2, 1)
    return (grouped @ filters).reshape(*x.shape[:3], -1)
