"""Reads one convolution, or dense layer, and the element-wise steps behind it out of a function."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from tvm import relax

from tvm_dwfuse.blocks import OPERAND_STEPS, Conv, Layout

from .dataflow import Dataflow, is_scalar, is_tensor_constant, other_operand, static_shape

_KERNEL_AXES = {"OIHW": (0, 1, 2, 3), "OHWI": (0, 3, 1, 2), "HWIO": (3, 2, 0, 1), "HWOI": (2, 3, 0, 1)}
_UNARY = {"relax.nn.relu": "relu", "relax.nn.silu": "silu", "relax.sigmoid": "sigmoid"}
_GATED = {"hardsigmoid": "hardswish", "sigmoid": "silu"}


@dataclass(frozen=True)
class Stage:
    """A convolution with its epilogue, as it stands in a function.

    ``name`` is the variable that the convolution itself is bound to, ``kind`` one of ``"dw"``, ``"pw"``, ``"conv"``,
    ``"dense"``. ``positions`` are those of its bindings, the last one binding ``result``. ``weight_axes`` are the axes
    of the weight constant in the order O, I, H, W (O, I for a dense layer), ``step_operands`` the constants and
    variables that the epilogue reads, in its order. ``scale`` is the second factor of a squeeze-and-excite multiply
    in front.
    """

    name: str
    kind: str
    conv: Conv
    layout: Layout
    dtype: str
    batch: int
    height: int
    width: int
    data: relax.Expr
    weight: relax.Expr
    weight_axes: tuple[int, ...]
    positions: tuple[int, ...]
    result: relax.Var
    step_operands: tuple[relax.Expr, ...] = ()
    scale: relax.Expr | None = None


@dataclass(frozen=True)
class _Step:
    name: str
    positions: tuple[int, ...]
    result: relax.Var
    operand: relax.Expr | None = None


def read_stage(flow: Dataflow, at: int) -> Stage | str | None:
    """The stage whose convolution or dense layer is bound at position ``at``.

    Returns:
        The stage with as long an epilogue as there is; a reason, if the operator has a form that no block can hold;
        None, if it is another operator.
    """
    if flow.op_name(at) == "relax.nn.conv2d":
        stage = _read_conv2d(flow, at)
    elif flow.op_name(at) == "relax.matmul":
        stage = _read_dense(flow, at)
    else:
        return None
    return stage if isinstance(stage, str) else _with_epilogue(flow, stage)


def with_scale(flow: Dataflow, stage: Stage) -> Stage:
    """``stage`` together with the squeeze-and-excite multiply in front of it, if nobody else reads that.

    The multiply is x * s with s of shape (N, C, 1, 1) or (N, 1, 1, C) beside an x of more than one pixel.
    """
    at = flow.position(stage.data)
    call = flow.call(at, "relax.multiply") if at >= 0 else None
    if call is None or flow.sole_user(stage.data) is None:
        return stage
    for data, scale in (call.args, reversed(call.args)):
        if is_scale(data, scale, stage.layout):
            return replace(stage, data=data, scale=scale, positions=(at, *stage.positions))
    return stage


def is_scale(data: relax.Expr, scale: relax.Expr, layout: Layout) -> bool:
    """Whether data * scale scales the channels of an activation of that layout, as squeeze-and-excite does."""
    if not (isinstance(data, relax.Var) and isinstance(scale, relax.Var)):
        return False
    shape = static_shape(data)
    if shape is None or len(shape) != 4:
        return False
    per_channel = (shape[0], 1, 1, shape[3]) if layout == "NHWC" else (shape[0], shape[1], 1, 1)
    return shape != per_channel == static_shape(scale)


def _read_conv2d(flow: Dataflow, at: int) -> Stage | str:
    call = flow.call(at)
    assert call is not None
    data, weight = call.args
    attrs = call.attrs
    layout = cast(Layout, str(attrs.data_layout))
    if not isinstance(data, relax.Var):
        return "its input is a constant (run relax.transform.FoldConstant)"
    if not is_tensor_constant(weight):
        return "its weight is not a constant"
    if layout not in ("NHWC", "NCHW") or str(attrs.out_layout) != layout:
        return f"its layout is {layout} -> {attrs.out_layout}, neither NHWC nor NCHW throughout"
    if str(attrs.kernel_layout) not in _KERNEL_AXES:
        return f"its kernel layout is {attrs.kernel_layout}, none of {', '.join(_KERNEL_AXES)}"
    dtype = str(call.ty.dtype)
    if not str(data.ty.dtype) == str(weight.ty.dtype) == dtype:
        return f"its input is {data.ty.dtype}, its weight {weight.ty.dtype} and its output {dtype}, not all the same"
    shape = static_shape(data)
    if shape is None:
        return "the shape of its input is not static"
    batch, channels, height, width = shape if layout == "NCHW" else (shape[0], shape[3], shape[1], shape[2])
    axes = _KERNEL_AXES[str(attrs.kernel_layout)]
    weight_shape = static_shape(weight)
    assert weight_shape is not None
    out_channels, _, kernel_h, kernel_w = (weight_shape[axis] for axis in axes)
    conv = Conv(
        in_channels=channels,
        out_channels=out_channels,
        kernel=(kernel_h, kernel_w),
        strides=_ints(attrs.strides),
        padding=_ints(attrs.padding),
        dilation=_ints(attrs.dilation),
        groups=int(attrs.groups),
    )
    kind = "dw" if conv.is_depthwise else "pw" if conv.is_pointwise else "conv"
    var = flow.var(at)
    return Stage(var.name, kind, conv, layout, dtype, batch, height, width, data, weight, axes, (at,), var)


def _read_dense(flow: Dataflow, at: int) -> Stage | str:
    """A dense layer as a pointwise convolution of a one-pixel image: batch M, NHWC."""
    call = flow.call(at)
    assert call is not None
    data, weight = call.args
    shape, weight_shape = static_shape(data), static_shape(weight)
    if not isinstance(data, relax.Var):
        return "its input is a constant (run relax.transform.FoldConstant)"
    if not is_tensor_constant(weight):
        return "its weight is not a constant"
    if shape is None or weight_shape is None or len(shape) != 2 or len(weight_shape) != 2:
        return "it is not a product of two matrices of static shape"
    dtype = str(call.ty.dtype)
    if not str(data.ty.dtype) == str(weight.ty.dtype) == dtype:
        return f"its input is {data.ty.dtype}, its weight {weight.ty.dtype} and its output {dtype}, not all the same"
    conv = Conv(in_channels=weight_shape[0], out_channels=weight_shape[1])
    var = flow.var(at)
    return Stage(var.name, "dense", conv, "NHWC", dtype, shape[0], 1, 1, data, weight, (1, 0), (at,), var)


def _ints(values: object) -> tuple:
    return tuple(int(value) for value in values)  # type: ignore[attr-defined]


def _with_epilogue(flow: Dataflow, stage: Stage) -> Stage:
    steps: list[_Step] = []
    result = stage.result
    while step := _read_step(flow, result, -3 if stage.layout == "NCHW" else -1):
        # Operands are named by stage (b0, r0), so that a stage holds one bias and one residual.
        if step.name in OPERAND_STEPS and any(step.name == earlier.name for earlier in steps):
            break
        steps.append(step)
        result = step.result
    return replace(
        stage,
        conv=replace(stage.conv, epilogue=tuple(step.name for step in steps)),
        positions=stage.positions + tuple(at for step in steps for at in step.positions),
        result=result,
        step_operands=tuple(step.operand for step in steps if step.name in OPERAND_STEPS),
    )


def _read_step(flow: Dataflow, var: relax.Var, channel_axis: int) -> _Step | None:
    """The element-wise step that is the only use of ``var``, so that ``var`` need not be kept."""
    if flow.is_output(var):
        return None
    users = flow.users(var)
    if len(users) == 2:
        return _read_gated(flow, var, *users)
    if len(users) != 1:
        return None
    return (
        _read_activation(flow, var, users[0])
        or _read_bias(flow, var, users[0], channel_axis)
        or _read_residual(flow, var, users[0])
    )


def _read_activation(flow: Dataflow, var: relax.Var, at: int) -> _Step | None:
    name = flow.op_name(at)
    if name in _UNARY:
        return _Step(_UNARY[name], (at,), flow.var(at))
    if _is_clip(flow, at, 0, 6):
        return _Step("relu6", (at,), flow.var(at))
    return _read_hardsigmoid(flow, var, at)


def _read_hardsigmoid(flow: Dataflow, var: relax.Var, at: int) -> _Step | None:
    """clip(var * 1/6 + 1/2, 0, 1), of which the multiply is bound at ``at``."""
    if not _is_scalar_op(flow, at, "relax.multiply", var, 1 / 6):
        return None
    add = flow.sole_user(flow.var(at))
    if add is None or not _is_scalar_op(flow, add, "relax.add", flow.var(at), 0.5):
        return None
    clip = flow.sole_user(flow.var(add))
    if clip is None or not _is_clip(flow, clip, 0, 1):
        return None
    return _Step("hardsigmoid", (at, add, clip), flow.var(clip))


def _read_gated(flow: Dataflow, var: relax.Var, first: int, last: int) -> _Step | None:
    """var * gate(var), the two users of ``var`` being the start of the gate and the multiply."""
    gate = _read_activation(flow, var, first)
    if gate is None or gate.name not in _GATED or flow.sole_user(gate.result) != last:
        return None
    factor = other_operand(flow.call(last, "relax.multiply"), var)
    if factor is None or not factor.same_as(gate.result):
        return None
    return _Step(_GATED[gate.name], (*gate.positions, last), flow.var(last))


def _read_bias(flow: Dataflow, var: relax.Var, at: int, channel_axis: int) -> _Step | None:
    """The add of a constant that is a scalar or varies along the channel axis (negative) only."""
    bias = other_operand(flow.call(at, "relax.add"), var)
    shape = static_shape(var)
    if bias is None or shape is None or not is_tensor_constant(bias) or static_shape(flow.var(at)) != shape:
        return None
    bias_shape = static_shape(bias) or ()
    varying = [axis - len(bias_shape) for axis, size in enumerate(bias_shape) if size != 1]
    if varying not in ([], [channel_axis]):
        return None
    return _Step("bias", (at,), flow.var(at), bias)


def _read_residual(flow: Dataflow, var: relax.Var, at: int) -> _Step | None:
    """The add of an earlier tensor of the same shape.

    An add belongs to the operand that is bound last, so that two chains never claim the same one.
    """
    residual = other_operand(flow.call(at, "relax.add"), var)
    if not isinstance(residual, relax.Var) or flow.position(residual) > flow.position(var):
        return None
    shape = static_shape(var)
    if shape is None or static_shape(residual) != shape or str(residual.ty.dtype) != str(var.ty.dtype):
        return None
    return _Step("add", (at,), flow.var(at), residual)


def _is_clip(flow: Dataflow, at: int, low: float, high: float) -> bool:
    call = flow.call(at, "relax.clip")
    return call is not None and is_scalar(call.args[1], low) and is_scalar(call.args[2], high)


def _is_scalar_op(flow: Dataflow, at: int, op: str, var: relax.Var, value: float) -> bool:
    scalar = other_operand(flow.call(at, op), var)
    return scalar is not None and is_scalar(scalar, value)
