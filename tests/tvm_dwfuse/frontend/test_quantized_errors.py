"""What the quantized import refuses: one line that names the node and the remedy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet
from tests.tvm_dwfuse.frontend.quantized_net import X_SCALE, QdqNet
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.frontend import read_quantized


def error_of(model: onnx.ModelProto) -> str:
    with pytest.raises(DwfuseError) as caught:
        read_quantized(model)
    message = str(caught.value)
    assert "\n" not in message
    return message


def start(dtype: str = "uint8", channels: int = 4) -> tuple[QdqNet, str]:
    """A network and its stored input of 6 x 6 pixels."""
    net = QdqNet(dtype=dtype)
    return net, net.stored(net.input(1, channels, 6, 6), X_SCALE, 128)


def finish(net: QdqNet, result: str) -> onnx.ModelProto:
    return net.model(net.stored(result, 0.05, 128))


def conv_by(
    net: QdqNet, x: str, values: np.ndarray, scale: object, zero: object, dtype: str = "int8", axis: int = 0
) -> str:
    operands = net.constant(values, dtype), net.constant(scale, "float32"), net.constant(zero, dtype)
    return net.node("Conv", x, net.node("DequantizeLinear", *operands, axis=axis))


def test_float_network_is_sent_to_the_quantizer() -> None:
    net = OnnxNet(17)
    message = error_of(net.model(net.node("Relu", net.input(1, 4, 6, 6))))
    assert message == (
        "ONNX model: a float network; quantize it first: dwfuse quantize MODEL.onnx --calibration DATA.npz -o OUT.onnx"
    )


def test_dynamic_quantization() -> None:
    net = OnnxNet(17)
    stored, scale, zero = net.node("DynamicQuantizeLinear", net.input(1, 4), outputs=3)
    message = error_of(net.model(net.node("DequantizeLinear", stored, scale, zero)))
    assert "node 'DynamicQuantizeLinear.2' (DynamicQuantizeLinear): quantized dynamically" in message
    assert "dwfuse quantize FLOAT.onnx" in message


@pytest.mark.parametrize(
    ("operator", "operands", "words"),
    [
        ("HardSwish", 0, "has no integer form; those that have are Conv, Gemm"),
        ("MaxPool", 0, "has no integer form"),
        ("Mul", 1, "has no integer form"),
    ],
)
def test_operator_without_an_integer_form(operator: str, operands: int, words: str) -> None:
    net, x = start()
    attributes = {"kernel_shape": [2, 2]} if operator == "MaxPool" else {}
    result = net.node(operator, x, *[x] * operands, **attributes)
    message = error_of(finish(net, result))
    assert f"node {result!r} ({operator}): {words}" in message


@pytest.mark.parametrize(
    ("scale", "zero", "dtype", "axis", "words"),
    [
        (0.01, 3, "int8", 0, "weights with a zero point that is not zero; quantize weights symmetrically"),
        (0.01, 7, "uint8", 0, "weights with a zero point that is not zero"),
        (
            [0.1] * 4,
            [0] * 4,
            "int8",
            1,
            "4 weight scales on axis 1; give one for each of the 5 output channels, on axis 0",
        ),
        (0.01, 0, "int16", 0, "int16 weights; quantize weights to int8"),
    ],
)
def test_weights_that_are_not_symmetric_int8_by_output_channel(
    scale: object, zero: object, dtype: str, axis: int, words: str
) -> None:
    net, x = start()
    net.opset = 21  # 16-bit types
    result = conv_by(net, x, np.ones((5, 4, 1, 1)), scale, zero, dtype, axis)
    message = error_of(finish(net, result))
    assert f"node {result!r} (Conv): {words}" in message


def test_uint8_weights_about_128_are_symmetric() -> None:
    net, x = start()
    values = net.random.integers(1, 256, (5, 4, 1, 1))
    network = read_quantized(finish(net, conv_by(net, x, values, 0.01, 128, "uint8")))
    np.testing.assert_array_equal(network.layers[0].weights, values - 128)


def _not_quantized_result(net: QdqNet, x: str) -> str:
    first = conv_by(net, x, np.ones((4, 4, 1, 1)), 0.01, 0)
    return conv_by(net, first, np.ones((4, 4, 1, 1)), 0.01, 0)


def _float_weights(net: QdqNet, x: str) -> str:
    return net.node("Conv", x, net.weight(4, 4, 1, 1))


def _one_dimension(net: QdqNet, x: str) -> str:
    line = net.node("Reshape", x, net.constant([1, 4, 36]))
    return conv_by(net, line, np.ones((4, 4, 3)), 0.01, 0)


def _transposed(net: QdqNet, x: str) -> str:
    return conv_by(net, net.node("Transpose", x, perm=[0, 1, 3, 2]), np.ones((4, 4, 3, 3)), 0.01, 0)


def _add_of_two_shapes(net: QdqNet, x: str) -> str:
    return net.node("Add", x, net.stored(net.input(1, 4, 1, 1), 0.1, 0))


def _add_of_an_image(net: QdqNet, x: str) -> str:
    return net.node("Add", x, net.constant(np.arange(36).reshape(6, 6), "float32"))


def _mean_over_channels(net: QdqNet, x: str) -> str:
    return net.node("ReduceMean", x, axes=[1])


def _border_windows(net: QdqNet, x: str) -> str:
    return net.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _ceiling(net: QdqNet, x: str) -> str:
    return net.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


def _reflected(net: QdqNet, x: str) -> str:
    return net.node("Pad", x, net.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect")


def _padded_by_ones(net: QdqNet, x: str) -> str:
    return net.node("Pad", x, net.constant([0, 0, 1, 1, 0, 0, 1, 1]), net.constant(1, "float32"))


def _pool_of_padding(net: QdqNet, x: str) -> str:
    return net.node("GlobalAveragePool", net.node("Pad", x, net.constant([0, 0, 1, 1, 0, 0, 1, 1])))


def _constant_result(net: QdqNet, x: str) -> str:
    return net.node("Clip", x, net.constant(9.0, "float32"), net.constant(9.5, "float32"))


def _transposed_matrix(net: QdqNet, x: str) -> str:
    column = net.node("Reshape", x, net.constant([144, 1]))
    return net.node("Gemm", column, net.weights((144, 3), 0.01), transA=1)


def _scores_read(net: QdqNet, x: str) -> str:
    return net.node("Relu", net.node("Softmax", net.node("Flatten", x)))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_not_quantized_result, "has no QuantizeLinear and DequantizeLinear before it"),
        (_float_weights, "its weights are not a quantized constant; quantize weights to int8"),
        (_one_dimension, "a convolution of 1 dimensions; only those of 2 have an integer form"),
        (_transposed, "reads values in another order than NCHW images have"),
        (_add_of_two_shapes, "adds 1x4x6x6 to 1x4x1x1; both must have one shape"),
        (_add_of_an_image, "adds a constant that differs between pixels"),
        (_mean_over_channels, "only the mean over height and width has an integer form"),
        (_border_windows, "set count_include_pad"),
        (_ceiling, "ceil_mode adds windows that are not full"),
        (_reflected, "only constant padding has an integer form"),
        (_padded_by_ones, "only padding by zeros has an integer form"),
        (_pool_of_padding, "reads the result of a Pad; only convolutions can"),
        (_constant_result, "which leaves one value, or no zero"),
        (_transposed_matrix, "transA has no integer form"),
        (_scores_read, "reads the result of a Softmax, which has no integer form"),
    ],
)
def test_node_that_integers_cannot_express(build: Callable[[QdqNet, str], str], words: str) -> None:
    net, x = start()
    message = error_of(finish(net, build(net, x)))
    assert words in message
    assert "ONNX model: node '" in message


def test_scales_of_an_activation() -> None:
    net = QdqNet()
    real = net.input(1, 4, 6, 6)
    grid = net.constant([0.1] * 4, "float32"), net.constant([0] * 4, "uint8")
    stored = net.node("QuantizeLinear", real, *grid)
    message = error_of(net.model(net.node("DequantizeLinear", stored, *grid)))
    assert f"node {stored!r} (QuantizeLinear): 4 scales on an activation; quantize activations by one scale" in message


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scale_that_is_no_positive_number(scale: float) -> None:
    net = QdqNet()
    message = error_of(net.model(net.stored(net.input(1, 4, 6, 6), scale, 0)))
    assert (
        "(QuantizeLinear): a scale that is not a positive number; calibrate and quantize the network again" in message
    )


def test_scale_computed_at_run_time() -> None:
    net = QdqNet()
    real = net.input(1, 4)
    scale = net.input(1)
    stored = net.node("QuantizeLinear", real, scale, net.constant(0, "uint8"))
    message = error_of(net.model(net.node("DequantizeLinear", stored, scale, net.constant(0, "uint8"))))
    assert "its scale is missing or computed at run time; quantize the network statically" in message


def test_activations_of_16_bits() -> None:
    net = QdqNet(dtype="uint16", opset=21)
    message = error_of(net.model(net.stored(net.input(1, 4, 6, 6), 0.1, 0)))
    assert "uint16 activations; quantize activations to uint8 or int8" in message


def test_two_scales_between_a_pair_of_nodes() -> None:
    net = QdqNet()
    stored = net.node("QuantizeLinear", net.input(1, 4), *net.grid(0.1, 0))
    message = error_of(net.model(net.node("DequantizeLinear", stored, *net.grid(0.1, 0))))
    assert "no layer between its inputs and outputs" in message
    first = net.node("Relu", net.node("DequantizeLinear", stored, *net.grid(0.1, 0)))
    second = net.node("QuantizeLinear", first, *net.grid(0.1, 0))
    message = error_of(net.model(net.node("DequantizeLinear", second, *net.grid(0.2, 0))))
    assert "has another scale or zero point than the QuantizeLinear before it" in message


def test_output_that_is_not_quantized() -> None:
    net, x = start()
    result = conv_by(net, x, np.ones((4, 4, 1, 1)), 0.01, 0)
    assert f"output {result!r} is not quantized; quantize the whole network" in error_of(net.model(result))


def test_batch_above_one() -> None:
    net = QdqNet()
    message = error_of(net.model(net.stored(net.input(2, 4, 6, 6), 0.1, 0)))
    assert "input 'input.1': a batch of 2; export the network with a batch of 1 or open" in message


def test_open_size_asks_for_a_shape() -> None:
    net = QdqNet()
    message = error_of(net.model(net.stored(net.input("N", 4, "h", 6), 0.1, 0)))
    assert "give the shape: --shape input.1:1,4,224,6" in message


def test_quantized_operator_with_channels_last() -> None:
    net = QdqNet()
    stored = net.node("QuantizeLinear", net.input(1, 4, 6, 6), *net.grid(0.1, 0))
    pool = net.node("QLinearGlobalAveragePool", stored, *net.grid(0.1, 0), *net.grid(0.1, 0), channels_last=1)
    net.nodes[-1].domain = "com.microsoft"
    message = error_of(net.model(pool))
    assert "(com.microsoft.QLinearGlobalAveragePool): has channels last; quantize a network of NCHW layout" in message


def test_scales_beyond_32_bits() -> None:
    net, x = start()
    weights = net.weights((4, 4, 1, 1), 1e20)
    result = net.node("Conv", x, weights)
    message = error_of(finish(net, result))
    assert "its scales and bias do not fit 32-bit arithmetic" in message


def test_invalid_model() -> None:
    net, x = start()
    model = finish(net, net.node("Relu", x))
    model.graph.node[0].input[0] = "nowhere"
    assert "invalid ONNX model" in error_of(model)
