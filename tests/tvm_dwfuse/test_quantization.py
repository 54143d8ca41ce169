"""The integer arithmetic of layers, against plain Python integers and against real numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from tvm import te

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.integer_network import Activation, Add, AveragePool, Layer, Network
from tvm_dwfuse.quantization import (
    Requantization,
    accumulate,
    accumulator_bounds,
    add_requantization,
    requantization,
    requantize,
    requantize_expr,
    run_layer,
    run_network,
    scale_ratio,
    usual_accumulators,
)

INT32 = range(-(2**31), 2**31)


def plain_accumulators(x: np.ndarray, weights: np.ndarray, conv: Conv, pad_value: int) -> np.ndarray:
    """The sum of products, pixel by pixel, as its definition says."""
    top, left = conv.padding[:2]
    rows, columns = conv.out_size(*x.shape[:2])
    result = np.zeros((rows, columns, conv.out_channels), np.int64)
    inputs = conv.in_channels // conv.groups
    for i, j, o in np.ndindex(result.shape):
        first = o // conv.channel_multiplier * inputs
        for c, a, b in np.ndindex(inputs, *conv.kernel):
            row = i * conv.strides[0] + a * conv.dilation[0] - top
            column = j * conv.strides[1] + b * conv.dilation[1] - left
            inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
            result[i, j, o] += int(weights[o, c, a, b]) * int(x[row, column, first + c] if inside else pad_value)
    return result


@pytest.mark.parametrize("conv", [
    Conv(3, 4, (3, 3), (2, 2), (1, 1, 1, 1)),
    Conv(5, 5, (3, 3), (1, 1), (0, 1, 1, 0), groups=5),
    Conv(4, 8, (2, 3), (1, 2), (2, 0, 0, 2), groups=4),
    Conv(4, 6, (3, 1), (1, 1), dilation=(2, 1), groups=2),
    Conv(7, 9),
    Conv(1, 1, (5, 5), (2, 1), (2, 2, 2, 2)),
])  # fmt: skip
def test_accumulators_are_the_sums_of_the_definition(conv: Conv) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (7, 6, conv.in_channels), np.uint8)
    weights = random.integers(-128, 128, (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel), np.int8)
    actual = accumulate(x, weights, conv, pad_value=77)
    np.testing.assert_array_equal(actual, plain_accumulators(x, weights, conv, 77))


@pytest.mark.parametrize("channels", [500, 700, 4000])
def test_accumulators_stay_exact_beyond_the_reach_of_float32(channels: int) -> None:
    x = np.full((1, 1, channels), 255, np.uint8)
    weights = np.full((1, channels, 1, 1), 127, np.int8)
    weights[0, 0] = 126
    assert accumulate(x, weights, Conv(channels, 1), 0)[0, 0, 0] == 255 * (127 * channels - 1)


def test_images_before_the_height_are_separate() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (2, 5, 6, 5, 3), np.uint8)
    weights = random.integers(-128, 128, (4, 3, 3, 3), np.int8)
    conv = Conv(3, 4, (3, 3), (2, 1), (1, 1, 1, 1))
    together = accumulate(x, weights, conv, 9)
    for image in np.ndindex(2, 5):
        np.testing.assert_array_equal(together[image], accumulate(x[image], weights, conv, 9))


def test_bounds_are_reached_and_not_passed() -> None:
    weights = np.random.default_rng(0).integers(-128, 128, (6, 4, 3, 3), np.int8)
    low, high = accumulator_bounds(weights)
    conv = Conv(4, 6, (3, 3))
    for channel, (least, greatest) in enumerate(zip(low, high, strict=True)):
        for bound, sign in ((least, -1), (greatest, 1)):
            x = np.where(sign * weights[channel].astype(int) > 0, 255, 0).astype(np.uint8).transpose(1, 2, 0)
            assert accumulate(x, weights, conv, 0)[0, 0, channel] == bound


@st.composite
def lines(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Weights of a layer, its ratios, its zeros, and the zero points of input and output."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    channels, depth = draw(st.integers(1, 8)), draw(st.sampled_from([1, 9, 64, 512, 4096]))
    weights = random.integers(-128, 128, (channels, depth), np.int8)
    if draw(st.booleans()):
        weights[0] = draw(st.sampled_from([0, 127, -128]))
    ratio = draw(st.floats(1e-7, 4)) * random.uniform(0.1, 1, channels)
    x_zero_point, zero_point = draw(st.integers(0, 255)), draw(st.integers(0, 255))
    bias = random.integers(-1, 2, channels) * draw(st.integers(0, 2**22))
    return weights, ratio, x_zero_point * weights.sum(axis=1, dtype=np.int64) - bias, x_zero_point, zero_point


def requantized(line: tuple) -> Requantization:
    weights, ratio, zero, x_zero_point, zero_point = line
    usual = usual_accumulators(weights, x_zero_point)
    return requantization(ratio, accumulator_bounds(weights), zero, zero_point, usual)


@given(line=lines())
def test_no_input_makes_the_product_or_the_sum_overflow(line: tuple) -> None:
    multiplier, offset, shift = requantized(line)
    assert multiplier.dtype == offset.dtype == np.int32
    assert 0 <= shift <= 31
    for low, high, m, o in zip(*accumulator_bounds(line[0]), multiplier.tolist(), offset.tolist(), strict=True):
        for accumulator in (int(low), int(high), 0):
            assert m * accumulator in INT32
            assert m * accumulator + o in INT32


@given(line=lines())
def test_shift_is_the_largest(line: tuple) -> None:
    multiplier, offset, shift = requantized(line)
    low, high = accumulator_bounds(line[0])
    ends = np.abs(
        np.stack([multiplier * low, multiplier * high, multiplier * low + offset, multiplier * high + offset])
    )
    largest = max(ends.max(), np.abs(offset.astype(np.int64)).max(), multiplier.max())
    assert shift == 31 or 2 * largest + 2 * 2**24 > 2**31, "twice as fine would fit as well"


@given(line=lines())
def test_line_is_within_a_step_where_the_multiplier_has_bits(line: tuple) -> None:
    weights, ratio, zero, _, zero_point = line
    multiplier, offset, shift = requantized(line)
    low, high = accumulator_bounds(weights)
    for c in np.flatnonzero(multiplier >= 256):
        accumulators = np.linspace(low[c], high[c], 401).astype(np.int64)
        exact = np.clip(np.rint(ratio[c] * (accumulators - zero[c])) + zero_point, 0, 255)
        actual = requantize(accumulators * multiplier[c], offset[c], shift)
        assert np.abs(actual - exact).max() <= 1


def test_ratio_of_few_bits_is_exact_everywhere() -> None:
    multiplier, offset, shift = requantization(
        np.array([3 / 2**10, 77 / 2**12]), (np.full(2, -(2**17)), np.full(2, 2**17)), np.array([100, -5]), 31
    )
    accumulators = np.arange(-(2**17), 2**17)[:, None]
    exact = np.floor([3 / 2**10, 77 / 2**12] * (accumulators - [100, -5]) + 31.5)
    np.testing.assert_array_equal(requantize(accumulators * multiplier, offset, shift), np.clip(exact, 0, 255))


def test_ratio_follows_float32() -> None:
    x, weight, y = np.float32(0.1), np.array([0.3, 0.7], np.float32), np.float32(0.9)
    np.testing.assert_array_equal(scale_ratio(float(x), weight, float(y)), (x * weight) / y)


@pytest.mark.parametrize("ratio", [1e7, 1e10])
def test_line_that_no_shift_fits(ratio: float) -> None:
    with pytest.raises(ValueError, match="do not fit 32-bit"):
        requantization(np.array([ratio]), (np.zeros(1), np.full(1, 255)), np.zeros(1), 0)
    with pytest.raises(ValueError, match="do not fit 32-bit"):
        add_requantization((ratio, 1.0), (0, 0), 0)


@pytest.mark.parametrize("ratios", [(1.0, 1.0), (0.37, 1.9), (1e-4, 0.9), (90.0, 0.01)])
@pytest.mark.parametrize("zero_points", [(0, 0, 0), (128, 7, 201)])
def test_addition_of_all_pairs(ratios: tuple[float, float], zero_points: tuple[int, int, int]) -> None:
    first, second = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    constants = add_requantization(ratios, zero_points[:2], zero_points[2])
    layer = Layer("add", Add(256, 256, 1), ("a", "b"), "y", *constants)
    actual = run_layer(layer, first[..., None], second[..., None])[..., 0]
    exact = ratios[0] * (first.astype(float) - zero_points[0]) + ratios[1] * (second.astype(float) - zero_points[1])
    away = np.abs(actual - np.clip(exact + zero_points[2], 0, 255))
    assert away.max() <= 0.5 + 1e-4
    largest = 255 * int(constants.multiplier.sum(dtype=np.int64))
    assert largest in INT32
    assert largest + int(constants.offset[0]) in INT32


def test_average_pool_rounds_to_the_nearest() -> None:
    constants = requantization(np.array([1 / 35]), (np.zeros(1), np.full(1, 255.0 * 35)), np.array([35.0 * 9]), 9)
    layer = Layer("pool", AveragePool(5, 7, 64), ("x",), "y", *constants)
    x = np.random.default_rng(0).integers(0, 256, (5, 7, 64), np.uint8)
    result = run_layer(layer, x)
    assert result.shape == (1, 1, 64)
    np.testing.assert_array_equal(result[0, 0], np.floor(x.mean(axis=(0, 1)) + 0.5))


def test_tir_expression_computes_what_numpy_computes() -> None:
    scaled, offset = te.placeholder((4096,), "int32", "scaled"), te.placeholder((4096,), "int32", "offset")
    result = te.compute((4096,), lambda i: requantize_expr(scaled[i], offset[i], 9), "result")
    built = tvm.compile(te.create_prim_func([scaled, offset, result]), "llvm")
    random = np.random.default_rng(0)
    values = [random.integers(-(2**18), 2**18, 4096, np.int32) for _ in range(2)]
    actual = tvm.runtime.empty((4096,), "uint8")
    built(*(tvm.runtime.tensor(value) for value in values), actual)
    np.testing.assert_array_equal(actual.numpy(), requantize(*values, 9))


def small_network() -> Network:
    """A pointwise convolution, then the sum of its result and the input."""
    sizes = {name: Activation(name, 3, 2, 4, 0.1, 7) for name in ("x", "y", "z")}
    weights = np.random.default_rng(0).integers(-128, 128, (4, 4, 1, 1), np.int8)
    line = requantization(np.full(4, 1e-3), accumulator_bounds(weights), np.zeros(4), 128)
    layers = (
        Layer("conv", Conv(4, 4), ("x",), "y", *line, weights=weights, pad_value=7),
        Layer("add", Add(3, 2, 4), ("x", "y"), "z", *add_requantization((0.5, 0.5), (7, 7), 7)),
    )
    return Network("small", ("x",), ("z",), layers, sizes)


def test_network_returns_every_activation() -> None:
    network = small_network()
    x = np.random.default_rng(1).integers(0, 256, (1, 3, 2, 4), np.uint8)
    values = run_network(network, {"x": x})
    assert list(values) == ["x", "y", "z"]
    assert {value.shape for value in values.values()} == {(3, 2, 4)}
    np.testing.assert_array_equal(values["y"], run_layer(network.layers[0], x[0]))
    np.testing.assert_array_equal(values["z"], run_layer(network.layers[1], x[0], values["y"]))
    batch = np.concatenate([x, 255 - x])
    np.testing.assert_array_equal(run_network(network, {"x": batch})["z"][0], values["z"])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "no array for input 'x'; inputs: x"),
        ({"x": np.zeros((3, 2, 4), np.int8)}, "input 'x': int8 of shape (3, 2, 4) given; it is uint8"),
        ({"x": np.zeros((4, 3, 2), np.uint8)}, "it is uint8 of shape (3, 2, 4)"),
    ],
)
def test_network_refuses_other_inputs(inputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(DwfuseError) as caught:
        run_network(small_network(), inputs)
    assert words in str(caught.value)


def test_requantize_clips_and_shifts_arithmetically() -> None:
    scaled = np.array([-(2**20), -9, -8, -1, 0, 7, 8, 2039, 2040, 2048, 2**20])
    expected = [min(max(value // 8, 0), 255) for value in scaled.tolist()]
    assert requantize(scaled, np.array(0), 3).tolist() == expected
    assert len(set(itertools.chain(expected))) == 4
