"""What a block computes, in numpy and float64, and random operands for it. Shares no code with the kernels."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tvm_dwfuse.blocks import Block, Conv, Layout

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def convolve(x: np.ndarray, weight: np.ndarray, conv: Conv) -> np.ndarray:
    """The convolution of NHWC ``x`` with an OIHW weight, its epilogue left out."""
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel, conv.strides, conv.dilation
    top, left, bottom, right = conv.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = sliding_window_view(x, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), axis=(1, 2))
    taps = windows[:, ::sh, ::sw, :, ::dh, ::dw]
    n, h, w, c = taps.shape[:4]
    grouped = taps.reshape(n, h, w, conv.groups, c // conv.groups, kh, kw)
    weights = weight.reshape(conv.groups, -1, c // conv.groups, kh, kw)
    return np.einsum("nhwgixy,goixy->nhwgo", grouped, weights, optimize=True).reshape(n, h, w, -1)


def reference(block: Block, operands: dict[str, np.ndarray]) -> np.ndarray:
    """The block's output in float64, in the layout of the block."""
    values = {name: value.astype(np.float64) for name, value in operands.items()}
    x = to_nhwc(values["x"], block.layout)
    if block.prologue:
        x = x * to_nhwc(values["scale"], block.layout)
    for i, conv in enumerate(block.stages):
        x = convolve(x, values[f"w{i}"], conv)
        for step in conv.epilogue:
            if step == "bias":
                x = x + values[f"b{i}"]
            elif step == "add":
                x = x + to_nhwc(values[f"r{i}"], block.layout)
            else:
                x = ACTIVATIONS[step](x)
    return from_nhwc(x, block.layout)


def random_operands(block: Block, seed: int = 0) -> dict[str, np.ndarray]:
    """float32 operands by name; weights scaled so that activations keep their spread."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    def activation(h: int, w: int, c: int) -> np.ndarray:
        return np.ascontiguousarray(from_nhwc(normal(block.batch, h, w, c), block.layout))

    channels = block.stages[0].in_channels
    operands = {"x": activation(block.height, block.width, channels)}
    if block.prologue:
        operands["scale"] = activation(1, 1, channels)
    for i, (conv, size) in enumerate(zip(block.stages, block.sizes()[1:], strict=True)):
        shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)
        operands[f"w{i}"] = normal(*shape) / np.float32(np.sqrt(np.prod(shape[1:])))
        if "bias" in conv.epilogue:
            operands[f"b{i}"] = normal(conv.out_channels)
        if "add" in conv.epilogue:
            operands[f"r{i}"] = activation(*size, conv.out_channels)
    return operands


def to_nhwc(x: np.ndarray, layout: Layout) -> np.ndarray:
    return x if layout == "NHWC" else x.transpose(0, 2, 3, 1)


def from_nhwc(x: np.ndarray, layout: Layout) -> np.ndarray:
    return x if layout == "NHWC" else x.transpose(0, 3, 1, 2)
