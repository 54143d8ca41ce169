"""Weight scales whose requantization is exact: ONNX Runtime's float arithmetic and our integers then agree bit for bit.

ONNX Runtime multiplies the accumulator by the float32 ratio ``x_scale * weight_scale / y_scale`` and rounds half to
even. Our multiplier is an integer of few bits, and rounding that ratio to ``multiplier / 2**shift`` turns the line.

A quantizer is free in its weight scales, though. Here each is raised, as little as possible, to one that makes the
ratio a multiple of ``2**-shift``, and the float weights are quantized by that scale: the rounding error is then in the
weights' grid, which they are rounded to anyway, and none is left at run time. Whether both roundings agree is checked
at all 255 steps of the result, which proves it for every accumulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.helper import get_attribute_value

from .quantization import accumulator_bounds, requantization, scale_ratio

#: Scales may grow up to this factor; weights lose that much resolution.
_GROWTH = 1.5

#: float32 numbers tried on either side of a scale.
_NEIGHBOURS = 4

_LARGEST_WEIGHT = 127


@dataclass(frozen=True)
class ExactScales:
    """How many layers with weights there are, and in how many all channels are exact."""

    layers: int
    exact: int


@dataclass(frozen=True)
class _Weighted:
    """A layer of the quantized model with the float weights that it was made of.

    ``weights`` are float, output channels first; ``scale`` is of one element or of one a channel.
    """

    node: onnx.NodeProto
    weights: np.ndarray
    out_axis: int
    bias: np.ndarray | None
    x_scale: float
    x_zero_point: int
    y_scale: float
    y_zero_point: int
    scale: np.ndarray

    def quantized(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int8 weights, output channels first, and the bias in steps of the accumulator, by another scale."""
        by_channel = np.broadcast_to(scale, len(self.weights)).astype(np.float64)
        steps = np.rint(self.weights / by_channel.reshape(-1, *[1] * (self.weights.ndim - 1)))
        weights = np.clip(steps, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int8)
        if self.bias is None:
            return weights, np.zeros(len(weights))
        step = (np.float32(self.x_scale) * scale.astype(np.float32)).astype(np.float64)
        return weights, np.clip(np.rint(self.bias / step), -(2**31), 2**31 - 1)

    def shift(self, scale: np.ndarray) -> int:
        """The shift that the import of the layer will choose."""
        weights, bias = self.quantized(scale)
        ratio = np.broadcast_to(scale_ratio(self.x_scale, scale, self.y_scale), len(weights))
        zero = self.x_zero_point * weights.reshape(len(weights), -1).sum(axis=1, dtype=np.int64) - bias
        return requantization(ratio, accumulator_bounds(weights), zero, self.y_zero_point).shift


def make_scales_exact(quantized: onnx.ModelProto, original: onnx.ModelProto) -> ExactScales:
    """Change weights, biases and their scales in a QDQ model, in place, so that requantization is exact.

    Args:
        quantized: a QDQ model with int8 weights and uint8 activations, as ``onnxruntime.quantization`` writes it.
        original: the float model that it was made of, with the same names of nodes.
    """
    editor = _Editor(quantized)
    layers = list(editor.weighted_layers(original))
    exact = 0
    for layer in layers:
        scale, all_channels = exact_scale(layer)
        editor.rescale(layer, scale)
        exact += all_channels
    return ExactScales(len(layers), exact)


def exact_scale(layer: _Weighted) -> tuple[np.ndarray, bool]:
    """Scales of the weights, float32, and whether the layer is exact in all channels with them.

    A channel without an exact scale near by keeps its own.
    """
    own = layer.scale.astype(np.float32)
    try:
        largest = layer.shift(own)
    except ValueError:
        return own, False
    # Other scales move the bounds of the accumulator a little; once in a while, the shift has to give way.
    for shift in (largest, largest - 1):
        found = _scales_at(layer, shift)
        if found.all() and layer.shift(found) >= shift:
            return found, True
    found = _scales_at(layer, largest)
    return np.where(found > 0, found, own), False


def _scales_at(layer: _Weighted, shift: int) -> np.ndarray:
    """The least exact scales that are not below those of ``layer``, for multipliers over ``2**shift``; 0 for none."""
    exact = scale_ratio(layer.x_scale, layer.scale, layer.y_scale) * 2.0**shift
    first, found = np.maximum(np.ceil(exact), 1), np.zeros(exact.shape, np.float32)
    for step in range(1 + int((_GROWTH - 1) * first.max())):
        (missing,) = np.nonzero((found == 0) & (first + step <= np.maximum(exact * _GROWTH, first)))
        if not len(missing):
            break
        multiplier = first[missing] + step
        scale = _scale_for(layer, multiplier / 2.0**shift)
        found[missing] = np.where(_rounds_alike(multiplier, shift, layer.y_zero_point), scale, 0)
    return found


def _scale_for(layer: _Weighted, ratio: np.ndarray) -> np.ndarray:
    """float32 weight scales that float32 arithmetic turns into exactly ``ratio``; 0 where there is none."""
    guess = (ratio * layer.y_scale / layer.x_scale).astype(np.float32)
    near = (guess.view(np.int32)[:, None] + np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1, dtype=np.int32)).view(np.float32)
    hits = scale_ratio(layer.x_scale, near, layer.y_scale) == ratio[:, None]
    return np.where(hits.any(axis=1), near[np.arange(len(near)), hits.argmax(axis=1)], np.float32(0))


def _rounds_alike(multiplier: np.ndarray, shift: int, zero_point: int) -> np.ndarray:
    """Whether float32 with rounding half to even and our integers agree for every accumulator, for each multiplier.

    Both are steps that rise with the accumulator, so they agree if each of the 255 steps is at the same place.
    """
    steps = np.arange(1, 256) - zero_point
    first = np.ceil((steps - 0.5) * 2.0**shift / multiplier[:, None])  # the least accumulator that reaches the step
    ratio = (multiplier / 2.0**shift).astype(np.float32)[:, None]
    reaches = np.rint(first.astype(np.float32) * ratio) >= steps
    stays_below = np.rint((first - 1).astype(np.float32) * ratio) < steps
    return (reaches & stays_below).all(axis=1)


class _Editor:
    """A QDQ model with its nodes and initializers at hand."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def weighted_layers(self, original: onnx.ModelProto) -> Iterator[_Weighted]:
        """Convolutions and matrix products whose weights only they read, and whose result is quantized at once."""
        sources = {node.name: node for node in original.graph.node if node.name}
        floats = {tensor.name: tensor for tensor in original.graph.initializer}
        for node in self.nodes:
            source = sources.get(node.name)
            if node.op_type in ("Conv", "Gemm", "MatMul") and source is not None and source.op_type == node.op_type:
                layer = self._weighted(node, source, floats)
                if layer is not None:
                    yield layer

    def rescale(self, layer: _Weighted, scale: np.ndarray) -> None:
        """Quantize a layer's weights and bias by another scale."""
        weights, bias = layer.quantized(scale)
        weight_node = self.producers[layer.node.input[1]]
        self._set(weight_node.input[0], np.moveaxis(weights, 0, layer.out_axis))
        self._set(weight_node.input[1], scale)
        if layer.bias is not None:
            bias_node = self.producers[layer.node.input[2]]
            self._set(bias_node.input[0], bias.astype(np.int32))
            self._set(bias_node.input[1], np.float32(layer.x_scale) * scale)

    def _weighted(
        self, node: onnx.NodeProto, source: onnx.NodeProto, floats: dict[str, onnx.TensorProto]
    ) -> _Weighted | None:
        constants = [name for name in source.input[1:] if name]
        x, readers = self.producers.get(node.input[0]), self.readers.get(node.output[0], [])
        own = [self.producers.get(name) for name in node.input[1:] if name]
        if any(name not in floats for name in constants) or not all(map(self._is_own_constant, own)):
            return None
        if x is None or x.op_type != "DequantizeLinear" or [r.op_type for r in readers] != ["QuantizeLinear"]:
            return None
        attributes = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            return None
        out_axis = 0 if node.op_type == "Conv" or attributes.get("transB", 0) else 1
        arrays = [numpy_helper.to_array(floats[name]) for name in constants]
        assert own[0] is not None
        return _Weighted(
            node,
            np.moveaxis(arrays[0], out_axis, 0).astype(np.float64),
            out_axis,
            arrays[1].reshape(-1).astype(np.float64) if len(arrays) > 1 else None,
            float(self._get(x.input[1]).reshape(())),
            int(self._get(x.input[2]).reshape(())),
            float(self._get(readers[0].input[1]).reshape(())),
            int(self._get(readers[0].input[2]).reshape(())),
            self._get(own[0].input[1]).reshape(-1),
        )

    def _is_own_constant(self, node: onnx.NodeProto | None) -> bool:
        """Whether ``node`` dequantizes a constant, and nobody else reads that or its scale."""
        if node is None or node.op_type != "DequantizeLinear" or len(node.input) < 3:
            return False
        names = (*node.input[:2], *node.output)
        return node.input[0] in self.tensors and all(len(self.readers[name]) == 1 for name in names)

    def _get(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.tensors[name])

    def _set(self, name: str, values: np.ndarray) -> None:
        tensor = self.tensors[name]
        shaped = np.ascontiguousarray(values).astype(numpy_helper.to_array(tensor).dtype).reshape(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(shaped, name))
