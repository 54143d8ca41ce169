"""Patterns of the integer layers that a cluster's kernels compute, as ``FuseOpsByPattern`` takes them.

Each layer of a quantized network is a few operators in NHWC of batch one that end in a requantization::

    clip(((acc * multiplier) + offset) >> shift, 0, 255) as uint8

with ``acc`` a convolution, the sum of two scaled tensors, or the sum over the image of each channel. What differs in
anything, a dilation or another clip, is not matched and stays with TVM.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax, tirx
from tvm.relax.dpl import DFPattern, is_const, is_op, wildcard
from tvm.relax.transform import FusionPattern, PatternCheckContext

from .dataflow import static_shape
from .rewrite import constant_array

#: Kinds of composites, behind the code generator's name and a dot.
CONV2D, ADD, AVERAGE_POOL, RELABEL = "int8_conv2d", "int8_add", "int8_average_pool", "relabel"

Annotations = dict[str, DFPattern]


#: From the call that a layer ends in to attributes of its composite.
Describe = Callable[[relax.Call], dict[str, str]]


def integer_patterns(codegen: str, describe: Describe | None = None) -> list[FusionPattern]:
    """The patterns, in order of priority, of composites called ``<codegen>.int8_conv2d`` and so on.

    - ``int8_conv2d``: [``nn.pad`` by a constant,] ``nn.conv2d`` of uint8 by constant int8, dense or depthwise,
      requantized by channel;
    - ``int8_add``: two activations, each times a scalar, added and requantized;
    - ``int8_average_pool``: the sum over the image, requantized;
    - ``relabel``: a ``reshape`` of one pixel, (1, 1, 1, C) to (1, C) or back, which moves nothing.

    Args:
        codegen: name of the code generator.
        describe: gives further attributes to a composite.
    """
    kinds = [
        (CONV2D, _conv2d(padded=True), _is_conv2d),
        (CONV2D, _conv2d(padded=False), _is_conv2d),
        (ADD, _add(), _is_add),
        (AVERAGE_POOL, _average_pool(), _is_average_pool),
        (RELABEL, _relabel(), _is_relabel),
    ]
    return [_pattern(f"{codegen}.{kind}", *pattern, check, describe) for kind, pattern, check in kinds]


def _pattern(
    name: str, pattern: DFPattern, annotations: Annotations, check: Callable[[dict], bool], describe: Describe | None
) -> FusionPattern:
    def accepts(context: PatternCheckContext) -> bool:
        return check({key: context.annotated_expr[key] for key in annotations})

    attributes = None if describe is None else lambda found: describe(found["root"])
    return FusionPattern(name, pattern, annotations, accepts, attributes)


# --- what they look like ----------------------------------------------------------------------------------------------


def _requantized(scaled: DFPattern) -> tuple[DFPattern, Annotations]:
    offset, shift = is_const(), is_const()
    added = is_op("relax.add")(scaled, offset)
    clip = is_op("relax.clip")(is_op("relax.right_shift")(added, shift), wildcard(), wildcard())
    root = is_op("relax.astype")(clip)
    return root, {"root": root, "clip": clip, "shift": shift, "offset": offset}


def _conv2d(padded: bool) -> tuple[DFPattern, Annotations]:
    data = wildcard()
    pad = is_op("relax.nn.pad")(data)
    conv = is_op("relax.nn.conv2d")(pad if padded else data, is_const())
    multiplier = is_const()
    root, annotations = _requantized(is_op("relax.multiply")(conv, multiplier))
    annotations |= {"conv": conv, "multiplier": multiplier}
    return root, annotations | ({"pad": pad} if padded else {})


def _add() -> tuple[DFPattern, Annotations]:
    a, b, multiplier_a, multiplier_b = wildcard(), wildcard(), is_const(), is_const()
    scaled_a = is_op("relax.multiply")(is_op("relax.astype")(a), multiplier_a)
    scaled_b = is_op("relax.multiply")(is_op("relax.astype")(b), multiplier_b)
    root, annotations = _requantized(is_op("relax.add")(scaled_a, scaled_b))
    return root, annotations | {"a": a, "b": b, "multiplier": multiplier_a, "multiplier_b": multiplier_b}


def _average_pool() -> tuple[DFPattern, Annotations]:
    data, multiplier = wildcard(), is_const()
    total = is_op("relax.sum")(is_op("relax.astype")(data))
    root, annotations = _requantized(is_op("relax.multiply")(total, multiplier))
    return root, annotations | {"data": data, "sum": total, "multiplier": multiplier}


def _relabel() -> tuple[DFPattern, Annotations]:
    data = wildcard()
    root = is_op("relax.reshape")(data, wildcard())
    return root, {"root": root, "data": data}


# --- what they must be, which no pattern says -------------------------------------------------------------------------


def _is_conv2d(found: dict[str, relax.Expr]) -> bool:
    conv = found["conv"]
    shape, attrs = static_shape(conv), conv.attrs
    data, weight = (static_shape(arg) for arg in conv.args)
    if shape is None or data is None or weight is None:
        return False
    channels, in_channels = shape[-1], data[-1]
    return (
        _is_image(found["root"])
        and [_dtype(arg) for arg in conv.args] == ["uint8", "int8"]
        and (attrs.data_layout, attrs.out_layout or "NHWC", _dtype(conv)) == ("NHWC", "NHWC", "int32")
        and {int(dilation) for dilation in attrs.dilation} == {1}
        and {int(padding) for padding in attrs.padding} == {0}
        and (attrs.groups == 1 or attrs.groups == in_channels == channels)
        and _is_requantization(found, channels)
        and ("pad" not in found or _is_zero_point_pad(found["pad"]))
    )


def _is_add(found: dict[str, relax.Expr]) -> bool:
    a, b = found["a"], found["b"]
    return (
        static_shape(a) == static_shape(b)
        and _is_image(found["root"])
        and _dtype(a) == _dtype(b) == "uint8"
        and _is_requantization(found, 1)
        and _is_int32(found["multiplier_b"], 1)
    )


def _is_average_pool(found: dict[str, relax.Expr]) -> bool:
    total, data = found["sum"], found["data"]
    return (
        _is_image(data)
        and _dtype(data) == "uint8"
        and _dtype(total) == "int32"
        and sorted(int(axis) % 4 for axis in total.attrs.axis or ()) == [1, 2]
        and bool(total.attrs.keepdims)
        and _is_requantization(found, 1)
    )


def _is_relabel(found: dict[str, relax.Expr]) -> bool:
    before, after = static_shape(found["data"]), static_shape(found["root"])
    if before is None or after is None or _dtype(found["root"]) != "uint8":
        return False
    # One pixel: whatever the layout, its channels stay in order.
    return before[-1] == after[-1] == np.prod(before) == np.prod(after) and max(len(before), len(after)) <= 4


def _is_requantization(found: dict[str, relax.Expr], channels: int) -> bool:
    low, high = found["clip"].args[1:]
    shift = constant_array(found["shift"])
    return (
        _dtype(found["root"]) == "uint8"
        and (_integer(low), _integer(high)) == (0, 255)
        and shift is not None
        and shift.size == 1
        and 0 <= int(shift.item()) < 32
        and all(_is_int32(found[name], channels) for name in ("multiplier", "offset"))
    )


def _is_int32(expr: relax.Expr, channels: int) -> bool:
    """Whether it is a constant of one value, or of one for each channel along the last axis."""
    array = constant_array(expr)
    if array is None or array.dtype != np.int32:
        return False
    return array.size == 1 or (array.size == channels == array.shape[-1])


def _is_zero_point_pad(pad: relax.Expr) -> bool:
    width, value = [int(amount) for amount in pad.attrs.pad_width], float(pad.attrs.pad_value)
    is_spatial = len(width) == 8 and not any(width[:2] + width[6:])
    return is_spatial and pad.attrs.pad_mode == "constant" and value in range(256)


def _is_image(expr: relax.Expr) -> bool:
    shape = static_shape(expr)
    return shape is not None and len(shape) == 4 and shape[0] == 1


def _dtype(expr: relax.Expr) -> str:
    return str(expr.ty.dtype)


def _integer(expr: relax.Expr) -> int | None:
    return int(expr.value) if isinstance(expr, tirx.IntImm) else None
