"""The integer arithmetic of a layer: how its constants are chosen, and the numpy reference that judges every kernel.

A convolution accumulates ``acc = sum(weight * x)`` over stored uint8 values in int32, its padding being the zero point
of ``x``. What is left of the real-valued layer is a straight line and a clip::

    y = clip((multiplier[c] * acc + offset[c]) >> shift, 0, 255)

The zero point of ``x``, the bias, half a unit for rounding and the zero point of ``y`` are all in ``offset``. Product
and sum are int32 and never overflow: ``shift`` is the largest for which that holds whatever the input is. An
:class:`Add` has a multiplier for each operand; an :class:`AveragePool` multiplies the sum of a channel.

Activations are HWC; axes before these, if there are any, are images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .blocks import Conv
from .errors import DwfuseError
from .integer_network import Add, Layer, Network

if TYPE_CHECKING:
    from tvm.ir import Expr

_INT32_MAX = 2**31 - 1

#: Integers below this are exact in float32; a matrix product whose terms sum to less is exact in any order.
_EXACT_IN_FLOAT32 = 2**24


class Requantization(NamedTuple):
    """Constants of a line: ``multiplier`` and ``offset`` int32, one for each channel, and ``shift`` in [0, 31]."""

    multiplier: np.ndarray
    offset: np.ndarray
    shift: int


def requantize(scaled: np.ndarray, offset: np.ndarray, shift: int) -> np.ndarray:
    """``clip((scaled + offset) >> shift, 0, 255)`` as uint8; ``scaled`` is the accumulator times its multiplier."""
    return np.clip((scaled + offset) >> shift, 0, 255).astype(np.uint8)


def requantize_expr(scaled: Expr, offset: Expr, shift: int) -> Expr:
    """:func:`requantize` as a TIR expression: int32 ``scaled`` and ``offset`` to uint8."""
    from tvm import tirx

    shifted = tirx.shift_right(scaled + offset, tirx.const(shift, "int32"))
    return tirx.max(tirx.min(shifted, tirx.const(255, "int32")), tirx.const(0, "int32")).astype("uint8")


def scale_ratio(x_scale: float, weight_scale: np.ndarray, y_scale: float) -> np.ndarray:
    """Steps of the output for one step of the accumulator, rounded to float32 as ONNX Runtime rounds them.

    Following its roundings makes a ratio that it computes as exactly ``multiplier / 2**shift`` that same number here.
    """
    product = np.float32(x_scale) * np.atleast_1d(weight_scale).astype(np.float32)
    return (product / np.float32(y_scale)).astype(np.float64)


def accumulator_bounds(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest accumulator of each output channel over all uint8 inputs.

    Args:
        weights: int8, output channels first.
    """
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    return 255 * np.minimum(flat, 0).sum(axis=1), 255 * np.maximum(flat, 0).sum(axis=1)


def usual_accumulators(weights: np.ndarray, x_zero_point: int) -> tuple[np.ndarray, np.ndarray]:
    """Between which accumulators most inputs stay: four deviations about the mean, were the inputs independent.

    Stored values are taken to have their mean halfway from zero point to mid-range and a deviation of 64. Only the
    place where a rounded line is exact depends on this estimate, never whether it overflows.
    """
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    mean, spread = (x_zero_point + 127.5) / 2 * flat.sum(axis=1), 4 * 64 * np.sqrt((flat**2).sum(axis=1))
    return mean - spread, mean + spread


def requantization(
    ratio: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    zero: np.ndarray,
    zero_point: int,
    usual: tuple[np.ndarray, np.ndarray] | None = None,
) -> Requantization:
    """The line ``y = ratio * (acc - zero) + zero_point``, rounded to the nearest, in int32.

    Rounding a multiplier turns its line a little. It is turned about the middle of those accumulators that are usual
    and not clipped, which makes the error at the two ends alike and so the largest error small.

    Args:
        ratio: steps of the output for one step of the accumulator, positive, (channels,).
        bounds: least and greatest accumulator, each (channels,).
        zero: the accumulator that stands for a real zero, (channels,).
        zero_point: of the output.
        usual: least and greatest usual accumulator, each (channels,); by default the bounds.

    Raises:
        ValueError: no shift keeps the line within int32, as scales of plausible networks do.
    """
    low, high = bounds
    middle = np.rint(_middle(usual or bounds, (zero - zero_point / ratio, zero + (255 - zero_point) / ratio), bounds))
    for shift in range(31, -1, -1):
        multiplier = np.rint(ratio * 2.0**shift)
        offset = np.floor((ratio * (middle - zero) + zero_point + 0.5) * 2.0**shift) - multiplier * middle
        if _fits(multiplier, offset, low, high):
            return Requantization(multiplier.astype(np.int32), offset.astype(np.int32), shift)
    raise ValueError("its scales and bias do not fit 32-bit arithmetic")


def add_requantization(ratios: tuple[float, float], zero_points: tuple[int, int], zero_point: int) -> Requantization:
    """Two multipliers and one offset for ``y = sum(ratio * (x - x_zero_point)) + zero_point``, rounded to the nearest.

    Raises:
        ValueError: see :func:`requantization`.
    """
    exact, zeros = np.array(ratios), np.array(zero_points)
    for shift in range(31, -1, -1):
        multiplier = np.rint(exact * 2.0**shift)
        offset = np.array([np.floor((zero_point + 0.5) * 2.0**shift) - (multiplier * zeros).sum()])
        if _fits(multiplier.sum(keepdims=True), offset, np.zeros(1), np.full(1, 255)):
            return Requantization(multiplier.astype(np.int32), offset.astype(np.int32), shift)
    raise ValueError("its scales do not fit 32-bit arithmetic")


def _middle(*ranges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The middle of the first range cut down to each of the others; a range outside moves it to that one's border."""
    low, high = ranges[0]
    for least, greatest in ranges[1:]:
        low, high = np.clip(low, least, greatest), np.clip(high, least, greatest)
    return (low + high) / 2


def _fits(multiplier: np.ndarray, offset: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    ends = multiplier * np.stack([low, high])
    return all(np.abs(values).max() <= _INT32_MAX for values in (multiplier, offset, low, high, ends, ends + offset))


def run_network(network: Network, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every activation of a network by name, uint8 HWC: the golden outputs of each layer.

    Args:
        inputs: uint8 by name, HWC or with leading axes of images, which all results then have; (1, H, W, C) is HWC.

    Raises:
        DwfuseError: an input is missing, or not uint8 of the size that the network has.
    """
    values = {name: _checked_input(network, name, inputs) for name in network.inputs}
    for layer in network.layers:
        values[layer.output] = run_layer(layer, *(values[name] for name in layer.inputs))
    return values


def run_layer(layer: Layer, *inputs: np.ndarray) -> np.ndarray:
    """The output of one layer, uint8 HWC, for its inputs, uint8 HWC."""
    multiplier, offset = layer.multiplier.astype(np.int64), layer.offset.astype(np.int64)
    if isinstance(layer.operator, Conv):
        assert layer.weights is not None, layer.name
        scaled = accumulate(inputs[0], layer.weights, layer.operator, layer.pad_value) * multiplier
    elif isinstance(layer.operator, Add):
        scaled = inputs[0] * multiplier[0] + inputs[1] * multiplier[1]
    else:
        scaled = inputs[0].sum(axis=(-3, -2), keepdims=True, dtype=np.int64) * multiplier
    return requantize(scaled, offset, layer.shift)


def accumulate(x: np.ndarray, weights: np.ndarray, conv: Conv, pad_value: int) -> np.ndarray:
    """The accumulators of a convolution, int64 HWC.

    Args:
        x: uint8 HWC.
        weights: int8 OIHW.
        pad_value: what the padding holds.
    """
    taps = _taps(x, conv, pad_value)
    if conv.groups == conv.in_channels == conv.out_channels:
        by_tap = weights.reshape(conv.out_channels, -1).T.astype(np.int32)
        return np.stack([tap * weight for tap, weight in zip(taps, by_tap, strict=True)]).sum(axis=0, dtype=np.int64)
    inputs, outputs = conv.in_channels // conv.groups, conv.channel_multiplier
    groups = [
        _dense([tap[..., g * inputs : (g + 1) * inputs] for tap in taps], weights[g * outputs : (g + 1) * outputs])
        for g in range(conv.groups)
    ]
    return np.concatenate(groups, axis=-1)


def _taps(x: np.ndarray, conv: Conv, pad_value: int) -> list[np.ndarray]:
    """For each kernel position, rows first, the input pixel that it meets at every output pixel."""
    top, left, bottom, right = conv.padding
    around = [(0, 0)] * (x.ndim - 3) + [(top, bottom), (left, right), (0, 0)]
    padded = np.pad(x, around, constant_values=pad_value) if any(conv.padding) else x
    rows, columns = conv.out_size(*x.shape[-3:-1])
    (step_h, step_w), (dilation_h, dilation_w) = conv.strides, conv.dilation
    return [
        padded[..., i : i + (rows - 1) * step_h + 1 : step_h, j : j + (columns - 1) * step_w + 1 : step_w, :]
        for i in range(0, conv.kernel[0] * dilation_h, dilation_h)
        for j in range(0, conv.kernel[1] * dilation_w, dilation_w)
    ]


def _dense(taps: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """A dense convolution as one floating-point matrix product that is exact."""
    low, high = accumulator_bounds(weights)
    dtype = np.float32 if (high - low).max() < _EXACT_IN_FLOAT32 else np.float64
    columns = np.concatenate(taps, axis=-1) if len(taps) > 1 else taps[0]
    matrix = weights.transpose(2, 3, 1, 0).reshape(-1, len(weights))
    return (columns.astype(dtype) @ matrix.astype(dtype)).astype(np.int64)


def _checked_input(network: Network, name: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in inputs:
        raise DwfuseError(f"no array for input {name!r}; inputs: {', '.join(network.inputs)}")
    activation, array = network.activations[name], np.asarray(inputs[name])
    size = (activation.height, activation.width, activation.channels)
    if array.dtype != np.uint8 or array.shape[-3:] != size:
        raise DwfuseError(f"input {name!r}: {array.dtype} of shape {array.shape} given; it is uint8 of shape {size}")
    return array.reshape(size) if array.size == activation.bytes else array
