"""What exporters write, construct by construct and opset by opset, against ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import tvm

from relay_passes import canonicalize_passes
from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet, assert_close, random_inputs, run_onnxruntime, run_tvm
from tvm_dwfuse.frontend import import_onnx

OPSETS = (7, 9, 11, 13, 17, 21)
_ORT_VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
Build = Callable[[OnnxNet, str], str]


class Case(NamedTuple):
    build: Build
    since: int
    until: int
    shape: tuple[int, ...]


CASES: dict[str, Case] = {}


def case(since: int = 7, until: int = 99, shape: tuple[int, ...] = (1, 4, 9, 7)) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        CASES[build.__name__] = Case(build, since, until, shape)
        return build

    return register


@functools.cache
def _results(opset: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(ours, ONNX Runtime's) by case: all cases of an opset are branches of one network, compiled once."""
    net, names, outputs = OnnxNet(opset), [], []
    for name, (build, since, until, shape) in CASES.items():
        if since <= opset <= until:
            names.append(name)
            outputs.append(build(net, net.input(*shape)))
    model = net.model(*outputs)
    module = import_onnx(model)
    module = tvm.transform.Sequential(canonicalize_passes())(module)
    inputs = random_inputs(module)
    return dict(zip(names, zip(run_tvm(module, inputs), run_onnxruntime(model, inputs), strict=True), strict=True))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    pairs = [(opset, name) for opset in OPSETS for name, c in CASES.items() if c.since <= opset <= c.until]
    if "construct" in metafunc.fixturenames:
        metafunc.parametrize(("opset", "construct"), pairs)


def test_construct_computes_what_onnxruntime_computes(opset: int, construct: str) -> None:
    actual, expected = _results(opset)[construct]
    assert_close(actual, expected)


@case()
def conv_bias(net: OnnxNet, x: str) -> str:
    return net.node("Conv", x, net.weight(6, 4, 3, 3), net.weight(6, scale=1), pads=[0, 1, 2, 1], strides=[2, 1])


@case()
def conv_depthwise_dilated(net: OnnxNet, x: str) -> str:
    return net.conv(x, (8, 1, 3, 3), group=4, dilations=[2, 2], pads=[2, 2, 2, 2], kernel_shape=[3, 3])


@case()
def conv_batch_norm(net: OnnxNet, x: str) -> str:
    return net.batch_norm(net.node("Conv", x, net.weight(6, 4, 1, 1), net.weight(6, scale=1)), 6)


@case()
def conv_batch_norm_spelled_out(net: OnnxNet, x: str) -> str:
    y = net.node("Mul", net.conv(x, (6, 4, 1, 1)), net.weight(6, 1, 1, scale=1))
    return net.node("Add", y, net.weight(1, 6, 1, 1, scale=1))


@case()
def batch_norm_first(net: OnnxNet, x: str) -> str:
    return net.conv(net.node("Relu", net.batch_norm(x, 4)), (6, 4, 3, 3), pads=[1, 1, 1, 1])


@case(shape=(3, 5))
def batch_norm_dense(net: OnnxNet, x: str) -> str:
    return net.batch_norm(net.node("MatMul", x, net.weight(5, 6)), 6)


@case(shape=(1, 4, 10, 7))
def conv_same_upper(net: OnnxNet, x: str) -> str:
    return net.conv(x, (4, 1, 4, 3), group=4, auto_pad="SAME_UPPER", strides=[2, 2])


@case(shape=(1, 4, 10, 7))
def conv_same_lower(net: OnnxNet, x: str) -> str:
    return net.conv(x, (4, 1, 4, 3), group=4, auto_pad="SAME_LOWER", strides=[2, 3], kernel_shape=[4, 3])


@case()
def conv_valid(net: OnnxNet, x: str) -> str:
    return net.conv(x, (4, 4, 3, 3), auto_pad="VALID", strides=[2, 2])


def _pad(net: OnnxNet, x: str, pads: list[int], value: float = 0.0, mode: str = "constant") -> str:
    if net.opset < 11:
        return net.node("Pad", x, pads=pads, value=value, mode=mode)
    return net.node("Pad", x, net.constant(pads), net.constant(value, "float32"), mode=mode)


@case()
def pad_conv(net: OnnxNet, x: str) -> str:
    return net.conv(_pad(net, x, [0, 0, 0, 1, 0, 0, 1, 2]), (4, 1, 3, 3), group=4, strides=[2, 2], pads=[0, 1, 0, 1])


@case()
def pad_of_ones_conv(net: OnnxNet, x: str) -> str:
    return net.conv(_pad(net, x, [0, 0, 1, 1, 0, 0, 1, 1], value=1.0), (4, 4, 3, 3))


@case()
def pad_reflect_conv(net: OnnxNet, x: str) -> str:
    return net.conv(_pad(net, x, [0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"), (4, 4, 3, 3))


@case()
def pad_channels_conv(net: OnnxNet, x: str) -> str:
    return net.conv(_pad(net, x, [0, 1, 0, 0, 0, 1, 0, 0]), (4, 6, 3, 3))


@case(since=18)
def pad_axes_conv(net: OnnxNet, x: str) -> str:
    pad = net.node("Pad", x, net.constant([1, 2, 0, 1]), "", net.constant([-1, 2]))
    return net.conv(pad, (4, 4, 3, 3))


def _clip(net: OnnxNet, x: str, low: float | None, high: float | None) -> str:
    if net.opset < 11:
        return net.node("Clip", x, **{k: v for k, v in (("min", low), ("max", high)) if v is not None})
    bounds = [net.constant(bound, "float32") if bound is not None else "" for bound in (low, high)]
    return net.node("Clip", x, *bounds)


@case()
def clip_relu6(net: OnnxNet, x: str) -> str:
    return _clip(net, net.conv(x, (4, 4, 1, 1)), 0.0, 0.75)


@case()
def clip_from_below(net: OnnxNet, x: str) -> str:
    return _clip(net, net.conv(x, (4, 4, 1, 1)), -0.5, None)


@case()
def clip_from_above(net: OnnxNet, x: str) -> str:
    return _clip(net, net.conv(x, (4, 4, 1, 1)), None, 0.5)


@case()
def clip_of_nothing(net: OnnxNet, x: str) -> str:
    return _clip(net, x, None, None)


@case(since=11)
def clip_by_constant_nodes(net: OnnxNet, x: str) -> str:
    value = net.initializers.pop() if net.constant(0.25, "float32") else None
    low = net.node("Constant", value=value)
    return net.node("Clip", x, low, "")


@case()
def relu_then_minimum(net: OnnxNet, x: str) -> str:
    if net.opset < 8:  # Min does not broadcast yet
        return _clip(net, net.node("Relu", x), None, 0.5)
    return net.node("Min", net.node("Relu", x), net.constant([0.5], "float32"))


@case(since=8)
def maximum_of_number(net: OnnxNet, x: str) -> str:
    return net.node("Max", net.constant(0.25, "float32"), x)


@case()
def maximum_of_tensors(net: OnnxNet, x: str) -> str:
    return net.node("Max", net.conv(x, (4, 4, 1, 1)), net.conv(x, (4, 4, 1, 1)))


@case()
def hard_sigmoid(net: OnnxNet, x: str) -> str:
    return net.node("HardSigmoid", net.conv(x, (4, 4, 1, 1), pads=[0, 0, 1, 1]))


@case()
def hard_swish_from_hard_sigmoid(net: OnnxNet, x: str) -> str:
    y = net.conv(x, (4, 4, 1, 1))
    return net.node("Mul", y, net.node("HardSigmoid", y, alpha=1 / 6, beta=0.5))


@case()
def hard_swish_from_relu6(net: OnnxNet, x: str) -> str:
    gate = _clip(net, net.node("Add", x, net.constant(3, "float32")), 0.0, 6.0)
    return net.node("Div", net.node("Mul", x, gate), net.constant([6], "float32"))


@case(since=14)
def hard_swish(net: OnnxNet, x: str) -> str:
    return net.node("HardSwish", net.conv(x, (4, 4, 1, 1)))


@case()
def swish(net: OnnxNet, x: str) -> str:
    y = net.conv(x, (4, 4, 1, 1))
    return net.node("Mul", net.node("Sigmoid", y), y)


@case()
def other_activations(net: OnnxNet, x: str) -> str:
    y = net.conv(x, (4, 4, 1, 1))
    y = net.node("PRelu", net.node("LeakyRelu", y, alpha=0.1), net.weight(4, 1, 1, scale=1))
    return net.node("Tanh", net.node("Elu", net.node("Softplus", y)))


@case()
def dropout_and_identity(net: OnnxNet, x: str) -> str:
    y = net.node("Dropout", x, ratio=0.3) if net.opset < 12 else net.node("Dropout", x, net.constant(0.3, "float32"))
    return net.node("Identity", net.conv(net.node("Identity", y), (4, 4, 1, 1)))


@case()
def dropout_with_mask(net: OnnxNet, x: str) -> str:
    y, mask = net.node("Dropout", x, outputs=2)
    return net.node("Add", y, mask if net.opset < 10 else net.node("Cast", mask, to=1))


@case()
def global_average_pool(net: OnnxNet, x: str) -> str:
    return net.node("Flatten", net.node("GlobalAveragePool", net.conv(x, (6, 4, 1, 1))))


@case()
def global_max_pool(net: OnnxNet, x: str) -> str:
    return net.node("GlobalMaxPool", net.conv(x, (6, 4, 1, 1)))


@case()
def average_pool_of_everything(net: OnnxNet, x: str) -> str:
    return net.node("AveragePool", net.conv(x, (6, 4, 1, 1)), kernel_shape=[9, 7])


def _reduce_mean(net: OnnxNet, x: str, axes: list[int], keepdims: int) -> str:
    if net.opset < 18:
        return net.node("ReduceMean", x, axes=axes, keepdims=keepdims)
    return net.node("ReduceMean", x, net.constant(axes), keepdims=keepdims)


@case()
def reduce_mean_to_matrix(net: OnnxNet, x: str) -> str:
    y = _reduce_mean(net, net.conv(x, (6, 4, 1, 1)), [2, 3], 0)
    return net.node("MatMul", y, net.weight(6, 5))


@case()
def reduce_mean_over_channels(net: OnnxNet, x: str) -> str:
    return _reduce_mean(net, net.conv(x, (6, 4, 1, 1)), [1], 0)


@case(since=11)
def reduce_mean_negative_axes(net: OnnxNet, x: str) -> str:
    return _reduce_mean(net, net.conv(x, (6, 4, 1, 1)), [-1, -2], 1)


@case()
def average_pool_without_padding_counted(net: OnnxNet, x: str) -> str:
    return net.node("AveragePool", net.conv(x, (6, 4, 1, 1)), kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 2])


@case()
def average_pool_with_padding_counted(net: OnnxNet, x: str) -> str:
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1}
    return net.node("AveragePool", x, **attributes)


@case()
def average_pool_same_lower(net: OnnxNet, x: str) -> str:
    return net.node("AveragePool", x, kernel_shape=[2, 4], strides=[2, 2], auto_pad="SAME_LOWER")


@case(since=10, shape=(1, 4, 10, 8))
def average_pool_ceil(net: OnnxNet, x: str) -> str:
    return net.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


# Below opset 19, ONNX Runtime 1.23 and older count the window beyond the padding, which the standard does not.
@case(since=10 if _ORT_VERSION >= (1, 24) else 19, shape=(1, 4, 10, 8))
def average_pool_ceil_with_padding_counted(net: OnnxNet, x: str) -> str:
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 0], "count_include_pad": 1}
    return net.node("AveragePool", x, ceil_mode=1, **attributes)


@case()
def max_pool(net: OnnxNet, x: str) -> str:
    return net.node("MaxPool", net.conv(x, (6, 4, 1, 1)), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])


@case()
def max_pool_same_lower(net: OnnxNet, x: str) -> str:
    return net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_LOWER")


@case()
def max_pool_same_upper_subsampling(net: OnnxNet, x: str) -> str:
    return net.node("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2], auto_pad="SAME_UPPER")


@case(since=10, shape=(1, 4, 10, 8))
def max_pool_ceil(net: OnnxNet, x: str) -> str:
    return net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


@case(since=10)
def max_pool_dilated(net: OnnxNet, x: str) -> str:
    return net.node("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 3])


@case(shape=(2, 4, 5, 3))
def flatten_dense(net: OnnxNet, x: str) -> str:
    y = net.node("Relu", net.node("Flatten", net.conv(x, (6, 4, 1, 1))))
    return net.node("Gemm", y, net.weight(7, 90), net.weight(7, scale=1), transB=1)


@case(shape=(2, 4, 5, 3))
def flatten_axis(net: OnnxNet, x: str) -> str:
    return net.node("Flatten", net.conv(x, (6, 4, 1, 1)), axis=2)


@case(shape=(2, 4, 5, 3))
def reshape_zero_and_minus_one(net: OnnxNet, x: str) -> str:
    return net.node("Reshape", net.conv(x, (6, 4, 1, 1)), net.constant([0, -1]))


def _unsqueeze(net: OnnxNet, x: str, axes: list[int]) -> str:
    return net.node("Unsqueeze", x, axes=axes) if net.opset < 13 else net.node("Unsqueeze", x, net.constant(axes))


def _squeeze(net: OnnxNet, x: str, axes: list[int]) -> str:
    return net.node("Squeeze", x, axes=axes) if net.opset < 13 else net.node("Squeeze", x, net.constant(axes))


@case(shape=(2, 4, 5, 3))
def reshape_computed(net: OnnxNet, x: str) -> str:
    """x.view(x.size(0), -1), as PyTorch writes it."""
    y = net.conv(x, (6, 4, 1, 1))
    size = net.node("Gather", net.node("Shape", y), net.constant(0), axis=0)
    shape = net.node("Concat", _unsqueeze(net, size, [0]), net.constant([-1]), axis=0)
    return net.node("MatMul", net.node("Reshape", y, shape), net.weight(90, 7))


@case()
def squeeze_and_unsqueeze(net: OnnxNet, x: str) -> str:
    y = _squeeze(net, net.node("GlobalAveragePool", net.conv(x, (6, 4, 1, 1))), [2, 3])
    return net.conv(_unsqueeze(net, net.node("Relu", y), [2, 3]), (5, 6, 1, 1))


@case(shape=(3, 5))
def gemm_scaled(net: OnnxNet, x: str) -> str:
    return net.node("Gemm", x, net.weight(5, 6), net.weight(6, scale=1), alpha=0.5, beta=2.0)


@case(shape=(5, 3))
def gemm_transposed(net: OnnxNet, x: str) -> str:
    return net.node("Gemm", x, net.weight(6, 5), net.weight(1, 6, scale=1), transA=1, transB=1)


@case(shape=(3, 5))
def matmul_add(net: OnnxNet, x: str) -> str:
    return net.node("Add", net.weight(6, scale=1), net.node("MatMul", x, net.weight(5, 6)))


@case()
def softmax_of_image(net: OnnxNet, x: str) -> str:
    return net.node("Softmax", net.conv(x, (6, 4, 1, 1)), axis=1)


@case(shape=(3, 5))
def softmax_default_axis(net: OnnxNet, x: str) -> str:
    return net.node("Softmax", x)


@case()
def concat_channels(net: OnnxNet, x: str) -> str:
    return net.node("Concat", net.conv(x, (3, 4, 1, 1)), x, net.conv(x, (5, 4, 1, 1)), axis=1)


@case(since=11)
def concat_negative_axis(net: OnnxNet, x: str) -> str:
    return net.node("Concat", net.conv(x, (3, 4, 1, 1)), net.conv(x, (5, 4, 1, 1)), axis=-3)


def _split(net: OnnxNet, x: str, sizes: list[int], axis: int) -> list[str]:
    if net.opset < 13:
        return net.node("Split", x, outputs=len(sizes), split=sizes, axis=axis)
    return net.node("Split", x, net.constant(sizes), outputs=len(sizes), axis=axis)


@case()
def split_channels(net: OnnxNet, x: str) -> str:
    left, right = _split(net, net.conv(x, (6, 4, 1, 1)), [2, 4], 1)
    return net.node("Concat", right, net.conv(left, (3, 2, 1, 1)), axis=1)


@case(until=17)
def split_evenly(net: OnnxNet, x: str) -> str:
    left, right = net.node("Split", net.conv(x, (6, 4, 1, 1)), outputs=2, axis=1)
    return net.node("Sub", left, right)


@case(since=18)
def split_into_number(net: OnnxNet, x: str) -> str:
    *_, last = net.node("Split", net.conv(x, (7, 4, 1, 1)), outputs=3, num_outputs=3, axis=1)
    return last


def _slice(net: OnnxNet, x: str, starts: list[int], ends: list[int], axes: list[int]) -> str:
    if net.opset < 10:
        return net.node("Slice", x, starts=starts, ends=ends, axes=axes)
    return net.node("Slice", x, *map(net.constant, (starts, ends, axes)))


@case()
def slice_channels(net: OnnxNet, x: str) -> str:
    y = net.conv(x, (6, 4, 1, 1))
    return net.node("Add", _slice(net, y, [0], [3], [1]), _slice(net, y, [3], [2**63 - 1], [1]))


@case()
def slice_pixels(net: OnnxNet, x: str) -> str:
    return _slice(net, net.conv(x, (6, 4, 1, 1)), [1, -3], [9, 100], [2, 3])


@case(since=11)
def gather_channels(net: OnnxNet, x: str) -> str:
    return net.node("Gather", net.conv(x, (6, 4, 1, 1)), net.constant([5, 0, 3]), axis=1)


@case(shape=(1, 9, 7, 4))
def transpose_from_and_to_channels_last(net: OnnxNet, x: str) -> str:
    y = net.conv(net.node("Transpose", x, perm=[0, 3, 1, 2]), (6, 4, 3, 3))
    return net.node("Transpose", y, perm=[0, 2, 3, 1])


@case()
def transpose_of_pixels(net: OnnxNet, x: str) -> str:
    return net.node("Transpose", net.conv(x, (6, 4, 1, 1)), perm=[0, 1, 3, 2])


@case(shape=(2, 6, 5, 3))
def channel_shuffle(net: OnnxNet, x: str) -> str:
    y = net.node("Reshape", net.conv(x, (6, 2, 1, 1), group=3), net.constant([2, 3, 2, 5, 3]))
    y = net.node("Reshape", net.node("Transpose", y, perm=[0, 2, 1, 3, 4]), net.constant([2, -1, 5, 3]))
    return net.conv(y, (6, 2, 1, 1), group=3)


@case()
def sum_of_three(net: OnnxNet, x: str) -> str:
    return net.node("Sum", x, net.conv(x, (4, 4, 1, 1)), net.conv(x, (4, 4, 1, 1)))


@case()
def mean_of_three(net: OnnxNet, x: str) -> str:
    return net.node("Mean", x, net.conv(x, (4, 4, 1, 1)), net.conv(x, (4, 4, 1, 1)))


@case()
def broadcasts(net: OnnxNet, x: str) -> str:
    y = net.node("Sub", net.conv(x, (4, 4, 1, 1)), net.weight(7, scale=1))
    y = net.node("Div", y, net.constant(np.full((4, 1, 1), 3), "float32"))
    return net.node("Mul", net.weight(9, 1, scale=1), y)


@case()
def squeeze_excite_by_convolutions(net: OnnxNet, x: str) -> str:
    y = net.node("Relu", net.conv(net.node("GlobalAveragePool", x), (2, 4, 1, 1)))
    return net.conv(net.node("Mul", x, net.node("Sigmoid", net.conv(y, (4, 2, 1, 1)))), (5, 4, 1, 1))


@case()
def squeeze_excite_by_dense(net: OnnxNet, x: str) -> str:
    y = net.conv(x, (4, 4, 1, 1))
    gate = net.node("Reshape", net.node("GlobalAveragePool", y), net.constant([1, 4]))
    gate = net.node("HardSigmoid", net.node("Gemm", gate, net.weight(4, 4), net.weight(4)), alpha=1 / 6)
    return net.node("Mul", y, net.node("Reshape", gate, net.constant([1, 4, 1, 1])))


@case()
def residual_add(net: OnnxNet, x: str) -> str:
    return net.node("Add", x, net.conv(net.node("Relu", net.conv(x, (4, 4, 3, 3), pads=[1, 1, 1, 1])), (4, 4, 1, 1)))


@case()
def local_response_norm(net: OnnxNet, x: str) -> str:
    return net.node("LRN", net.conv(x, (6, 4, 1, 1)), size=3, alpha=0.1, beta=0.75)


@case(shape=(1, 1, 8, 6))
def single_channel(net: OnnxNet, x: str) -> str:
    return net.conv(x, (4, 1, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])


@case(shape=(1, 8, 4, 3))
def depth_to_space(net: OnnxNet, x: str) -> str:
    """An operator that ToChannelsLast does not know, between convolutions."""
    return net.conv(net.node("DepthToSpace", net.conv(x, (8, 8, 1, 1)), blocksize=2), (3, 2, 3, 3))
