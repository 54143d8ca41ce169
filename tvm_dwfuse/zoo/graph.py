"""Emit ONNX nodes the way real exporters write them, each layer run on the probe images as it is emitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tvm_dwfuse.zoo import probe

BN_EPSILON = 1e-3


@dataclass(frozen=True)
class Tensor:
    """A value of the graph: its ONNX name and what it holds for the probe images (NCHW or [N, C])."""

    name: str
    data: np.ndarray

    @property
    def channels(self) -> int:
        """Size of axis 1."""
        return self.data.shape[1]

    @property
    def spatial(self) -> tuple[int, int]:
        """Height and width."""
        return self.data.shape[2], self.data.shape[3]


class GraphWriter:
    """Collects nodes and initializers; every method emits one layer and returns its output.

    `batch=None` leaves the batch dimension symbolic ("N"). `padding` says how a "same" convolution is written:
    `symmetric` (PyTorch's k // 2), or TensorFlow's rule as `explicit` pads, as `auto_pad`, or as a `Pad` node.
    """

    def __init__(self, *, batch: int | None, opset: int, seed: int, padding: str = "symmetric") -> None:
        self.batch = batch
        self.opset = opset
        self.padding = padding
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def node(self, op: str, scope: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Append one node named `<scope>/<op>` and return the names of its outputs."""
        name = f"{scope}/{op}"
        outs = [f"{name}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, outs, name=name, **attributes))
        return outs

    def constant(self, name: str, value: np.ndarray) -> str:
        """Append an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def input(self, shape: tuple[int, int, int]) -> Tensor:
        """Declare the network's input of shape [batch, C, H, W]."""
        dims = [self.batch or "N", *shape]
        self.inputs.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, dims))
        return Tensor("input", probe.probe_images(shape, self.seed))

    def conv(
        self,
        x: Tensor,
        scope: str,
        channels: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        *,
        depthwise: bool = False,
        bias: bool = False,
    ) -> Tensor:
        """A "same" convolution with He-scaled weights; `depthwise` needs `channels == x.channels`."""
        groups = x.channels if depthwise else 1
        fan_in = x.channels // groups * kernel[0] * kernel[1]
        weight = self._normal((channels, x.channels // groups, *kernel), np.sqrt(2.0 / fan_in))
        pads = self._same_pads(x.spatial, kernel, stride)
        data = probe.conv2d(x.data, weight, stride, pads, groups)
        if bias:
            weight, data = _rescale(weight, data)
        source, pad_attributes = self._pad_as_exported(x, scope, pads, kernel)
        inputs = [source, self.constant(f"{scope}.weight", weight)]
        if bias:
            offset = self._normal((channels,), 0.25)
            inputs.append(self.constant(f"{scope}.bias", offset))
            data = data + offset[:, None, None]
        out = self.node(
            "Conv",
            scope,
            inputs,
            dilations=[1, 1],
            group=groups,
            kernel_shape=list(kernel),
            strides=list(stride),
            **pad_attributes,
        )
        return Tensor(out[0], data)

    def batch_norm(self, x: Tensor, scope: str, *, linear: bool) -> Tensor:
        """Batch norm with the probe images' statistics; its output has the spread that the next layer needs.

        Before an activation the spread reaches past the knees of ReLU6 and HardSwish (at 6 and at -3 and 3) for a few
        values in a hundred, so that a wrong clip shows. A `linear` one (end of a bottleneck) stays near unit variance.
        """
        low, high = (0.5, 1.0) if linear else (1.5, 3.0)
        gamma = self.rng.uniform(low, high, x.channels).astype(np.float32)
        beta = self.rng.uniform(-0.3, 0.3, x.channels) if linear else self.rng.uniform(0.0, 2.0, x.channels)
        beta = beta.astype(np.float32)
        mean = x.data.mean(axis=(0, 2, 3))
        variance = x.data.var(axis=(0, 2, 3))
        # A deep layer has few positions: the layer's own level steadies a channel's estimate and keeps it above zero.
        variance = 0.5 * (variance + variance.mean())
        names = [
            self.constant(f"{scope}.{part}", value)
            for part, value in zip(
                ("weight", "bias", "running_mean", "running_var"), (gamma, beta, mean, variance), strict=True
            )
        ]
        out = self.node("BatchNormalization", scope, [x.name, *names], epsilon=BN_EPSILON)
        scale = gamma / np.sqrt(variance + np.float32(BN_EPSILON))
        shift = beta - mean * scale
        return Tensor(out[0], x.data * scale[:, None, None] + shift[:, None, None])

    def activation(self, x: Tensor, scope: str, kind: str) -> Tensor:
        """One of `probe.ACTIVATIONS`, or `none`."""
        if kind == "none":
            return x
        data = probe.ACTIVATIONS[kind](x.data)
        return Tensor(getattr(self, f"_emit_{kind}")(x.name, scope), data)

    def _emit_relu(self, x: str, scope: str) -> str:
        return self.node("Relu", scope, [x])[0]

    def _emit_relu6(self, x: str, scope: str) -> str:
        if self.opset < 11:
            return self.node("Clip", scope, [x], min=0.0, max=6.0)[0]
        bounds = [
            self.constant(f"{scope}.{end}", np.array(value, np.float32)) for end, value in (("min", 0), ("max", 6))
        ]
        return self.node("Clip", scope, [x, *bounds])[0]

    def _emit_sigmoid(self, x: str, scope: str) -> str:
        return self.node("Sigmoid", scope, [x])[0]

    def _emit_hardsigmoid(self, x: str, scope: str) -> str:
        return self.node("HardSigmoid", scope, [x], alpha=1 / 6, beta=0.5)[0]

    def _emit_silu(self, x: str, scope: str) -> str:
        return self.node("Mul", scope, [x, self._emit_sigmoid(x, scope)])[0]

    def _emit_hardswish(self, x: str, scope: str) -> str:
        if self.opset < 14:
            return self.node("Mul", scope, [x, self._emit_hardsigmoid(x, scope)])[0]
        return self.node("HardSwish", scope, [x])[0]

    def add(self, a: Tensor, b: Tensor, scope: str) -> Tensor:
        """Residual add."""
        return Tensor(self.node("Add", scope, [a.name, b.name])[0], a.data + b.data)

    def multiply(self, a: Tensor, b: Tensor, scope: str) -> Tensor:
        """Product with broadcasting, as a squeeze-and-excite gate needs."""
        return Tensor(self.node("Mul", scope, [a.name, b.name])[0], a.data * b.data)

    def global_pool(self, x: Tensor, scope: str, *, written_as: str = "global", keepdims: bool = True) -> Tensor:
        """Average over the spatial axes.

        `written_as` is `global` (GlobalAveragePool), `window` (AveragePool over all of it) or `mean` (ReduceMean, the
        only one that can drop the axes, with `keepdims=False`).
        """
        data = x.data.mean(axis=(2, 3), keepdims=keepdims)
        if written_as == "global":
            return Tensor(self.node("GlobalAveragePool", scope, [x.name])[0], data)
        if written_as == "window":
            out = self.node("AveragePool", scope, [x.name], kernel_shape=list(x.spatial), strides=[1, 1])
            return Tensor(out[0], data)
        if self.opset < 18:
            out = self.node("ReduceMean", scope, [x.name], axes=[2, 3], keepdims=int(keepdims))
        else:
            axes = self.constant(f"{scope}.axes", np.array([2, 3], np.int64))
            out = self.node("ReduceMean", scope, [x.name, axes], keepdims=int(keepdims))
        return Tensor(out[0], data)

    def max_pool(self, x: Tensor, scope: str, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
        """Max pooling with "same" padding."""
        pads = self._same_pads(x.spatial, kernel, stride)
        out = self.node("MaxPool", scope, [x.name], kernel_shape=list(kernel), strides=list(stride), pads=list(pads))
        return Tensor(out[0], probe.max_pool(x.data, kernel, stride, pads))

    def split(self, x: Tensor, scope: str) -> tuple[Tensor, Tensor]:
        """Cut the channels in two halves."""
        half = x.channels // 2
        if self.opset < 13:
            first, second = self.node("Split", scope, [x.name], outputs=2, axis=1, split=[half, half])
        else:
            sizes = self.constant(f"{scope}.split", np.array([half, half], np.int64))
            first, second = self.node("Split", scope, [x.name, sizes], outputs=2, axis=1)
        return Tensor(first, x.data[:, :half]), Tensor(second, x.data[:, half:])

    def concat(self, a: Tensor, b: Tensor, scope: str) -> Tensor:
        """Join along the channels."""
        data = np.concatenate([a.data, b.data], axis=1)
        return Tensor(self.node("Concat", scope, [a.name, b.name], axis=1)[0], data)

    def channel_shuffle(self, x: Tensor, scope: str, *, groups: int) -> Tensor:
        """Interleave the channels of `groups` groups: Reshape, Transpose, Reshape."""
        # 0 copies the input's dimension, which a symbolic batch needs.
        first, (height, width) = self.batch or 0, x.spatial
        apart = np.array([first, groups, x.channels // groups, height, width], np.int64)
        joined = np.array([first, x.channels, height, width], np.int64)
        name = self.node("Reshape", f"{scope}/apart", [x.name, self.constant(f"{scope}.apart", apart)])[0]
        name = self.node("Transpose", scope, [name], perm=[0, 2, 1, 3, 4])[0]
        name = self.node("Reshape", f"{scope}/joined", [name, self.constant(f"{scope}.joined", joined)])[0]
        data = x.data.reshape(len(x.data), groups, -1, height, width).swapaxes(1, 2)
        return Tensor(name, data.reshape(x.data.shape))

    def flatten(self, x: Tensor, scope: str) -> Tensor:
        """[N, C, 1, 1] -> [N, C]."""
        return Tensor(self.node("Flatten", scope, [x.name], axis=1)[0], x.data.reshape(len(x.data), -1))

    def dense(self, x: Tensor, scope: str, channels: int, *, centred: bool) -> Tensor:
        """Fully connected layer with bias on [N, C], written as PyTorch does: Gemm with transB.

        `centred` takes what the probe images have in common out of the result: pooled features of a random network
        hardly differ between images, so that without it every input would seem to give the same output.
        """
        weight = self._normal((channels, x.channels), np.sqrt(2.0 / x.channels))
        weight, data = _rescale(weight, x.data @ weight.T)
        offset = self._normal((channels,), 0.25)
        if centred:
            offset = offset - data.mean(axis=0)
        names = [self.constant(f"{scope}.weight", weight), self.constant(f"{scope}.bias", offset)]
        out = self.node("Gemm", scope, [x.name, *names], alpha=1.0, beta=1.0, transB=1)
        return Tensor(out[0], data + offset)

    def model(self, output: Tensor, name: str) -> onnx.ModelProto:
        """Close the graph with `output` as its one result, named "output"."""
        _rename(self.nodes, output.name, "output")
        dims = [self.batch or "N", *output.data.shape[1:]]
        result = helper.make_tensor_value_info("output", TensorProto.FLOAT, dims)
        graph = helper.make_graph(self.nodes, name, self.inputs, [result], self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        version = helper.find_min_ir_version_for(opsets)
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=max(version, 4), producer_name="tvm_dwfuse.zoo"
        )

    def _normal(self, shape: tuple[int, ...], deviation: float) -> np.ndarray:
        return self.rng.standard_normal(shape, np.float32) * np.float32(deviation)

    def _same_pads(
        self, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        if self.padding == "symmetric":
            top, left = kernel[0] // 2, kernel[1] // 2
            return top, left, top, left
        rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True))
        return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2

    def _pad_as_exported(
        self, x: Tensor, scope: str, pads: tuple[int, int, int, int], kernel: tuple[int, int]
    ) -> tuple[str, dict[str, Any]]:
        """The name to convolve and the Conv attributes that say the padding."""
        if self.padding == "auto_pad" and kernel != (1, 1):
            return x.name, {"auto_pad": "SAME_UPPER"}
        if self.padding != "pad_node" or not any(pads):
            return x.name, {"pads": list(pads)}
        top, left, bottom, right = pads
        amounts = [0, 0, top, left, 0, 0, bottom, right]
        if self.opset < 11:
            padded = self.node("Pad", scope, [x.name], mode="constant", pads=amounts, value=0.0)
        else:
            sizes = self.constant(f"{scope}.pads", np.array(amounts, np.int64))
            zero = self.constant(f"{scope}.pad_value", np.array(0, np.float32))
            padded = self.node("Pad", scope, [x.name, sizes, zero], mode="constant")
        return padded[0], {"pads": [0, 0, 0, 0]}


def _rescale(weight: np.ndarray, data: np.ndarray, target: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Bring a layer without batch norm to about `target` RMS, by a power of two so that weights stay exact."""
    rms = float(np.sqrt(np.mean(np.square(data)))) or target
    factor = np.float32(2.0 ** round(np.log2(target / rms)))
    return weight * factor, data * factor


def _rename(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Rename the value `old`, which only its producer mentions."""
    for node in nodes:
        for index, name in enumerate(node.output):
            if name == old:
                node.output[index] = new
