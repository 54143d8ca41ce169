"""Quantized networks, in the forms that quantizers write, against ONNX Runtime, the numpy reference and TVM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet, operators
from tests.tvm_dwfuse.frontend.quantized_net import (
    X_SCALE,
    QdqNet,
    assert_layers_agree,
    quantized_by_onnxruntime,
    saturates,
    stored_by_onnxruntime,
    uint8_inputs,
)
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.frontend import import_quantized, read_quantized
from tvm_dwfuse.frontend.quantized_relax import network_to_relax
from tvm_dwfuse.integer_network import Add, AveragePool, Network
from tvm_dwfuse.quantization import run_network

pytestmark = pytest.mark.skipif(saturates(), reason="ONNX Runtime's int8 products saturate on this CPU")


def noise(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def residual_net() -> onnx.ModelProto:
    """Stem, a residual depthwise and pointwise, both sorts of pool, a flatten of several pixels, two classifiers."""
    net = OnnxNet(17)
    x = net.input(1, 3, 13, 11)
    x = net.node("Relu", net.node("Conv", x, net.weight(6, 3, 3, 3), net.weight(6), strides=[2, 2], pads=[1, 1, 1, 1]))
    y = net.node("Conv", x, net.weight(6, 1, 3, 3), net.weight(6), group=6, pads=[1, 1, 1, 1])
    y = net.node("Clip", y, net.constant(0, "float32"), net.constant(6, "float32"))
    y = net.node("Add", x, net.node("Conv", y, net.weight(6, 6, 1, 1), net.weight(6)))
    y = net.node("AveragePool", y, kernel_shape=[3, 3], strides=[2, 2])
    pooled = net.node("Flatten", net.node("GlobalAveragePool", y))
    first = net.node("Gemm", pooled, net.weight(5, 6), net.weight(5), transB=1)
    second = net.node("MatMul", net.node("Flatten", y), net.weight(36, 4))
    return net.model(first, second)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, object]:
    """Geometry of a convolution and how it is quantized."""
    kernel = draw(st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 3])))
    dilations = draw(st.sampled_from([(1, 1), (1, 1), (2, 1)]))
    kind = draw(st.sampled_from(["dense", "depthwise", "grouped", "multiplied"]))
    channels = draw(st.integers(1, 4)) if kind != "grouped" else 4
    inputs, outputs, groups = {
        "dense": (channels, draw(st.integers(1, 6)), 1),
        "depthwise": (channels, channels, channels),
        "grouped": (4, 6, 2),
        "multiplied": (channels, 2 * channels, channels),
    }[kind]
    reach = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    return {
        "size": tuple(draw(st.integers(size, size + 6)) for size in reach),
        "shape": (outputs, inputs // groups, *kernel),
        "groups": groups,
        "pads": draw(st.lists(st.integers(0, 2), min_size=4, max_size=4)),
        "strides": draw(st.sampled_from([[1, 1], [2, 2], [1, 2]])),
        "dilations": list(dilations),
        "dtype": draw(st.sampled_from(["uint8", "int8"])),
        "per_channel": draw(st.booleans()),
        "zero_points": draw(st.tuples(st.sampled_from([0, 77, 128, 255]), st.sampled_from([0, 131]))),
        "seed": draw(st.integers(0, 1000)),
    }


@settings(max_examples=60)
@given(case=convolutions())
def test_convolution_of_any_geometry_is_within_one_step(case: dict) -> None:
    net = QdqNet(case["seed"], case["dtype"])
    real = net.input(1, case["shape"][1] * case["groups"], *case["size"])
    result, scale = net.conv2d(
        net.stored(real, X_SCALE, case["zero_points"][0]),
        case["shape"],
        case["per_channel"],
        group=case["groups"],
        pads=case["pads"],
        strides=case["strides"],
        dilations=case["dilations"],
    )
    model = net.model(net.stored(result, scale, case["zero_points"][1]))
    network = read_quantized(model)
    activation = network.activations[network.inputs[0]]
    stored = uint8_inputs(network, case["seed"])[network.inputs[0]]
    x = (stored.transpose(2, 0, 1)[None].astype("float32") - activation.zero_point) * np.float32(X_SCALE)
    expected = stored_by_onnxruntime(model, network, {real: x})
    np.testing.assert_array_equal(expected[network.inputs[0]], stored)
    actual = run_network(network, {network.inputs[0]: stored})[network.outputs[0]]
    assert np.abs(actual.astype(int) - expected[network.outputs[0]]).max() <= 1


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("dtype", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_network_as_onnxruntime_quantizes_it(form: str, dtype: str, per_channel: bool, tmp_path: Path) -> None:
    model = quantized_by_onnxruntime(residual_net(), tmp_path, form, dtype, per_channel)
    network = read_quantized(model)
    assert [type(layer.operator) for layer in network.layers].count(Add) == 1
    assert [type(layer.operator) for layer in network.layers].count(AveragePool) == 1
    assert len(network.outputs) == 2
    assert_layers_agree(model, network, {"input.1": noise(1, 3, 13, 11)})


def test_padding_nodes_and_relabelling_of_other_exporters(tmp_path: Path) -> None:
    net = OnnxNet(17)
    x = net.node("Pad", net.input(1, 3, 8, 8), net.constant([0, 0, 0, 1, 0, 0, 1, 2]))
    x = net.node("Relu", net.node("Conv", x, net.weight(4, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]))
    x = net.node("ReduceMean", x, axes=[2, -1], keepdims=0)
    x = net.node("Unsqueeze", net.node("Unsqueeze", x, net.constant([2])), net.constant([3]))
    x = net.node("Conv", net.node("Identity", x), net.weight(5, 4, 1, 1), net.weight(5))
    model = quantized_by_onnxruntime(net.model(net.node("Squeeze", x, net.constant([2, 3]))), tmp_path)
    network = read_quantized(model)
    assert network.layers[0].operator.padding == (1, 2, 2, 3)  # the Pad node's, and one on each side
    assert_layers_agree(model, network, {"input.1": noise(1, 3, 8, 8)})


def test_relax_module_computes_what_the_reference_computes(tmp_path: Path) -> None:
    network = read_quantized(quantized_by_onnxruntime(residual_net(), tmp_path))
    module = network_to_relax(network)
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    inputs = uint8_inputs(network)
    results = machine["main"](*(tvm.runtime.tensor(inputs[name][None]) for name in network.inputs))
    expected = run_network(network, inputs)
    for name, result in zip(network.outputs, results, strict=True):
        np.testing.assert_array_equal(result.numpy()[0], expected[name])
        assert expected[name].std() > 5


def test_canonical_form(tmp_path: Path) -> None:
    module = import_quantized(quantized_by_onnxruntime(residual_net(), tmp_path))
    tail = ["relax.right_shift", "relax.clip", "relax.astype"]
    conv = ["relax.nn.conv2d", "relax.multiply", "relax.add", *tail]
    pool = ["relax.astype", "relax.sum", "relax.multiply", "relax.add", *tail]
    add = ["relax.astype", "relax.multiply", "relax.astype", "relax.multiply", "relax.add", "relax.add", *tail]
    padded = ["relax.nn.pad", *conv]
    expected = [*padded, *padded, *conv, *add, *conv, *pool, *conv, *conv]
    assert sorted(operators(module)) == sorted(expected)
    assert operators(module)[: len(padded)] == padded
    main = module["main"]
    grids = json.loads(main.attrs["dwfuse.activations"])
    variables = [binding.var for block in main.body.blocks for binding in block.bindings]
    names = {variable.name for variable in [*main.params, *variables]}
    assert set(grids) <= names
    assert grids["input_1"].keys() == {"scale", "zero_point", "layer"}
    assert str(main.params[0].ty) == str(relax.TensorType((1, 13, 11, 3), "uint8"))


def bounded_net(
    *bounds: tuple[str, list[float]], scale: float, zero_point: int, dtype: str = "uint8"
) -> onnx.ModelProto:
    net = QdqNet(4, dtype)
    result, _ = net.conv2d(net.stored(net.input(1, 3, 6, 6), X_SCALE, 128), (4, 3, 3, 3))
    for operator, limits in bounds:
        result = net.node(operator, result, *(net.constant(limit, "float32") for limit in limits))
    return net.model(net.stored(result, scale, zero_point))


@pytest.mark.parametrize(
    ("bounds", "scale", "zero_point", "dtype"),
    [
        ([("Relu", [])], 0.02, 128, "int8"),  # a symmetric grid: half of it is cut off
        ([("Relu", [])], 0.02, 40, "uint8"),
        ([("Clip", [0.0, 6.0])], 6.4 / 255, 0, "uint8"),
        ([("Clip", [0.0, 6.0])], 5.0 / 255, 0, "uint8"),  # the grid ends first
        ([("Relu", []), ("Clip", [-1.0, 2.0])], 0.02, 128, "int8"),
        ([("Clip", [-1.0, 1.5])], 0.01, 128, "uint8"),
    ],
)
def test_bounds_are_those_of_clip_and_grid_together(bounds: list, scale: float, zero_point: int, dtype: str) -> None:
    model = bounded_net(*bounds, scale=scale, zero_point=zero_point, dtype=dtype)
    network = read_quantized(model)
    x = noise(1, 3, 6, 6, seed=9)
    expected = stored_by_onnxruntime(model, network, {"input.1": x})
    result = network.outputs[0]
    actual = run_network(network, {network.inputs[0]: expected[network.inputs[0]]})[result]
    grid = network.activations[result]
    real = (actual.astype(float) - grid.zero_point) * grid.scale
    wanted = (expected[result].astype(float) - zero_point) * scale
    assert np.abs(real - wanted).max() <= scale * 1.01
    assert (real == real.max()).sum() > 3, "no value reached the upper bound"
    assert (real == real.min()).sum() > 3, "no value reached the lower bound"


def test_constant_added_to_a_stored_value_is_a_bias() -> None:
    net = QdqNet(2)
    x = net.stored(net.input(1, 4, 5, 5), X_SCALE, 120)
    shifted = net.node("Add", net.constant(np.array([[[1.0]], [[-1]], [[0.5]], [[0]]]), "float32"), x)
    model = net.model(net.stored(net.node("Relu", net.stored(shifted, 0.04, 100)), 0.02, 0))
    network = read_quantized(model)
    assert [layer.operator for layer in network.layers] == [Conv(4, 4, groups=4)] * 2
    assert_layers_agree(model, network, {"input.1": noise(1, 4, 5, 5)})


def test_softmax_at_the_end_is_left_out_with_a_warning(tmp_path: Path) -> None:
    net = OnnxNet(17)
    pooled = net.node("Flatten", net.node("GlobalAveragePool", net.input("batch", 6, 4, 4)))
    float_model = net.model(net.node("Softmax", net.node("Gemm", pooled, net.weight(6, 9))))
    float_model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = quantized_by_onnxruntime(float_model, tmp_path)
    with pytest.warns(UserWarning, match="Softmax at its end is left out"):
        network = read_quantized(model)
    x = noise(1, 6, 4, 4)
    expected = stored_by_onnxruntime(model, network, {"input.1": x})
    actual = run_network(network, {network.inputs[0]: expected[network.inputs[0]]})[network.outputs[0]]
    assert actual.argmax() == expected[network.outputs[0]].argmax()
    assert actual.std() > 5


def test_open_batch_is_one(tmp_path: Path) -> None:
    model = quantized_by_onnxruntime(residual_net(), tmp_path)
    fixed = read_quantized(model)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    opened = read_quantized(model)
    assert opened.activations == fixed.activations
    inputs = uint8_inputs(fixed)
    np.testing.assert_array_equal(
        run_network(opened, inputs)[opened.outputs[1]], run_network(fixed, inputs)[fixed.outputs[1]]
    )


def test_weights_that_the_network_quantizes_itself(tmp_path: Path) -> None:
    """As networks trained with quantization are exported: float weights, QuantizeLinear, DequantizeLinear."""
    plain = quantized_by_onnxruntime(residual_net(), tmp_path)
    trained = quantized_by_onnxruntime(residual_net(), tmp_path, AddQDQPairToWeight=True)
    kinds = [node.op_type for node in trained.graph.node]
    assert kinds.count("QuantizeLinear") > [node.op_type for node in plain.graph.node].count("QuantizeLinear")
    expected, actual = read_quantized(plain), read_quantized(trained)
    for wanted, layer in zip(expected.layers, actual.layers, strict=True):
        np.testing.assert_array_equal(layer.multiplier, wanted.multiplier)
        if wanted.weights is not None:
            np.testing.assert_array_equal(layer.weights, wanted.weights)


def test_names_are_identifiers_and_tell_the_nodes(tmp_path: Path) -> None:
    model = quantized_by_onnxruntime(residual_net(), tmp_path)
    network: Network = read_quantized(model)
    assert all(name.isidentifier() for name in network.activations)
    nodes = {node.name for node in model.graph.node}
    assert {layer.name for layer in network.layers} <= nodes
    assert list(network.outputs) == [output.name.replace(".", "_") for output in model.graph.output]
