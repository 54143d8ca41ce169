"""An ONNX graph as PyTorch calls, for the operators that the zoo's networks have.

There is no converter to lean on: onnx2torch and its like need torchvision, which has no build for every torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

from tvm_dwfuse.errors import DwfuseError

from .engines import Running

Tensor: TypeAlias = torch.Tensor
Attributes = Mapping[str, Any]
Convert = Callable[..., Any]


def start(path: str, threads: int, inputs: Mapping[str, np.ndarray]) -> Running:
    """Trace the graph in channels_last on ``inputs`` and freeze it, which folds batch norms into convolutions.

    Raises:
        DwfuseError: the graph has an operator that is not known here.
    """
    torch.set_num_threads(threads)
    tensors = tuple(_channels_last(torch.from_numpy(np.array(array))) for array in inputs.values())
    with torch.inference_mode(), warnings.catch_warnings():
        # The trace holds for one shape only, which is all that is asked of it; torch.compile, which is to replace
        # freezing, needs a compiler on the machine.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        graph = OnnxGraph(onnx.load(path), list(inputs)).eval()
        traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(graph, tensors)))
        for _ in range(3):  # the profiling executor specializes in its first runs
            traced(*tensors)

    def call() -> Any:
        with torch.inference_mode():
            return traced(*tensors)

    return Running(call, lambda: [output.contiguous().numpy() for output in call()])


class OnnxGraph(torch.nn.Module):
    """An ONNX graph as a module: positional inputs, a tuple of outputs."""

    def __init__(self, model: onnx.ModelProto, inputs: list[str]) -> None:
        """Read the weights, and check that every operator is known.

        Raises:
            DwfuseError: one is not.
        """
        super().__init__()
        self._inputs = inputs
        self._nodes = list(model.graph.node)
        self._outputs = [value.name for value in model.graph.output]
        self._weights = {
            tensor.name: _channels_last(torch.from_numpy(numpy_helper.to_array(tensor).copy()))
            for tensor in model.graph.initializer
        }
        unknown = sorted({node.op_type for node in self._nodes} - set(_OPERATORS))
        if unknown:
            raise DwfuseError(f"operator {unknown[0]} has no PyTorch form here")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run node by node."""
        values: dict[str, Any] = {"": None, **self._weights, **dict(zip(self._inputs, inputs, strict=True))}
        for node in self._nodes:
            attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            result = _OPERATORS[node.op_type](attributes, *(values[name] for name in node.input))
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(node.output, results, strict=False))
        return tuple(values[name] for name in self._outputs)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _ints(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor]


def _pads(attributes: Attributes, x: Tensor, kernel: list[int]) -> list[int]:
    """Padding as ``F.pad`` takes it: left, right, top, bottom."""
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode == b"NOTSET":
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        return [left, right, top, bottom]
    if mode == b"VALID":
        return [0, 0, 0, 0]
    pads: list[int] = []
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    for axis in (1, 0):
        size, window, stride, dilation = x.shape[2 + axis], kernel[axis], strides[axis], dilations[axis]
        total = max(0, (-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size)
        small = total // 2
        pads += [small, total - small] if mode == b"SAME_UPPER" else [total - small, small]
    return pads


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    left, right, top, bottom = _pads(attributes, x, list(weight.shape[2:]))
    symmetric = left == right and top == bottom
    return F.conv2d(
        x if symmetric else F.pad(x, (left, right, top, bottom)),
        weight,
        bias,
        tuple(attributes.get("strides", (1, 1))),
        (top, left) if symmetric else (0, 0),
        tuple(attributes.get("dilations", (1, 1))),
        attributes.get("group", 1),
    )


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    kernel = list(attributes["kernel_shape"])
    left, right, top, bottom = _pads(attributes, x, kernel)
    if (left, top) != (right, bottom):
        raise DwfuseError("AveragePool with uneven padding has no PyTorch form here")
    counted = bool(attributes.get("count_include_pad", 0))
    return F.avg_pool2d(x, kernel, attributes.get("strides", (1, 1)), (top, left), count_include_pad=counted)


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    kernel = list(attributes["kernel_shape"])
    padded = F.pad(x, _pads(attributes, x, kernel), value=-torch.inf)
    return F.max_pool2d(padded, kernel, attributes.get("strides", (1, 1)))


def _batch_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _clip(attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    bounds = [
        float(value) if value is not None else attributes.get(name) for name, value in (("min", low), ("max", high))
    ]
    return F.relu6(x) if bounds == [0.0, 6.0] else torch.clamp(x, *bounds)


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if attributes.get("transA") else a
    b = b if attributes.get("transB") else b.t()
    plain = attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0
    if plain and (c is None or c.dim() == 1):
        return F.linear(a, b, c)
    product = attributes.get("alpha", 1.0) * F.linear(a, b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _pad(attributes: Attributes, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None) -> Tensor:
    widths = _ints(pads) if pads is not None else list(attributes["pads"])
    rank = len(widths) // 2
    pairs = [width for axis in reversed(range(rank)) for width in (widths[axis], widths[axis + rank])]
    return F.pad(x, pairs, value=float(value) if value is not None else attributes.get("value", 0.0))


def _reduce_mean(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = _ints(axes) if axes is not None else list(attributes["axes"])
    return x.mean(dims, keepdim=bool(attributes.get("keepdims", 1)))


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    dims = [x.shape[at] if size == 0 else size for at, size in enumerate(_ints(shape))]
    return x.reshape(dims)


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    parts = _ints(sizes) if sizes is not None else list(attributes.get("split", ()))
    return torch.split(x, parts or x.shape[axis] // attributes.get("num_outputs", 2), axis)


def _hard_sigmoid(attributes: Attributes, x: Tensor) -> Tensor:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return F.hardsigmoid(x) if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else torch.clamp(x * alpha + beta, 0.0, 1.0)


_OPERATORS: dict[str, Convert] = {
    "Add": lambda attributes, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Dropout": lambda attributes, x, *rest: x,
    "Flatten": lambda attributes, x: x.flatten(attributes.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attributes, x: F.adaptive_avg_pool2d(x, 1),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda attributes, x: F.hardswish(x),
    "Identity": lambda attributes, x: x,
    "MatMul": lambda attributes, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mul": lambda attributes, a, b: a * b,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": lambda attributes, x: F.relu(x),
    "Reshape": _reshape,
    "Sigmoid": lambda attributes, x: torch.sigmoid(x),
    "Softmax": lambda attributes, x: F.softmax(x, attributes.get("axis", -1)),
    "Split": _split,
    "Transpose": lambda attributes, x: x.permute(tuple(attributes["perm"])),
}
