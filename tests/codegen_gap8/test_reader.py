"""A partitioned module read back as an integer network, which must compute what the module does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tvm import relax

from relay_passes import PartitionForCluster, regions
from tests.relay_passes.integer_networks import IntegerNet, mobile_net, uint8_input
from tests.relay_passes.networks import run
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.codegen_gap8.reader import read_network, read_region
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.frontend.quantized_relax import network_to_relax
from tvm_dwfuse.integer_network import Activation, Add, AveragePool
from tvm_dwfuse.quantization import run_network

SHAPE = (1, 12, 13, 3)


def partitioned(body, shape=SHAPE):
    mod = IntegerNet().build(shape, body)
    return mod, PartitionForCluster()(mod)


def assert_same(mod, network, shape=SHAPE) -> None:
    """The network's outputs are those of the module under LLVM, for two inputs."""
    for seed in range(2):
        x = uint8_input(shape, seed)
        values = run_network(network, {network.inputs[0]: x})
        for name, expected in zip(network.outputs, run(mod, x), strict=True):
            np.testing.assert_array_equal(values[name].reshape(expected.shape), expected)


def test_a_network() -> None:
    mod, after = partitioned(mobile_net)
    network = read_region(regions(after)[0])
    names = ["stem", "dw0", "pw0", "expand", "dw1", "project", "residual", "pw2", "pool", "dense"]
    assert [layer.name for layer in network.layers] == names
    assert (network.name, network.inputs, network.outputs) == ("gap8_0", ("x",), ("dense",))
    layers = {layer.name: layer for layer in network.layers}
    assert layers["stem"].operator == Conv(3, 8, (3, 3), (2, 2), (0, 0, 1, 1))
    assert layers["dw1"].operator == Conv(12, 12, (5, 5), padding=(2, 2, 2, 2), groups=12)
    assert layers["residual"].operator == Add(6, 6, 6)
    assert layers["residual"].inputs == ("pw0", "project")
    assert layers["pool"].operator == AveragePool(6, 6, 10)
    assert [layers[name].pad_value for name in ("stem", "dw0", "dw1")] == [7, 3, 11]
    assert network.activations["dense"] == Activation("dense", 1, 1, 7, 1.0, 0)
    for layer in network.layers:
        channels = layer.operator.out_channels if isinstance(layer.operator, Conv) else 1
        assert layer.offset.shape == (channels,)
        assert layer.multiplier.dtype == layer.offset.dtype == np.int32
    assert_same(mod, network)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kernel_layout", ["OHWI", "OIHW", "HWIO"])
def test_kernel_layouts(kernel_layout: str, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(-127, 128, (5, 3, 3, 2)).astype("int8")

    def body(net: IntegerNet, x: relax.Var) -> relax.Var:
        stored = relax.const(weights.transpose(["OIHW".index(axis) for axis in kernel_layout]))
        options = {"data_layout": "NHWC", "kernel_layout": kernel_layout, "out_dtype": "int32", "strides": (1, 2)}
        return net.requantize(net._scaled(net.emit(relax.op.nn.conv2d(x, stored, **options)), 5, 4e4))

    mod, after = partitioned(body)
    network = read_region(regions(after)[0])
    np.testing.assert_array_equal(network.layers[0].weights, weights)
    assert_same(mod, network)


def test_operands_of_an_addition() -> None:
    def body(net: IntegerNet, x: relax.Var) -> relax.Var:
        a, b = net.conv(x, 4, name="a"), net.conv(x, 4, name="b")
        casts = [net.emit(relax.op.astype(value, "int32")) for value in (a, b)]
        # Multiplied in the other order than they are cast and added.
        scaled = [net.emit(relax.op.multiply(casts[i], relax.const(m, "int32"))) for i, m in ((1, 90), (0, 20))]
        total = net.emit(relax.op.add(scaled[1], scaled[0]))
        return net.requantize(net.emit(relax.op.add(total, relax.const(64, "int32"))), 7)

    mod, after = partitioned(body)
    network = read_network(after)
    layer = network.layers[-1]
    assert dict(zip(layer.inputs, layer.multiplier.tolist(), strict=True)) == {"a": 20, "b": 90}
    assert_same(mod, network)


def test_an_activation_added_to_itself() -> None:
    def body(net: IntegerNet, x: relax.Var) -> relax.Var:
        y = net.conv(x, 4, name="a")
        return net.add(y, y)

    mod, after = partitioned(body)
    network = read_network(after)
    assert network.layers[-1].inputs == ("a", "a")
    assert_same(mod, network)


def test_several_outputs_and_regions() -> None:
    def body(net: IntegerNet, x: relax.Var) -> tuple[relax.Var, ...]:
        y = net.conv(x, 4, name="conv")
        return net.average_pool(y), net.conv(x, 5, name="conv"), net.add(y, y)

    mod, after = partitioned(body)
    assert len(regions(after)) > 1
    network = read_network(after)
    assert len(set(network.outputs)) == 3
    assert len(network.activations) == 5
    assert_same(mod, network)


def test_what_the_import_knows() -> None:
    mod = IntegerNet().build(SHAPE, lambda net, x: net.conv(x, 4, name="a"))
    known = {
        "x": {"scale": 0.5, "zero_point": 3, "layer": ""},
        "a": {"scale": 0.25, "zero_point": 7, "layer": "/features/Conv"},
    }
    attrs = {"dwfuse.network": "net", "dwfuse.activations": json.dumps(known)}
    mod["main"] = mod["main"].with_attr(attrs)
    network = read_network(PartitionForCluster()(mod))
    assert network.name == "net"
    assert network.activations["x"] == Activation("x", 12, 13, 3, 0.5, 3)
    assert network.activations["a"] == Activation("a", 12, 13, 4, 0.25, 7)
    assert network.layers[0].name == "/features/Conv"


@pytest.mark.parametrize("seed", range(2))
def test_round_trip_of_an_integer_network(seed: int) -> None:
    before = read_network(PartitionForCluster()(IntegerNet(seed).build(SHAPE, mobile_net)))
    after = read_network(PartitionForCluster()(network_to_relax(before)))
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert after.activations == before.activations
    for a, b in zip(after.layers, before.layers, strict=True):
        assert (a.name, a.operator, a.inputs, a.output, a.shift) == (b.name, b.operator, b.inputs, b.output, b.shift)
        for x, y in ((a.weights, b.weights), (a.multiplier, b.multiplier), (a.offset, b.offset)):
            assert (x is None and y is None) or np.array_equal(x, y)
        assert not isinstance(a.operator, Conv) or not any(a.operator.padding) or a.pad_value == b.pad_value


def test_an_operator_outside_of_regions_is_named() -> None:
    def body(net: IntegerNet, x: relax.Var) -> relax.Var:
        return net.emit(relax.op.nn.max_pool2d(net.conv(x, 4), (2, 2), (2, 2), layout="NHWC"), "pool_3")

    with pytest.raises(DwfuseError, match=r"pool_3: relax\.nn\.max_pool2d has no integer form"):
        read_network(partitioned(body)[1])


@pytest.mark.parametrize(
    ("shape", "words"),
    [((2, 12, 13, 3), "a batch of 2"), ((1, 12, 3), r"not \(1, height, width, channels\)")],
)
def test_inputs_that_are_no_image(shape: tuple[int, ...], words: str) -> None:
    mod = IntegerNet().build(shape, lambda net, x: net.reshape(x, (*shape, 1)))
    with pytest.raises(DwfuseError, match=words):
        read_network(PartitionForCluster()(mod))
