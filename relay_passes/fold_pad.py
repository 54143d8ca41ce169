"""FoldPadIntoConv: zero padding in front of a convolution becomes the convolution's own."""

from __future__ import annotations

import tvm
from tvm import relax

from .dataflow import is_scalar
from .rewrite import Rewrite, op_name, rewrite_function

_SPATIAL_AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}


@relax.transform.function_pass(opt_level=0, name="FoldPadIntoConv")
class FoldPadIntoConv:
    """Folds a constant ``nn.pad`` with zeros into the ``nn.conv2d`` that reads it.

    Another reader of the pad keeps it, and a pad of the batch or of channels, or a negative one, stays as it is.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` with its padding folded."""
        return rewrite_function(func, mod, _fold)


def _fold(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    if op_name(expr) != "relax.nn.conv2d":
        return None
    data, weight = expr.args
    attrs = expr.attrs
    pad = rewrite.call(data, "relax.nn.pad")
    if pad is None or str(attrs.data_layout) not in _SPATIAL_AXES:
        return None
    extra = _zero_padding(pad, _SPATIAL_AXES[str(attrs.data_layout)])
    if extra is None:
        return None
    return relax.op.nn.conv2d(
        pad.args[0],
        weight,
        strides=attrs.strides,
        padding=[int(own) + more for own, more in zip(attrs.padding, extra, strict=True)],
        dilation=attrs.dilation,
        groups=attrs.groups,
        data_layout=attrs.data_layout,
        kernel_layout=attrs.kernel_layout,
        out_layout=attrs.out_layout,
        out_dtype=attrs.out_dtype or None,
    )


def _zero_padding(pad: relax.Call, spatial: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right) of a pad with zeros of these axes alone; None for every other pad."""
    width = [int(amount) for amount in pad.attrs.pad_width]
    before, after = width[0::2], width[1::2]
    outside = [axis for axis in range(len(before)) if axis not in spatial and (before[axis] or after[axis])]
    if str(pad.attrs.pad_mode) != "constant" or outside or min(width) < 0:
        return None
    if not _pads_zero(pad):
        return None
    top, left = (before[axis] for axis in spatial)
    bottom, right = (after[axis] for axis in spatial)
    return top, left, bottom, right


def _pads_zero(pad: relax.Call) -> bool:
    value = pad.attrs.pad_value
    return float(value) == 0.0 if not isinstance(value, relax.Expr) else is_scalar(value, 0.0)
