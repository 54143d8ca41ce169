"""What the three procedures of a depthwise convolution compute, in numpy and float64, without code of the kernels.

With c the input channel and m one of its output channels, all three are parts of one sum over images n, pixels (h, w)
of the input, (p, q) of the output and taps (i, j)::

    sum of  dy[n, c, m, p, q] * x[n, c, h, w] * weight[c, m, i, j] * rows[p, i, h] * columns[q, j, w]

where ``rows[p, i, h]`` is 1 if output row p reads input row h through tap row i. The forward convolution is this sum
without dy, the data gradient without x, the weight gradient without the weight.
"""

from __future__ import annotations

import numpy as np

from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes

OUTPUTS: dict[Procedure, tuple[str, ...]] = {
    "forward": ("y",),
    "backward_data": ("dx",),
    "backward_weight": ("dw", "db"),
}


def random_operands(procedure: Procedure, conv: Depthwise, bias: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """float32 inputs of a kernel by name."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in operand_shapes(procedure, conv, bias).items()
        if name not in OUTPUTS[procedure]
    }


def reference(procedure: Procedure, conv: Depthwise, operands: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a procedure in float64 by name, in the layout of ``conv``; of the weight gradient the bias's too."""
    values = {name: _split_channels(name, array.astype(np.float64), conv) for name, array in operands.items()}
    rows = _reads(conv.height, conv.out_size[0], conv.kernel[0], conv.stride[0], conv.dilation[0], conv.padding[0])
    columns = _reads(conv.width, conv.out_size[1], conv.kernel[1], conv.stride[1], conv.dilation[1], conv.padding[1])
    if procedure == "backward_data":
        products = np.einsum("ncmpq,cmij->ncpiqj", values["dy"], values["w"], optimize=True)
        along_rows = np.tensordot(products, rows, axes=((2, 3), (0, 1)))  # ncqjh
        return {"dx": _join_channels("dx", np.tensordot(along_rows, columns, axes=((2, 3), (0, 1))), conv)}
    windows = np.tensordot(np.tensordot(values["x"], rows, axes=(2, 2)), columns, axes=(2, 2))  # ncwpi, then ncpiqj
    if procedure == "backward_weight":
        dw = np.einsum("ncpiqj,ncmpq->cmij", windows, values["dy"], optimize=True)
        return {"dw": _join_channels("dw", dw, conv), "db": values["dy"].sum(axis=(0, 3, 4)).ravel()}
    bias = operands.get("b", np.zeros(conv.out_channels)).astype(np.float64).reshape(conv.channels, -1)
    y = np.einsum("ncpiqj,cmij->ncmpq", windows, values["w"], optimize=True) + bias[:, :, None, None]
    return {"y": _join_channels("y", y, conv)}


def to_layout(name: str, array: np.ndarray, layout: Layout) -> np.ndarray:
    """An operand in NCHW, as PyTorch has it, in this layout."""
    if layout == "NCHW" or array.ndim == 1:
        return array
    return np.ascontiguousarray(array[:, 0].transpose(1, 2, 0) if name in ("w", "dw") else array.transpose(0, 2, 3, 1))


def _reads(inputs: int, outputs: int, taps: int, stride: int, dilation: int, before: int) -> np.ndarray:
    reads = np.zeros((outputs, taps, inputs))
    for output, tap in np.ndindex(outputs, taps):
        at = output * stride + tap * dilation - before
        if 0 <= at < inputs:
            reads[output, tap, at] = 1
    return reads


def _split_channels(name: str, array: np.ndarray, conv: Depthwise) -> np.ndarray:
    """An operand with its axes as in the sum."""
    if name == "b":
        return array
    if conv.layout == "NHWC":
        array = array.transpose(2, 0, 1)[:, None] if name == "w" else array.transpose(0, 3, 1, 2)
    if name == "w":
        return array.reshape(conv.channels, conv.multiplier, *conv.kernel)
    return array.reshape(conv.batch, conv.channels, conv.multiplier, *conv.out_size) if name == "dy" else array


def _join_channels(name: str, array: np.ndarray, conv: Depthwise) -> np.ndarray:
    """An output from its axes in the sum, in the layout of ``conv``."""
    shapes = {"dw": (conv.out_channels, 1, *conv.kernel), "y": (conv.batch, conv.out_channels, *conv.out_size)}
    return to_layout(name, array.reshape(shapes.get(name, array.shape)), conv.layout)
