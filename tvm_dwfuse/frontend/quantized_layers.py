"""Float operators between quantized values, as the integer layers that they amount to.

Each function takes dequantized operands and returns what awaits its grid. What our layers lack is expressed by what
they have: grouped and dilated convolutions by zeros in dense weights, an average pool of windows by a depthwise
convolution of ones, a bias or a change of grid by a depthwise convolution of 1x1 ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from ..blocks import Conv
from ..integer_network import Add, AveragePool
from .quantized_constants import QuantizedConstant, int8_weights
from .quantized_values import NO_PADDING, Padding, PendingAdd, PendingSum, Stored, nchw_index


def convolution(
    node: onnx.NodeProto,
    attributes: dict[str, Any],
    x: Stored,
    weight: QuantizedConstant,
    bias: QuantizedConstant | np.ndarray | None,
) -> PendingSum:
    """A Conv of 2-D; ``attributes`` are those of ``node`` with ``auto_pad`` resolved.

    Raises:
        ValueError: why it has no integer form.
    """
    values, scale = int8_weights(weight, 0)
    if values.ndim != 4:
        raise ValueError(f"a convolution of {values.ndim - 2} dimensions; only those of 2 have an integer form")
    if not x.is_image:
        if values.shape[2:] != (1, 1) or x.index.shape[2:] != (1, 1) or x.padding != NO_PADDING:
            raise ValueError("reads values in another order than NCHW images have")
        return dense(node, x, values[:, :, 0, 0], scale, bias, (1, len(values), 1, 1))
    channels, groups = x.size[2], attributes.get("group", 1)
    dilations, strides = attributes.get("dilations", [1, 1]), attributes.get("strides", [1, 1])
    depthwise = groups == channels == len(values)
    values = _dilated(values, dilations) if depthwise else _ungrouped(_dilated(values, dilations), groups)
    top, left, bottom, right = (
        own + around for own, around in zip(attributes.get("pads", NO_PADDING), x.padding, strict=True)
    )
    operator = Conv(
        channels,
        len(values),
        kernel=(values.shape[2], values.shape[3]),
        strides=(strides[0], strides[1]),
        padding=(top, left, bottom, right),
        groups=groups if depthwise else 1,
    )
    size = (*operator.out_size(*x.size[:2]), len(values))
    return _weighted(node, x, operator, size, nchw_index(size), values, scale, bias)


def dense(
    node: onnx.NodeProto,
    x: Stored,
    values: np.ndarray,
    scale: np.ndarray,
    bias: QuantizedConstant | np.ndarray | None,
    shape: tuple[int, ...],
) -> PendingSum:
    """A matrix product, ``values`` int8 (outputs, inputs): a convolution whose kernel is the whole stored image.

    Columns of the weights go from the order of the graph to that of the image; ``shape`` is the result's in the graph.
    """
    height, width, channels = x.size
    if x.index.size != values.shape[1] or x.index.size != math.prod(x.size):
        raise ValueError(f"reads {x.index.size} values by {values.shape[1]} weights; only a batch of 1 is supported")
    permuted = np.empty_like(values)
    permuted[:, x.index.reshape(-1)] = values
    kernel = permuted.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    operator = Conv(channels, len(values), kernel=(height, width))
    index = np.arange(len(values), dtype=np.int32).reshape(shape)
    return _weighted(node, x, operator, (1, 1, len(values)), index, np.ascontiguousarray(kernel), scale, bias)


def identity(node: onnx.NodeProto, x: Stored) -> PendingSum:
    """The value itself, for a change of grid, a bias or a clip on its own."""
    channels = x.size[2]
    operator = Conv(channels, channels, groups=channels)
    ones = np.ones((channels, 1, 1, 1), np.int8)
    return _weighted(node, x, operator, x.size, x.index, ones, np.ones(channels), None)


def addition(node: onnx.NodeProto, first: Stored, second: Stored) -> PendingAdd:
    """The sum of two activations of one shape.

    Raises:
        ValueError: their shapes or their orders differ.
    """
    if first.size != second.size or not np.array_equal(first.index, second.index):
        raise ValueError(f"adds {_shape(first)} to {_shape(second)}; both must have one shape")
    return PendingAdd(node, Add(*first.size), first.size, first.index, (first.activation, second.activation))


def global_pool(node: onnx.NodeProto, x: Stored, shape: tuple[int, ...]) -> PendingSum:
    """The mean of each channel; ``shape`` is the result's in the graph.

    Raises:
        ValueError: the value is no image.
    """
    if not x.is_image:
        raise ValueError("reads values in another order than NCHW images have")
    height, width, channels = x.size
    index = np.arange(channels, dtype=np.int32).reshape(shape)
    return PendingSum(
        node,
        AveragePool(*x.size),
        (1, 1, channels),
        index,
        (x.activation,),
        x_scale=x.grid.scale,
        weight_scale=np.array([1 / (height * width)]),
        zero=np.array([float(height * width * x.grid.zero_point)]),
    )


def average_pool(node: onnx.NodeProto, attributes: dict[str, Any], x: Stored) -> PendingSum:
    """The mean of each window; ``attributes`` are those of ``node`` with ``auto_pad`` resolved.

    Raises:
        ValueError: why it has no integer form.
    """
    if not x.is_image:
        raise ValueError("reads values in another order than NCHW images have")
    height, width, channels = x.size
    kernel, strides = tuple(attributes["kernel_shape"]), attributes.get("strides", [1, 1])
    top, left, bottom, right = attributes.get("pads", NO_PADDING)
    if any((top, left, bottom, right)) and not attributes.get("count_include_pad", 0):
        raise ValueError(
            "its windows at the border average fewer values; set count_include_pad, or leave out the padding"
        )
    if attributes.get("ceil_mode", 0) and _rounds_up(x.size, kernel, strides, (top, left, bottom, right)):
        raise ValueError("ceil_mode adds windows that are not full; crop or pad the network's input")
    if kernel == (height, width) and not any((top, left, bottom, right)):
        return global_pool(node, x, (1, channels, 1, 1))
    ones = _dilated(np.ones((channels, 1, *kernel), np.int8), attributes.get("dilations", [1, 1]))
    operator = Conv(
        channels,
        channels,
        kernel=(ones.shape[2], ones.shape[3]),
        strides=(strides[0], strides[1]),
        padding=(top, left, bottom, right),
        groups=channels,
    )
    size = (*operator.out_size(height, width), channels)
    scale = np.full(channels, 1 / math.prod(kernel))
    return _weighted(node, x, operator, size, nchw_index(size), ones, scale, None)


def _weighted(
    node: onnx.NodeProto,
    x: Stored,
    operator: Conv,
    size: tuple[int, int, int],
    index: np.ndarray,
    values: np.ndarray,
    scale: np.ndarray,
    bias: QuantizedConstant | np.ndarray | None,
) -> PendingSum:
    """The pending result of a convolution with int8 OIHW ``values``."""
    if min(size) < 1:
        raise ValueError(f"its result would be {size[0]} x {size[1]} pixels; the input is too small")
    zero = x.grid.zero_point * values.reshape(len(values), -1).sum(axis=1, dtype=np.int64).astype(np.float64)
    return PendingSum(
        node,
        operator,
        size,
        index,
        (x.activation,),
        weights=values,
        pad_value=x.grid.zero_point,
        x_scale=x.grid.scale,
        weight_scale=scale,
        zero=zero - _bias_steps(bias, x.grid.scale * scale, x.nominal.scale * scale),
    )


def _bias_steps(
    bias: QuantizedConstant | np.ndarray | None, step: np.ndarray, nominal_step: np.ndarray
) -> np.ndarray | float:
    """A bias in steps of the accumulator: as it is stored if it is stored in such steps."""
    if bias is None:
        return 0.0
    if isinstance(bias, np.ndarray):
        return bias.reshape(-1) / step
    exact = not bias.zero_point.any() and np.allclose(bias.scale, nominal_step, rtol=1e-3)
    if exact and np.array_equal(step, nominal_step):
        return bias.values.reshape(-1).astype(np.float64)
    return bias.real().reshape(-1) / step


def _dilated(values: np.ndarray, dilations: list[int]) -> np.ndarray:
    """OIHW weights with zeros between the taps."""
    rows, columns = ((size - 1) * step + 1 for size, step in zip(values.shape[2:], dilations, strict=True))
    spread = np.zeros((*values.shape[:2], rows, columns), values.dtype)
    spread[:, :, :: dilations[0], :: dilations[1]] = values
    return spread


def _ungrouped(values: np.ndarray, groups: int) -> np.ndarray:
    """OIHW weights of a grouped convolution as those of a dense one."""
    outputs, inputs = len(values) // groups, values.shape[1]
    spread = np.zeros((len(values), groups * inputs, *values.shape[2:]), values.dtype)
    for group in range(groups):
        rows, columns = slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs)
        spread[rows, columns] = values[rows]
    return spread


def _rounds_up(size: tuple[int, int, int], kernel: tuple[int, ...], strides: list[int], padding: Padding) -> bool:
    height, width = size[0] + padding[0] + padding[2], size[1] + padding[1] + padding[3]
    return bool((height - kernel[0]) % strides[0] or (width - kernel[1]) % strides[1])


def _shape(x: Stored) -> str:
    return "x".join(map(str, x.index.shape))
