"""The one definition of a block: its stages as tensor expressions, turned into an unscheduled PrimFunc.

Every variant schedules this same function, so variants that agree in what they compute agree in their arithmetic.
Stage i of a block yields up to three TensorIR blocks:

- ``pad<i>``: the stage's input, zero outside its borders (only where the stage has padding),
- ``acc<i>``: the sum of products,
- ``out<i>``: the epilogue (bias, residual, activations) of ``acc<i>``.

A block with the ``scale`` prologue starts with one named ``scaled``. Weights arrive packed, see :func:`pack_weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr as PrimExpr
from tvm.tirx import if_then_else

from tvm_dwfuse.blocks import Block, Conv, Layout, activation_shape

from .activations import APPLY

#: Access to an element by (n, h, w, c).
Read = Callable[[PrimExpr, PrimExpr, PrimExpr, PrimExpr], PrimExpr]
#: One step of an epilogue: from the value so far and its (n, h, w, c) to the next value.
Step = Callable[[PrimExpr, PrimExpr, PrimExpr, PrimExpr, PrimExpr], PrimExpr]


def block_definition(block: Block, layouts: Sequence[Layout], tiles: Sequence[int]) -> tirx.PrimFunc:
    """The unscheduled function of ``block``; its parameters are :meth:`Block.operands` and then the output.

    Args:
        block: what to compute.
        layouts: layout of the input and of each stage's output, one more than there are stages.
        tiles: for each stage the channels in one packed weight tile (ignored for depthwise stages).
    """
    heights_widths = block.sizes()
    channels = [block.stages[0].in_channels, *(stage.out_channels for stage in block.stages)]
    shapes = [
        activation_shape(layout, block.batch, h, w, c)
        for layout, (h, w), c in zip(layouts, heights_widths, channels, strict=True)
    ]
    x = te.placeholder(shapes[0], block.dtype, name="x")
    operands = [x]
    read = _reader(x, layouts[0])
    if block.prologue:
        scale = te.placeholder(activation_shape(layouts[0], block.batch, 1, 1, channels[0]), block.dtype, name="scale")
        operands.append(scale)
        read = _scaled(read, scale, shapes[0], layouts[0])
    for i, stage in enumerate(block.stages):
        size = heights_widths[i]
        weight = te.placeholder(packed_shape(stage, tiles[i]), block.dtype, name=f"w{i}")
        operands.append(weight)
        read = _padded(read, stage, size, block.batch, layouts[i], f"pad{i}")
        sums = _depthwise if stage.is_depthwise else _dense
        acc_layout = accumulator_layout(stage, layouts[i], layouts[i + 1])
        acc = sums(read, stage, weight, block.batch, heights_widths[i + 1], acc_layout, f"acc{i}")
        out, extra = _epilogue(acc, acc_layout, stage, shapes[i + 1], layouts[i + 1], block.dtype, i)
        operands += extra
        read = _reader(out, layouts[i + 1])
    return te.create_prim_func([*operands, out])


def accumulator_layout(stage: Conv, source: Layout, sink: Layout) -> Layout:
    """Layout of ``acc<i>``: its last axis is the one that vectors run along.

    That is the width where the input's channels are not adjacent in memory and either each output has a channel of
    its own to read (depthwise) or the output's channels are not adjacent either; else it is the channels.
    """
    along_width = source == "NCHW" and (stage.is_depthwise or sink == "NCHW")
    return "NCHW" if along_width else "NHWC"


def packed_shape(stage: Conv, tile: int) -> tuple[int, ...]:
    """Shape of a packed weight: (kh, kw, C_out) for depthwise, else (groups x tiles, kh, kw, C_in / groups, tile)."""
    if stage.is_depthwise:
        return (*stage.kernel, stage.out_channels)
    group_out = stage.out_channels // stage.groups
    return (stage.groups * _ceil_div(group_out, tile), *stage.kernel, stage.in_channels // stage.groups, tile)


def pack_weight(stage: Conv, weight: np.ndarray, tile: int) -> np.ndarray:
    """An OIHW weight in the order the kernel streams it; the last tile of a group is filled up with zeros."""
    shape = packed_shape(stage, tile)
    if stage.is_depthwise:
        return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))
    tiles = shape[0] // stage.groups
    grouped = weight.reshape(stage.groups, -1, *weight.shape[1:])
    filled = np.zeros((stage.groups, tiles * tile, *weight.shape[1:]), weight.dtype)
    filled[:, : grouped.shape[1]] = grouped
    by_tile = filled.reshape(stage.groups * tiles, tile, *weight.shape[1:])
    return np.ascontiguousarray(by_tile.transpose(0, 3, 4, 2, 1))


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _reader(tensor: te.Tensor, layout: Layout) -> Read:
    """Access to a tensor by (n, h, w, c), whatever its layout."""
    if layout == "NHWC":
        return lambda n, h, w, c: tensor[n, h, w, c]
    return lambda n, h, w, c: tensor[n, c, h, w]


def _compute(shape: Sequence[int], layout: Layout, body: Read, name: str) -> te.Tensor:
    if layout == "NHWC":
        return te.compute(shape, lambda n, h, w, c: body(n, h, w, c), name=name)
    return te.compute(shape, lambda n, c, h, w: body(n, h, w, c), name=name)


def _scaled(read: Read, scale: te.Tensor, shape: Sequence[int], layout: Layout) -> Read:
    factor = _reader(scale, layout)
    return _reader(_compute(shape, layout, lambda n, h, w, c: read(n, h, w, c) * factor(n, 0, 0, c), "scaled"), layout)


def _padded(read: Read, stage: Conv, size: tuple[int, int], batch: int, layout: Layout, name: str) -> Read:
    if not any(stage.padding):
        return read
    top, left, bottom, right = stage.padding
    h_in, w_in = size
    shape = activation_shape(layout, batch, h_in + top + bottom, w_in + left + right, stage.in_channels)
    zero = tirx.const(0.0, "float32")

    def body(n: PrimExpr, h: PrimExpr, w: PrimExpr, c: PrimExpr) -> PrimExpr:
        tests = []
        if top:
            tests.append(h >= top)
        if bottom:
            tests.append(h < h_in + top)
        if left:
            tests.append(w >= left)
        if right:
            tests.append(w < w_in + left)
        return if_then_else(tirx.all(*tests), read(n, h - top, w - left, c), zero)

    return _reader(_compute(shape, layout, body, name), layout)


def _depthwise(
    read: Read, stage: Conv, weight: te.Tensor, batch: int, size: tuple[int, int], layout: Layout, name: str
) -> te.Tensor:
    rh, rw = (te.reduce_axis((0, k), n) for k, n in zip(stage.kernel, ("rh", "rw"), strict=True))
    (sh, sw), (dh, dw), m = stage.strides, stage.dilation, stage.channel_multiplier
    return _compute(
        activation_shape(layout, batch, *size, stage.out_channels),
        layout,
        lambda n, h, w, c: te.sum(
            read(n, h * sh + rh * dh, w * sw + rw * dw, c // m if m > 1 else c) * weight[rh, rw, c], axis=[rh, rw]
        ),
        name,
    )


def _dense(
    read: Read, stage: Conv, weight: te.Tensor, batch: int, size: tuple[int, int], layout: Layout, name: str
) -> te.Tensor:
    """A convolution that sums over channels; its channels are rounded up to whole tiles, group by group."""
    tiles, kh, kw, group_in, tile = (int(extent) for extent in weight.shape)
    rh, rw, k = (te.reduce_axis((0, extent), n) for extent, n in ((kh, "rh"), (kw, "rw"), (group_in, "k")))
    (sh, sw), (dh, dw) = stage.strides, stage.dilation
    padded_group = tiles // stage.groups * tile

    def source(c: PrimExpr) -> PrimExpr:
        return k if stage.groups == 1 else c // padded_group * group_in + k

    return _compute(
        activation_shape(layout, batch, *size, tiles * tile),
        layout,
        lambda n, h, w, c: te.sum(
            read(n, h * sh + rh * dh, w * sw + rw * dw, source(c)) * weight[c // tile, rh, rw, k, c % tile],
            axis=[rh, rw, k],
        ),
        name,
    )


def _add_bias(bias: te.Tensor) -> Step:
    return lambda value, n, h, w, c: value + bias[c]


def _add_residual(read: Read) -> Step:
    return lambda value, n, h, w, c: value + read(n, h, w, c)


def _activate(apply: Callable[[PrimExpr], PrimExpr]) -> Step:
    return lambda value, n, h, w, c: apply(value)


def _epilogue(
    acc: te.Tensor, acc_layout: Layout, stage: Conv, shape: Sequence[int], layout: Layout, dtype: str, index: int
) -> tuple[te.Tensor, list[te.Tensor]]:
    """The stage's output tensor and the operands (bias, residual) that its epilogue reads."""
    operands: list[te.Tensor] = []
    steps: list[Step] = []
    for name in stage.epilogue:
        if name == "bias":
            operands.append(te.placeholder((stage.out_channels,), dtype, name=f"b{index}"))
            steps.append(_add_bias(operands[-1]))
        elif name == "add":
            operands.append(te.placeholder(shape, dtype, name=f"r{index}"))
            steps.append(_add_residual(_reader(operands[-1], layout)))
        else:
            steps.append(_activate(APPLY[name]))
    group_out = stage.out_channels // stage.groups
    channels = int(acc.shape[3 if acc_layout == "NHWC" else 1])
    padded_group = channels // stage.groups
    read = _reader(acc, acc_layout)

    def body(n: PrimExpr, h: PrimExpr, w: PrimExpr, c: PrimExpr) -> PrimExpr:
        packed = c if padded_group == group_out else c // group_out * padded_group + c % group_out
        if stage.groups == 1 or stage.is_depthwise:
            packed = c
        value = read(n, h, w, packed)
        for step in steps:
            value = step(value, n, h, w, c)
        return value

    return _compute(shape, layout, body, f"out{index}"), operands
