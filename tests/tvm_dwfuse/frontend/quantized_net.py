"""Quantized ONNX networks for tests, written by hand or by onnxruntime, and what ONNX Runtime stores in each layer."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet
from tvm_dwfuse.integer_network import Network
from tvm_dwfuse.quantization import run_layer

X_SCALE = 1 / 32


class QdqNet(OnnxNet):
    """A network in QDQ form, its quantized weights drawn at random; ``dtype`` is that of activations."""

    def __init__(self, seed: int = 0, dtype: str = "uint8", opset: int = 17) -> None:
        super().__init__(opset, seed)
        self.dtype = dtype

    def grid(self, scale: float, zero_point: int) -> tuple[str, str]:
        """Scale and zero point; the latter is given as that of uint8."""
        shift = 128 if self.dtype == "int8" else 0
        return self.constant(scale, "float32"), self.constant(zero_point - shift, self.dtype)

    def stored(self, real: str, scale: float, zero_point: int) -> str:
        """QuantizeLinear and DequantizeLinear."""
        grid = self.grid(scale, zero_point)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", real, *grid), *grid)

    def weights(self, shape: tuple[int, ...], scale: np.ndarray | float, axis: int = 0, low: int = -127) -> str:
        values = self.random.integers(low, 128, shape)
        zeros = np.zeros(np.shape(scale))
        operands = self.constant(values, "int8"), self.constant(scale, "float32"), self.constant(zeros, "int8")
        return self.node("DequantizeLinear", *operands, axis=axis)

    def bias(self, channels: int, step: np.ndarray | float, spread: int) -> str:
        values = self.random.integers(-spread, spread + 1, channels)
        zeros = np.zeros(np.shape(step))
        operands = self.constant(values, "int32"), self.constant(step, "float32"), self.constant(zeros, "int32")
        return self.node("DequantizeLinear", *operands, axis=0)

    def scales(self, channels: int, per_channel: bool) -> np.ndarray | float:
        return self.random.uniform(0.002, 0.02, channels).astype("float32") if per_channel else 0.01

    def conv2d(
        self, x: str, shape: tuple[int, ...], per_channel: bool = True, **attributes: object
    ) -> tuple[str, float]:
        """A convolution with bias, and a scale that spreads its results over the grid."""
        scale = self.scales(shape[0], per_channel)
        spread = np.sqrt(np.prod(shape[1:])) * 73 * 74
        result = self.node(
            "Conv",
            x,
            self.weights(shape, scale),
            self.bias(shape[0], np.float32(X_SCALE) * scale, int(spread)),
            **attributes,
        )
        return result, float(X_SCALE * np.median(scale) * spread / 50)


def quantized_by_onnxruntime(
    model: onnx.ModelProto,
    folder: Path,
    form: str = "QDQ",
    dtype: str = "QUInt8",
    per_channel: bool = True,
    **extra: object,
) -> onnx.ModelProto:
    """A float model as ``onnxruntime.quantization`` quantizes it, calibrated with normal noise."""
    random = np.random.default_rng(5)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    examples = [
        {name: random.standard_normal(shape).astype("float32") for name, shape in shapes.items()} for _ in range(4)
    ]
    onnx.save(model, folder / "float.onnx")
    quantize_static(
        str(folder / "float.onnx"),
        str(folder / "quantized.onnx"),
        _Reader(examples),
        quant_format=QuantFormat[form],
        activation_type=QuantType[dtype],
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
        extra_options=extra,
    )
    return onnx.load(folder / "quantized.onnx")


class _Reader(CalibrationDataReader):
    def __init__(self, examples: Iterable[dict[str, np.ndarray]]) -> None:
        self._examples = iter(examples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._examples, None)


def stored_by_onnxruntime(
    model: onnx.ModelProto, network: Network, inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Every activation of ``network``, uint8 HWC, as ONNX Runtime computes it from real ``inputs``, NCHW."""
    names = {layer.output: _stored_by(model, layer.name) for layer in network.layers}
    names.update({name: _stored_name(model, onnx_name) for name, onnx_name in zip(network.inputs, inputs, strict=True)})
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    extended.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in set(names.values()) - known)
    session = _session(extended.SerializeToString())
    arrays = dict(zip(names, session.run(list(names.values()), dict(inputs)), strict=True))
    return {name: _hwc(_as_uint8(array)) for name, array in arrays.items()}


def assert_layers_agree(
    model: onnx.ModelProto, network: Network, inputs: Mapping[str, np.ndarray], most: int = 1
) -> None:
    """Each layer, fed what ONNX Runtime feeds it, is at most ``most`` steps away; and its results vary."""
    expected = stored_by_onnxruntime(model, network, inputs)
    for layer in network.layers:
        actual = run_layer(layer, *(expected[name] for name in layer.inputs))
        wanted = expected[layer.output]
        assert actual.shape == wanted.shape, layer
        assert np.abs(actual.astype(int) - wanted).max() <= most, layer
        assert wanted.size == 1 or wanted.std() > 2, f"{layer}: outputs that are all alike would prove nothing"


def uint8_inputs(network: Network, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {name: network.activations[name] for name in network.inputs}
    return {name: random.integers(0, 256, (a.height, a.width, a.channels), np.uint8) for name, a in shapes.items()}


@functools.cache
def saturates() -> bool:
    """Whether ONNX Runtime's int8 products saturate, as on x86 without VNNI: then it is no judge."""
    net = QdqNet()
    real = net.input(1, 64)
    unit = net.constant(1.0, "float32"), net.constant(0, "int8")
    weights = net.node("DequantizeLinear", net.constant(np.full((64, 8), 127), "int8"), *unit)
    x = net.stored(real, 1.0, 0)
    model = net.model(net.stored(net.node("MatMul", x, weights), 255 * 127 * 64 / 200, 0))
    (result,) = _session(model.SerializeToString()).run(None, {real: np.full((1, 64), 255, "float32")})
    return bool(abs(result[0, 0] - 255 * 127 * 64) > 1e5)


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _stored_by(model: onnx.ModelProto, layer: str) -> str:
    """The name of the stored value that the node called ``layer`` leads to."""
    node = next(node for node in model.graph.node if node.name == layer)
    return node.output[0] if node.op_type.startswith("Q") else _stored_name(model, node.output[0])


def _stored_name(model: onnx.ModelProto, real: str) -> str:
    readers = [node for node in model.graph.node if real in node.input]
    quantize = [node for node in readers if node.op_type == "QuantizeLinear"]
    return quantize[0].output[0] if quantize else _stored_name(model, readers[0].output[0])


def _as_uint8(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else (array.astype(np.int16) + 128).astype(np.uint8)


def _hwc(array: np.ndarray) -> np.ndarray:
    return array[0].transpose(1, 2, 0) if array.ndim == 4 else array.reshape(1, 1, -1)
