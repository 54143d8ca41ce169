"""Numpy forward functions for the probe images that ride along while a network is built.

The builder runs each layer on two fixed images as it emits it, so that batch-norm statistics can be the real ones of
that layer. One pass through a whole network takes a fraction of a second: 1x1 convolutions are one matrix product,
depthwise ones are k*k shifted products. Everything is float32, NCHW.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
Padding = tuple[int, int, int, int]


def probe_images(shape: tuple[int, int, int], seed: int, count: int = 2) -> Array:
    """`count` images of unit variance, half white noise and half smooth, as pictures are. Shape [count, C, H, W]."""
    rng = np.random.default_rng([seed, 0x9E3779B9])
    channels, height, width = shape
    coarse = rng.standard_normal((count, channels, -(-height // 8), -(-width // 8)))
    smooth = np.kron(coarse, np.ones((8, 8)))[:, :, :height, :width]
    noise = rng.standard_normal((count, channels, height, width))
    return ((smooth + noise) / np.sqrt(2)).astype(np.float32)


def pad(x: Array, padding: Padding, value: float = 0.0) -> Array:
    """Pad the two spatial axes by (top, left, bottom, right)."""
    if not any(padding):
        return x
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def conv2d(x: Array, weight: Array, stride: tuple[int, int], padding: Padding, groups: int) -> Array:
    """Convolve NCHW `x` with OIHW `weight`; `groups` is 1 or the number of channels (depthwise)."""
    x = pad(x, padding)
    kernel = weight.shape[2:]
    if groups > 1:
        return _depthwise(x, weight, stride)
    x = x if kernel == (1, 1) else _columns(x, kernel, stride)
    if kernel == (1, 1):
        x = x[:, :, :: stride[0], :: stride[1]]
    batch, depth, height, width = x.shape
    flat = weight.reshape(weight.shape[0], -1) @ x.reshape(batch, depth, height * width)
    return flat.reshape(batch, -1, height, width)


def _columns(x: Array, kernel: tuple[int, ...], stride: tuple[int, int]) -> Array:
    windows = sliding_window_view(x, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    batch, channels, height, width = windows.shape[:4]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(batch, channels * kernel[0] * kernel[1], height, width)


def _depthwise(x: Array, weight: Array, stride: tuple[int, int]) -> Array:
    (kh, kw), (sh, sw) = weight.shape[2:], stride
    height, width = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    out = np.zeros((*x.shape[:2], height, width), np.float32)
    for i in range(kh):
        for j in range(kw):
            window = x[:, :, i : i + sh * (height - 1) + 1 : sh, j : j + sw * (width - 1) + 1 : sw]
            out += window * weight[:, 0, i, j, None, None]
    return out


def max_pool(x: Array, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Array:
    """Max pooling of NCHW `x`."""
    windows = sliding_window_view(pad(x, padding, -np.inf), kernel, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1]].max(axis=(4, 5))


def sigmoid(x: Array) -> Array:
    """Logistic function."""
    return 1.0 / (1.0 + np.exp(-x))


def hard_sigmoid(x: Array) -> Array:
    """clip(x / 6 + 1/2, 0, 1), the one that MobileNetV3 uses."""
    return np.clip(x / 6 + 0.5, 0, 1)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardswish": lambda x: x * hard_sigmoid(x),
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "hardsigmoid": hard_sigmoid,
}
