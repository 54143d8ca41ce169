"""Lets ``relax.transform.Gradient`` differentiate dilated convolutions, which TVM 0.27 refuses."""

from __future__ import annotations

from functools import lru_cache

from tvm import relax
from tvm.relax.op import register_gradient
from tvm.relax.op._op_gradient import conv2d_grad

#: TVM registers its own gradients with priority 10.
_PRIORITY = 11


@lru_cache(maxsize=1)
def register_dilated_gradient() -> None:
    """Make TVM take the gradient of ``nn.conv2d`` from here; harmless twice.

    TVM derives the output padding of the data gradient from the extent of the kernel without its dilation. The result
    is too large by (k - 1) * (d - 1) rows, which ``conv2d_transpose`` mostly refuses. Nothing else changes.
    """
    register_gradient("relax.nn.conv2d", _conv2d_gradient, level=_PRIORITY)


def _conv2d_gradient(
    result: relax.Var, call: relax.Call, output_gradient: relax.Var, builder: relax.BlockBuilder
) -> list[relax.Expr]:
    data, weight = conv2d_grad(result, call, output_gradient, builder)
    attrs = data.attrs
    kernel = [int(extent) for extent in call.args[1].ty.shape][2:]
    surplus = [(size - 1) * (int(dilation) - 1) for size, dilation in zip(kernel, attrs.dilation, strict=True)]
    if not any(surplus):
        return [data, weight]
    corrected = relax.op.nn.conv2d_transpose(
        *data.args,
        attrs.strides,
        attrs.padding,
        [int(padding) - extra for padding, extra in zip(attrs.output_padding, surplus, strict=True)],
        attrs.dilation,
        attrs.groups,
        attrs.data_layout,
        attrs.kernel_layout,
        attrs.out_layout,
        attrs.out_dtype,
    )
    return [corrected, weight]
