"""A composite read back: its block, and its weights and biases in the forms that packing expects."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from relay_passes import FuseConvolutions, FuseSeparableBlocks, composite_block, composite_kind, composite_operands
from tests.relay_passes.networks import Net, composites
from tvm_dwfuse.errors import DwfuseError


@pytest.mark.parametrize(("layout", "kernel_layout"), [("NCHW", "OIHW"), ("NHWC", "OHWI"), ("NHWC", "HWIO")])
def test_operands_of_a_block(layout, kernel_layout):
    dw = np.arange(8 * 1 * 3 * 3, dtype="float32").reshape(8, 1, 3, 3)
    pw = np.arange(4 * 8, dtype="float32").reshape(4, 8, 1, 1)
    bias = np.arange(4, dtype="float32")
    layouts = {"data_layout": layout, "kernel_layout": kernel_layout, "out_layout": layout}

    def stored(weight):
        return relax.const(weight.transpose(["OIHW".index(axis) for axis in kernel_layout]))

    def body(net, x):
        mid = net.emit(relax.op.nn.conv2d(x, stored(dw), padding=(1, 1, 1, 1), groups=4, **layouts))
        mid = net.add(mid, relax.const(0.5, "float32"))
        out = net.emit(relax.op.nn.conv2d(mid, stored(pw), **layouts))
        return net.add(x, net.add(out, relax.const(bias.reshape(net.arrange((1, 4, 1, 1))))))

    (composite,) = composites(FuseSeparableBlocks()(Net(layout).build((2, 4, 5, 6), body))).values()
    operands = composite_operands(composite)
    assert composite_kind(composite) == "dwpw"
    assert list(operands) == composite_block(composite).operands() == ["x", "w0", "b0", "w1", "b1", "r1"]
    assert operands["x"].same_as(composite.params[0])
    assert operands["r1"].same_as(composite.params[1])
    np.testing.assert_array_equal(operands["w0"], dw)
    np.testing.assert_array_equal(operands["w1"], pw)
    np.testing.assert_array_equal(operands["b0"], np.full(8, 0.5, "float32"))
    np.testing.assert_array_equal(operands["b1"], bias)
    assert all(value.flags.c_contiguous for value in operands.values() if isinstance(value, np.ndarray))


def test_operands_of_a_dense_layer():
    weight = np.arange(12, dtype="float32").reshape(4, 3)
    x = relax.Var("x", relax.TensorType((2, 4), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit(relax.op.matmul(x, relax.const(weight)))
            out = builder.emit_output(relax.op.add(out, relax.const(np.ones((1, 3), "float32"))))
        builder.emit_func_output(out)
    (composite,) = composites(FuseConvolutions()(builder.get())).values()
    operands = composite_operands(composite)
    assert list(operands) == ["x", "w0", "b0"]
    np.testing.assert_array_equal(operands["w0"], weight.T.reshape(3, 4, 1, 1))
    np.testing.assert_array_equal(operands["b0"], np.ones(3))


def test_operands_of_a_scaled_pointwise():
    net = Net("NHWC")
    after = FuseConvolutions()(net.build((1, 4, 5, 5), lambda net, x: net.pw(net.squeeze_excite(x), 6)))
    operands = composite_operands(composites(after)["fused_pw1"])
    assert list(operands) == ["x", "scale", "w0"]
    assert [int(dim) for dim in operands["scale"].ty.shape.values] == [1, 1, 1, 4]


def test_a_function_that_is_no_composite():
    main = Net().build((1, 4, 5, 5), lambda net, x: net.pw(x, 4))["main"]
    assert composite_kind(main) is None
    with pytest.raises(DwfuseError, match=r"no attribute dwfuse\.block"):
        composite_operands(main)


def test_a_composite_whose_body_was_changed():
    after = FuseConvolutions()(Net().build((1, 4, 5, 5), lambda net, x: net.pw(x, 4)))
    legalized = relax.transform.LegalizeOps()(after)["fused_pw"]
    with pytest.raises(DwfuseError, match=r"dwfuse\.pw composite is not its block any more"):
        composite_operands(legalized)


def test_a_composite_whose_body_has_more_than_its_block():
    longer = Net().build((1, 4, 5, 5), lambda net, x: net.emit(relax.op.nn.leakyrelu(net.pw(x, 4))))["main"]
    shorter = FuseConvolutions()(Net().build((1, 4, 5, 5), lambda net, x: net.pw(x, 4)))["fused_pw"]
    for name in ("Composite", "dwfuse.block"):
        longer = longer.with_attr(name, shorter.attrs[name])
    with pytest.raises(DwfuseError, match="not its block any more"):
        composite_operands(longer)
