"""Training graphs of one convolution as Relax's ``Gradient`` makes them, and their gradients in float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

from tvm_dwfuse.kernels.depthwise import Depthwise

from .modules import build


def training_graph(conv: Depthwise, bias: tuple[int, ...] | None = None) -> tvm.IRModule:
    """``main`` is sum(conv(x, w) * s), ``main_adjoint`` its gradients for x, w and the bias: s is the gradient of y.

    ``bias`` is the shape of a bias that is added to the convolution.
    """
    shapes = {"x": conv.input_shape, "w": conv.weight_shape, "s": conv.output_shape}
    if bias is not None:
        shapes["b"] = bias

    def body(emit, x, w, s, b=None):
        y = emit(convolution(x, w, conv))
        y = y if b is None else emit(relax.op.add(y, b))
        return relax.op.sum(emit(relax.op.multiply(y, s)))

    return gradient_of(build(body, **shapes))


def convolution(x: relax.Expr, w: relax.Expr, conv: Depthwise) -> relax.Expr:
    return relax.op.nn.conv2d(x, w, conv.stride, padding=conv.padding, dilation=conv.dilation, groups=conv.channels)


def gradient_of(mod: tvm.IRModule) -> tvm.IRModule:
    """``mod`` with ``main_adjoint``: the gradients of all parameters but ``s``."""
    params = [param for param in mod["main"].params if param.name != "s"]
    return relax.transform.Gradient("main", require_grads=params)(mod)


def random_values(conv: Depthwise, seed: int = 0) -> dict[str, np.ndarray]:
    """x, w, s and b, of float32."""
    random = np.random.default_rng(seed)
    shapes = {"x": conv.input_shape, "w": conv.weight_shape, "s": conv.output_shape, "b": (conv.out_channels,)}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def reference_gradients(conv: Depthwise, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The output y (without bias) and the gradients x, w and b in float64, a loop over the taps of the kernel."""
    x, w, dy = (values[name].astype(np.float64) for name in ("x", "w", "s"))
    (kh, kw), (sh, sw), (dh, dw), (oh, ow) = conv.kernel, conv.stride, conv.dilation, conv.out_size
    top, left, bottom, right = conv.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).repeat(conv.multiplier, axis=1)
    dx, dweight, y = np.zeros_like(padded), np.zeros_like(w), np.zeros_like(dy)
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i * dh, i * dh + sh * oh, sh), slice(j * dw, j * dw + sw * ow, sw)
            seen, tap = padded[:, :, rows, columns][:, :, :oh, :ow], w[:, 0, i, j][:, None, None]
            y += seen * tap
            dx[:, :, rows, columns] += dy * tap
            dweight[:, 0, i, j] = (seen * dy).sum(axis=(0, 2, 3))
    dx = dx[:, :, top : top + conv.height, left : left + conv.width]
    dx = dx.reshape(conv.batch, conv.channels, conv.multiplier, conv.height, conv.width).sum(axis=2)
    return {"y": y, "x": dx, "w": dweight, "b": dy.sum(axis=(0, 2, 3))}
