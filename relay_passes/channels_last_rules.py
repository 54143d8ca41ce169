"""How each operator moves to channels-last order: a table of rules for :class:`~relay_passes.ToChannelsLast`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tvm import relax, tirx

from .dataflow import static_shape
from .rewrite import constant, constant_array


@dataclass(frozen=True)
class Native:
    """A result in the order that it had in the original."""

    expr: relax.Expr


@dataclass(frozen=True)
class Flat:
    """A result of shape (N, H * W * C), which was (N, C * H * W) in the original; ``image`` is (C, H, W)."""

    expr: relax.Expr
    image: tuple[int, int, int]


class Values(Protocol):
    """The values that the original's expressions have in the function being built."""

    def is_last(self, expr: relax.Expr) -> bool: ...  # noqa: D102
    def last(self, expr: relax.Expr) -> relax.Expr: ...  # noqa: D102
    def native(self, expr: relax.Expr) -> relax.Expr: ...  # noqa: D102
    def flat(self, expr: relax.Expr) -> Flat | None: ...  # noqa: D102
    def permuted(self, expr: relax.Expr, axes: list[int]) -> relax.Expr: ...  # noqa: D102


#: A call of the original -> what takes its place: an expression in channels-last order, or one that is marked as
#: :class:`Native` or :class:`Flat`, or None to keep the call as it is.
Rule = Callable[[relax.Call, Values], "relax.Expr | Native | Flat | None"]


def channels_last_axes(rank: int) -> list[int]:
    """The permutation to channels-last order: (0, 2, 3, 1) for an image, the last two axes always being the pixels."""
    return [0, rank - 2, rank - 1, *range(1, rank - 2)]


def inverse(axes: list[int]) -> list[int]:
    """The permutation that undoes ``axes``."""
    return sorted(range(len(axes)), key=axes.__getitem__)


def _moved_axis(axis: int, rank: int) -> int:
    return inverse(channels_last_axes(rank))[axis % rank]


def _conv2d(call: relax.Call, values: Values) -> relax.Expr | Native | None:
    attrs = call.attrs
    layout, kernel_layout = str(attrs.data_layout), str(attrs.kernel_layout)
    if layout not in ("NCHW", "NHWC") or str(attrs.out_layout) != layout or sorted(kernel_layout) != sorted("OIHW"):
        return None
    data, weight = call.args
    conv = relax.op.nn.conv2d(
        values.last(data) if layout == "NCHW" else values.native(data),
        values.permuted(values.native(weight), [kernel_layout.index(axis) for axis in "OHWI"]),
        strides=attrs.strides,
        padding=attrs.padding,
        dilation=attrs.dilation,
        groups=attrs.groups,
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_dtype=attrs.out_dtype or None,
    )
    return conv if layout == "NCHW" else Native(conv)


def _pool2d(build: Callable[..., relax.Expr]) -> Rule:
    def rule(call: relax.Call, values: Values) -> relax.Expr | None:
        attrs = call.attrs
        if str(attrs.layout) != "NCHW" or str(attrs.out_layout) != "NCHW":
            return None
        return build(
            values.last(call.args[0]),
            attrs.pool_size,
            attrs.strides,
            attrs.padding,
            attrs.dilation,
            attrs.ceil_mode,
            attrs.count_include_pad,
            layout="NHWC",
        )

    return rule


def _adaptive_avg_pool2d(call: relax.Call, values: Values) -> relax.Expr | None:
    if str(call.attrs.layout) != "NCHW" or str(call.attrs.out_layout) != "NCHW":
        return None
    return relax.op.nn.adaptive_avg_pool2d(values.last(call.args[0]), call.attrs.output_size, layout="NHWC")


def _elementwise(call: relax.Call, values: Values) -> relax.Expr | Flat | None:
    """Any number of operands that broadcast; those that are no tensors (the bounds of a clip) stay as they are."""
    flat = values.flat(call.args[0])
    tensors = [arg for arg in call.args if isinstance(arg.ty, relax.TensorType)]
    if flat is not None and len(tensors) == 1:
        return Flat(relax.Call(call.op, [flat.expr, *call.args[1:]], call.attrs), flat.image)
    ranks = [arg.ty.ndim for arg in tensors if values.is_last(arg)]
    if not ranks or any(not 0 <= arg.ty.ndim <= ranks[0] for arg in tensors):
        return None
    if any(arg.ty.ndim < ranks[0] and static_shape(arg) is None for arg in tensors):
        return None
    args = [_broadcast(arg, ranks[0], values) if isinstance(arg.ty, relax.TensorType) else arg for arg in call.args]
    return relax.Call(call.op, args, call.attrs)


def _broadcast(arg: relax.Expr, rank: int, values: Values) -> relax.Expr:
    """``arg`` in channels-last order, with the axes of size 1 that broadcasting to ``rank`` adds in front."""
    if arg.ty.ndim == rank:
        return values.last(arg)
    shape = static_shape(arg)
    assert shape is not None
    if math.prod(shape) == 1:
        return values.native(arg)
    shape = (1,) * (rank - len(shape)) + shape
    array = constant_array(arg)
    expanded = constant(array.reshape(shape)) if array is not None else relax.op.reshape(values.native(arg), shape)
    return values.permuted(expanded, channels_last_axes(rank))


def _reduce(build: Callable[..., relax.Expr]) -> Rule:
    def rule(call: relax.Call, values: Values) -> relax.Expr | Native | None:
        data = call.args[0]
        if not values.is_last(data) or call.attrs.axis is None:
            return None
        rank = data.ty.ndim
        axes = sorted(_moved_axis(int(axis), rank) for axis in call.attrs.axis)
        reduced = build(values.last(data), axes, keepdims=call.attrs.keepdims)
        if call.attrs.keepdims:
            return reduced
        order = channels_last_axes(rank)
        left = [order[axis] for axis in range(rank) if axis not in axes]
        return Native(reduced) if left == sorted(left) else None

    return rule


def _concat(call: relax.Call, values: Values) -> relax.Expr | None:
    fields = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else []
    if not any(values.is_last(field) for field in fields) or call.attrs.axis is None:
        return None
    axis = _moved_axis(int(call.attrs.axis), fields[0].ty.ndim)
    return relax.op.concat([values.last(field) for field in fields], axis)


def _split(call: relax.Call, values: Values) -> relax.Expr | None:
    data = call.args[0]
    if not values.is_last(data):
        return None
    sections = call.attrs.indices_or_sections
    if not isinstance(sections, (int, tirx.IntImm)):
        sections = [int(index) for index in sections]
    return relax.op.split(values.last(data), sections, _moved_axis(int(call.attrs.axis), data.ty.ndim))


def _strided_slice(call: relax.Call, values: Values) -> relax.Expr | None:
    data, axes, *bounds = call.args
    if not values.is_last(data):
        return None
    moved = [_moved_axis(int(axis), data.ty.ndim) for axis in axes.fields]
    return relax.op.strided_slice(values.last(data), moved, *bounds, assume_inbound=call.attrs.assume_inbound)


def _take(call: relax.Call, values: Values) -> relax.Expr | None:
    data, indices = call.args
    if not values.is_last(data) or indices.ty.ndim != 1 or call.attrs.axis is None:
        return None
    axis = _moved_axis(int(call.attrs.axis), data.ty.ndim)
    return relax.op.take(values.last(data), values.native(indices), axis, call.attrs.mode)


def _softmax(build: Callable[..., relax.Expr]) -> Rule:
    def rule(call: relax.Call, values: Values) -> relax.Expr | None:
        data = call.args[0]
        return (
            build(values.last(data), _moved_axis(int(call.attrs.axis), data.ty.ndim)) if values.is_last(data) else None
        )

    return rule


def _prelu(call: relax.Call, values: Values) -> relax.Expr | None:
    data, slope = call.args
    if not values.is_last(data):
        return None
    return relax.op.nn.prelu(values.last(data), values.native(slope), _moved_axis(int(call.attrs.axis), data.ty.ndim))


def _pad(call: relax.Call, values: Values) -> relax.Expr | None:
    data = call.args[0]
    if not values.is_last(data):
        return None
    widths = [int(width) for width in call.attrs.pad_width]
    moved = [width for axis in channels_last_axes(data.ty.ndim) for width in widths[2 * axis : 2 * axis + 2]]
    return relax.op.nn.pad(values.last(data), moved, call.attrs.pad_mode, call.attrs.pad_value)


def _permute_dims(call: relax.Call, values: Values) -> relax.Expr | Native | None:
    data = call.args[0]
    if not values.is_last(data) or call.attrs.axes is None:
        return None
    rank = data.ty.ndim
    order = channels_last_axes(rank)
    axes = [int(axis) % rank for axis in call.attrs.axes]
    if axes == order:
        return Native(values.last(data))
    position = inverse(order)
    return values.permuted(values.last(data), [position[axes[axis]] for axis in order])


def _reshape(call: relax.Call, values: Values) -> relax.Expr | Native | Flat | None:
    """A reshape that splits or merges channels, one that flattens an image, or one of an image of one pixel."""
    data = call.args[0]
    if not values.is_last(data):
        return None
    shape, out = static_shape(data), static_shape(call)
    if shape is None or out is None:
        return None
    if math.prod(shape[-2:]) == 1 and (len(out) < 4 or math.prod(out[-2:]) != 1):
        return Native(relax.op.reshape(values.last(data), out))
    if len(out) >= 4 and (shape[0], *shape[-2:]) == (out[0], *out[-2:]):
        return relax.op.reshape(values.last(data), [out[axis] for axis in channels_last_axes(len(out))])
    if len(shape) == 4 and out == (shape[0], math.prod(shape[1:])):
        return Flat(relax.op.reshape(values.last(data), out), (shape[1], shape[2], shape[3]))
    return None


def _matmul(call: relax.Call, values: Values) -> Native | None:
    """A dense layer behind a flatten: the rows of its weight change places instead of the activation."""
    flat, weight = values.flat(call.args[0]), constant_array(call.args[1])
    if flat is None or weight is None or weight.ndim != 2:
        return None
    rows = weight.reshape(*flat.image, -1).transpose(1, 2, 0, 3).reshape(weight.shape)
    return Native(relax.Call(call.op, [flat.expr, constant(rows)], call.attrs))


# fmt: off
_ELEMENTWISE = (
    "abs", "add", "astype", "ceil", "clip", "cos", "divide", "equal", "erf", "exp", "floor", "floor_divide",
    "greater", "greater_equal", "less", "less_equal", "log", "maximum", "minimum", "mod", "multiply",
    "negative", "not_equal", "power", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "square", "subtract",
    "tanh", "where", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.relu6", "nn.selu", "nn.silu",
    "nn.softplus",
)
# fmt: on

_REDUCTIONS = ("mean", "sum", "max", "min", "prod")

RULES: dict[str | None, Rule] = {
    **{f"relax.{name}": _elementwise for name in _ELEMENTWISE},
    **{f"relax.{name}": _reduce(getattr(relax.op, name)) for name in _REDUCTIONS},
    **{f"relax.{name}": _reshape for name in ("reshape", "flatten", "squeeze", "expand_dims")},
    "relax.nn.conv2d": _conv2d,
    "relax.nn.max_pool2d": _pool2d(relax.op.nn.max_pool2d),
    "relax.nn.avg_pool2d": _pool2d(relax.op.nn.avg_pool2d),
    "relax.nn.adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "relax.nn.softmax": _softmax(relax.op.nn.softmax),
    "relax.nn.log_softmax": _softmax(relax.op.nn.log_softmax),
    "relax.nn.pad": _pad,
    "relax.nn.prelu": _prelu,
    "relax.concat": _concat,
    "relax.split": _split,
    "relax.strided_slice": _strided_slice,
    "relax.take": _take,
    "relax.permute_dims": _permute_dims,
    "relax.matmul": _matmul,
}
