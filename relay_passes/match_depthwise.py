"""Finds depthwise convolutions of a training graph: forward, and in the form that TVM gives their two gradients.

What ``relax.transform.Gradient`` emits for ``y = conv2d(x, w)`` in NCHW and OIHW, dy being the gradient of y:

- dx is ``conv2d_transpose(dy, w)`` with the strides, padding, dilation and groups of the forward convolution, and an
  output padding that settles which of several input sizes was meant.
- dw is ``conv2d`` in the layouts CNHW and IOHW with x as data and dy as filter, strides and dilation exchanged. As
  images become channels there, x is first reshaped to (N, C, 1, H, W), permuted to (C, N, 1, H, W), and reshaped to
  (C * N, 1, H, W). Where the stride leaves a remainder, the result has rows or columns too many and is sliced.
- db of a bias added to y is a sum of dy over N, H and W.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import relax, tirx

from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes

from .dataflow import Dataflow, other_operand, static_shape

_Shape: TypeAlias = tuple[int, ...]

_FORWARD_LAYOUTS = ("NCHW", "OIHW", "NCHW")
_DATA_LAYOUTS = ("NCHW", "IOHW", "NCHW")
_WEIGHT_LAYOUTS = ("CNHW", "IOHW", "CNHW")

#: What a sum over images, rows and columns leaves of (N, C, H, W).
_SUMMED_AXES = (0, 2, 3)


@dataclass(frozen=True)
class DepthwiseMatch:
    """One procedure of a depthwise convolution, found in a function.

    ``inputs`` are what the kernel reads, in the order of its parameters; a bias may have dimensions of 1 around its
    channels. ``outputs`` are the positions of the bindings that hold what the kernel writes, in that order.
    """

    procedure: Procedure
    conv: Depthwise
    inputs: tuple[relax.Expr, ...]
    outputs: tuple[int, ...]

    @property
    def bias(self) -> bool:
        """Whether a bias is added, or its gradient taken along with the weight's."""
        return len(operand_shapes(self.procedure, self.conv)) < len(self.inputs) + len(self.outputs)


def find_depthwise(func: relax.Function) -> list[DepthwiseMatch]:
    """Every depthwise convolution and gradient of one in ``func``, in program order.

    They are float32 and of static shape, with one group for each of at least two input channels. All that a match reads
    is bound before the first of its outputs. What differs from the forms above in any attribute or shape is no match.
    """
    flow = Dataflow(func)
    matches: list[DepthwiseMatch] = []
    taken: set[int] = set()
    for at in range(len(flow.bindings)):
        match = _read(flow, at, taken)
        if match is not None:
            taken.update(match.outputs)
            matches.append(match)
    return matches


def _read(flow: Dataflow, at: int, taken: set[int]) -> DepthwiseMatch | None:
    call = flow.call(at)
    if call is None or at in taken:
        return None
    if call.op.name == "relax.nn.conv2d_transpose":
        return _read_data_gradient(flow, at, call)
    if call.op.name != "relax.nn.conv2d":
        return None
    return _read_forward(flow, at, call) or _read_weight_gradient(flow, at, call, taken)


def _read_forward(flow: Dataflow, at: int, call: relax.Call) -> DepthwiseMatch | None:
    x, w = call.args
    if not _is_float_conv(call, _FORWARD_LAYOUTS):
        return None
    conv = _depthwise(static_shape(x), static_shape(w), call.attrs)
    if conv is None or conv.output_shape != static_shape(call):
        return None
    reader = flow.sole_user(flow.var(at))
    bias = None if reader is None else other_operand(flow.call(reader, "relax.add"), flow.var(at))
    if reader is None or bias is None or not _is_bias(bias, flow.var(reader), conv):
        return DepthwiseMatch("forward", conv, (x, w), (at,))
    return DepthwiseMatch("forward", conv, (x, w, bias), (reader,))


def _read_data_gradient(flow: Dataflow, at: int, call: relax.Call) -> DepthwiseMatch | None:
    dy, w = call.args
    if not _is_float_conv(call, _DATA_LAYOUTS):
        return None
    conv = _depthwise(static_shape(call), static_shape(w), call.attrs)
    if conv is None or conv.output_shape != static_shape(dy):
        return None
    return DepthwiseMatch("backward_data", conv, (dy, w), (at,))


def _read_weight_gradient(flow: Dataflow, at: int, call: relax.Call, taken: set[int]) -> DepthwiseMatch | None:
    dy = _source(flow, call.args[1])
    x = _unfolded(flow, call.args[0])
    if x is None or not _is_float_conv(call, _WEIGHT_LAYOUTS):
        return None
    for result in (_sliced(flow, at), at):
        conv = _depthwise(static_shape(x), static_shape(flow.var(result)), call.attrs, gradient=True)
        if conv is not None and conv.output_shape == static_shape(dy):
            bias = _bias_gradient(flow, dy, conv, max(_bound_at(flow, x), _bound_at(flow, dy)), taken)
            return DepthwiseMatch("backward_weight", conv, (x, dy), (result,) if bias is None else (result, bias))
    return None


def _is_float_conv(call: relax.Call, layouts: tuple[str, str, str]) -> bool:
    attrs = call.attrs
    dtypes = {str(getattr(expr.ty, "dtype", None)) for expr in (call, *call.args)}
    return (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) == layouts and dtypes == {"float32"}


def _depthwise(x: _Shape | None, w: _Shape | None, attrs: Any, gradient: bool = False) -> Depthwise | None:
    """The geometry with inputs and weights of those shapes, None if it is no depthwise one.

    ``gradient`` says that the attributes are those of a weight gradient.
    """
    if x is None or w is None or len(x) != 4 or len(w) != 4:
        return None
    batch, channels, height, width = x
    if channels < 2 or int(attrs.groups) != channels or w[0] % channels or w[1] != 1:
        return None
    stride_h, stride_w = map(int, attrs.dilation if gradient else attrs.strides)
    dilation_h, dilation_w = map(int, attrs.strides if gradient else attrs.dilation)
    top, left, bottom, right = map(int, attrs.padding)
    try:
        return Depthwise(
            channels,
            height,
            width,
            kernel=(w[2], w[3]),
            stride=(stride_h, stride_w),
            padding=(top, left, bottom, right),
            dilation=(dilation_h, dilation_w),
            multiplier=w[0] // channels,
            batch=batch,
            layout="NCHW",
        )
    except ValueError:  # a padding may be negative in Relax, or an extent zero
        return None


def _is_bias(bias: relax.Expr, total: relax.Var, conv: Depthwise) -> bool:
    if not isinstance(bias.ty, relax.TensorType) or str(bias.ty.dtype) != "float32":
        return False
    channels = (conv.out_channels, 1, 1)
    return static_shape(bias) in (channels, (1, *channels)) and static_shape(total) == conv.output_shape


def _unfolded(flow: Dataflow, images: relax.Expr) -> relax.Expr | None:
    """x (N, C, H, W) where ``images`` (C * N, 1, H, W) was made from it as described above."""
    flat = _bound_call(flow, images, "relax.reshape")
    turned = _bound_call(flow, flat.args[0], "relax.permute_dims") if flat is not None else None
    split = _bound_call(flow, turned.args[0], "relax.reshape") if turned is not None else None
    if split is None or turned is None or turned.attrs.axes is None or _ints(turned.attrs.axes) != (1, 0, 2, 3, 4):
        return None
    x = _source(flow, split.args[0])
    shape = static_shape(x)
    if shape is None or len(shape) != 4:
        return None
    n, c, h, w = shape
    return x if static_shape(split) == (n, c, 1, h, w) and static_shape(flat) == (c * n, 1, h, w) else None


def _sliced(flow: Dataflow, at: int) -> int:
    """Where the first rows and columns of the result bound at ``at`` are sliced out of it; ``at`` if they are not."""
    reader = flow.sole_user(flow.var(at))
    call = None if reader is None else flow.call(reader, "relax.strided_slice")
    if reader is None or call is None or not call.args[0].same_as(flow.var(at)):
        return at
    axes, begin, end, *strides = (_constants(argument) for argument in call.args[1:])
    whole, part = static_shape(flow.var(at)), static_shape(flow.var(reader))
    if whole is None or part is None or end != part or part[:2] != whole[:2]:
        return at
    return reader if (axes, begin) == ((0, 1, 2, 3), (0,) * 4) and strides in ([], [(1,) * 4]) else at


def _bias_gradient(flow: Dataflow, dy: relax.Expr, conv: Depthwise, behind: int, taken: set[int]) -> int | None:
    """Where ``dy`` is summed over images, rows and columns, at a position after ``behind``."""
    for at in _readers(flow, _source(flow, dy)):
        if at > behind and at not in taken and _sums_to_channels(flow, at, conv):
            return at
    return None


def _sums_to_channels(flow: Dataflow, at: int, conv: Depthwise) -> bool:
    channels = conv.out_channels
    if flow.call(at, "relax.collapse_sum_to") is not None:
        return static_shape(flow.var(at)) in ((channels, 1, 1), (1, channels, 1, 1))
    call = flow.call(at, "relax.sum")
    return call is not None and call.attrs.axis is not None and _axes(call.attrs.axis, rank=4) == _SUMMED_AXES


def _readers(flow: Dataflow, var: relax.Expr) -> Iterator[int]:
    """Positions of the bindings that read ``var`` by its own name or by another."""
    if not isinstance(var, relax.Var):
        return
    for at in flow.users(var):
        if isinstance(flow.bindings[at].value, relax.Var):
            yield from _readers(flow, flow.var(at))
        else:
            yield at


def _source(flow: Dataflow, expr: relax.Expr) -> relax.Expr:
    """The variable, or else expression, that ``expr`` is another name of."""
    at = flow.position(expr) if isinstance(expr, relax.Var) else -1
    value = getattr(flow.bindings[at], "value", None) if at >= 0 else None
    return _source(flow, value) if isinstance(value, relax.Var) else expr


def _bound_at(flow: Dataflow, expr: relax.Expr) -> int:
    return flow.position(expr) if isinstance(expr, relax.Var) else -1


def _bound_call(flow: Dataflow, expr: relax.Expr, op: str) -> relax.Call | None:
    """The call of ``op`` that ``expr`` is another name of."""
    at = _bound_at(flow, _source(flow, expr))
    return flow.call(at, op) if at >= 0 else None


def _ints(values: object) -> tuple[int, ...]:
    return tuple(int(value) for value in values)  # type: ignore[attr-defined]


def _axes(values: object, rank: int) -> tuple[int, ...]:
    return tuple(sorted(axis % rank for axis in _ints(values)))


def _constants(expr: relax.Expr) -> tuple[int, ...] | None:
    """The integers of a tuple of constants, None if it is something else."""
    fields = [getattr(field, "value", field) for field in getattr(expr, "fields", [])]
    if not fields or not all(isinstance(field, (int, tirx.IntImm)) for field in fields):
        return None
    return _ints(fields)
