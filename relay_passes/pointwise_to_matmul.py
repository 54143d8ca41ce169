"""PointwiseToMatmul: 1x1 convolutions in NCHW, and the gradients of theirs, become matrix products."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .dataflow import static_shape
from .rewrite import Rewrite, op_name, rewrite_function

_FORWARD_LAYOUTS = ("NCHW", "OIHW", "NCHW")
_DATA_LAYOUTS = ("NCHW", "IOHW", "NCHW")
_WEIGHT_LAYOUTS = ("CNHW", "IOHW", "CNHW")


@relax.transform.function_pass(opt_level=0, name="PointwiseToMatmul")
class PointwiseToMatmul:
    """Spells pointwise convolutions of training graphs, stride 1 and one group, as batched ``matmul``.

    The weights of training are no constants, so that kernels with packed weights do not apply, and the loops that
    ``LegalizeOps`` makes of the weight gradient, a convolution with a filter as large as the image and a result of one
    pixel, offer no axis for vectors. The pixels of an image are adjacent in NCHW, so that with P = H * W:

    - y (N, O, P) = w (O, C) @ x (N, C, P)
    - dx (N, C, P) = w^T (C, O) @ dy (N, O, P)
    - dw (O, C) = the sum over N of dy (N, O, P) @ x^T (N, P, C)
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` with matrix products in place of pointwise convolutions."""
        return rewrite_function(func, mod, _as_matmul)


def _as_matmul(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    name = op_name(expr)
    if name not in ("relax.nn.conv2d", "relax.nn.conv2d_transpose") or not _is_plain(expr.attrs):
        return None
    left, right = expr.args
    first, second = static_shape(left), static_shape(right)
    if first is None or second is None or len({str(term.ty.dtype) for term in (expr, left, right)}) != 1:
        return None
    layouts = (expr.attrs.data_layout, expr.attrs.kernel_layout, expr.attrs.out_layout)
    if name == "relax.nn.conv2d" and layouts == _WEIGHT_LAYOUTS and first[2:] == second[2:]:
        return _weight_gradient(left, right, rewrite)
    if second[2:] != (1, 1):
        return None
    if name == "relax.nn.conv2d" and layouts == _FORWARD_LAYOUTS:
        return _product(rewrite.emit(relax.op.reshape(right, second[:2])), left, rewrite)
    if name == "relax.nn.conv2d_transpose" and layouts == _DATA_LAYOUTS:
        weight = rewrite.emit(relax.op.reshape(right, second[:2]))
        return _product(rewrite.emit(relax.op.permute_dims(weight, [1, 0])), left, rewrite)
    return None


def _is_plain(attrs: Any) -> bool:
    """One group, no stride, no dilation, no padding."""
    ones = [attrs.groups, *attrs.strides, *attrs.dilation]
    zeros = [*attrs.padding, *getattr(attrs, "output_padding", ())]
    return all(int(value) == 1 for value in ones) and all(int(value) == 0 for value in zeros)


def _product(weight: relax.Expr, image: relax.Expr, rewrite: Rewrite) -> relax.Expr:
    """``weight`` (M, K) times every pixel of ``image`` (N, K, H, W): (N, M, H, W)."""
    n, _, h, w = image.ty.shape
    product = rewrite.emit(relax.op.matmul(weight, _pixels_in_a_row(image, rewrite)))
    return relax.op.reshape(product, (n, weight.ty.shape[0], h, w))


def _weight_gradient(x: relax.Expr, dy: relax.Expr, rewrite: Rewrite) -> relax.Expr:
    """(O, C, 1, 1) from ``x`` (N, C, H, W) and ``dy`` (N, O, H, W)."""
    turned = rewrite.emit(relax.op.permute_dims(_pixels_in_a_row(x, rewrite), [0, 2, 1]))
    products = rewrite.emit(relax.op.matmul(_pixels_in_a_row(dy, rewrite), turned))
    total = rewrite.emit(relax.op.sum(products, axis=[0]))
    return relax.op.reshape(total, (*total.ty.shape, 1, 1))


def _pixels_in_a_row(image: relax.Expr, rewrite: Rewrite) -> relax.Var:
    n, c, h, w = image.ty.shape
    return rewrite.emit(relax.op.reshape(image, (n, c, h * w)))
