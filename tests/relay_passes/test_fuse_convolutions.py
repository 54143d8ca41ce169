"""What FuseConvolutions makes of the layers that stand outside of separable blocks."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.ir import assert_structural_equal
from tvm.script import ir as I
from tvm.script import relax as R

from relay_passes import FuseConvolutions, FuseSeparableBlocks, composite_block
from tests.relay_passes.networks import Net, composites, fused_calls, operators, run
from tvm_dwfuse.blocks import Block, Conv

_random = np.random.default_rng(0)
WEIGHT = _random.normal(size=(6, 4, 1, 1)).astype("float32")
DENSE, DENSE_BIAS = _random.normal(size=(6, 3)).astype("float32"), _random.normal(size=3).astype("float32")
SCALED_BLOCK = Block((Conv(4, 6, epilogue=("relu",)),), 2, 5, 5, "NCHW", prologue=("scale",)).to_json()
DENSE_BLOCK = Block((Conv(6, 3, epilogue=("bias", "sigmoid")),), 2, 1, 1).to_json()


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 4, 5, 5), "float32"), s: R.Tensor((2, 4, 1, 1), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            scaled = R.multiply(s, x)
            pw = R.nn.conv2d(scaled, R.const(WEIGHT))
            relu = R.nn.relu(pw)
            mean = R.mean(relu, axis=[2, 3])
            dense = R.matmul(mean, R.const(DENSE))
            biased = R.add(dense, R.const(DENSE_BIAS))
            gv = R.sigmoid(biased)
            R.output(gv)
        return gv


@I.ir_module
class Expected:
    @R.function(private=True)
    def fused_pw(x: R.Tensor((2, 4, 5, 5), "float32"), scale: R.Tensor((2, 4, 1, 1), "float32")) -> R.Tensor(
        (2, 6, 5, 5), "float32"
    ):
        R.func_attr({"Composite": "dwfuse.pw", "Primitive": True, "dwfuse.block": SCALED_BLOCK})
        with R.dataflow():
            scaled = R.multiply(scale, x)
            pw = R.nn.conv2d(scaled, R.const(WEIGHT))
            gv = R.nn.relu(pw)
            R.output(gv)
        return gv

    @R.function(private=True)
    def fused_dense(x: R.Tensor((2, 6), "float32")) -> R.Tensor((2, 3), "float32"):
        R.func_attr({"Composite": "dwfuse.dense", "Primitive": True, "dwfuse.block": DENSE_BLOCK})
        with R.dataflow():
            dense = R.matmul(x, R.const(DENSE))
            biased = R.add(dense, R.const(DENSE_BIAS))
            gv = R.sigmoid(biased)
            R.output(gv)
        return gv

    @R.function
    def main(x: R.Tensor((2, 4, 5, 5), "float32"), s: R.Tensor((2, 4, 1, 1), "float32")) -> R.Tensor((2, 3), "float32"):
        cls = Expected
        with R.dataflow():
            relu = cls.fused_pw(x, s)
            mean = R.mean(relu, axis=[2, 3])
            gv = cls.fused_dense(mean)
            R.output(gv)
        return gv


def test_before_and_expected():
    after = tvm.transform.Sequential([FuseConvolutions()])(Before)
    relax.analysis.well_formed(after)
    assert_structural_equal(after, Expected)


def _stem(net, x):
    return net.relu6(net.bias(net.conv(x, 8, 3, strides=(2, 2))))


def _depthwise(net, x):
    return net.hardswish(net.bias(net.dw(x, 5, multiplier=2)))


def _grouped(net, x):
    return net.silu(net.conv(x, 8, 3, groups=2))


def _strided_1x1(net, x):
    return net.pw(x, 8, strides=(2, 2))


def _with_residual(net, x):
    return net.relu(net.add(net.conv(x, 4, 3), x))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("body", "kind", "epilogue"),
    [
        (_stem, "conv", ("bias", "relu6")),
        (_depthwise, "dw", ("bias", "hardswish")),
        (_grouped, "conv", ("silu",)),
        (_strided_1x1, "conv", ()),
        (_with_residual, "conv", ("add", "relu")),
    ],
)
def test_kinds(layout, body, kind, epilogue):
    net = Net(layout)
    before = net.build((2, 4, 9, 7), body)
    after = FuseConvolutions()(before)
    (composite,) = composites(after).values()
    assert composite.attrs["Composite"] == f"dwfuse.{kind}"
    assert composite_block(composite).stages[0].epilogue == epilogue
    x = net.random.normal(size=net.arrange((2, 4, 9, 7))).astype("float32")
    np.testing.assert_allclose(run(after, x)[0], run(before, x)[0], rtol=1e-5, atol=1e-5)


def test_squeeze_excite_is_taken_into_the_next_pointwise():
    def body(net, x):
        return net.bias(net.pw(net.squeeze_excite(net.relu(net.dw(net.pw(x, 8)))), 4))

    after = FuseConvolutions()(FuseSeparableBlocks()(Net("NHWC").build((1, 4, 6, 6), body)))
    assert fused_calls(after) == ["fused_pwdw", "fused_pw", "fused_pw1"]
    gate, project = (composite_block(composites(after)[name]) for name in ("fused_pw", "fused_pw1"))
    assert (gate.prologue, gate.stages[0].epilogue, gate.height) == ((), ("hardsigmoid",), 1)
    assert (project.prologue, project.stages[0].epilogue, project.height) == (("scale",), ("bias",), 6)


def _scale_read_twice(net, x):
    scaled = net.squeeze_excite(x)
    return net.add(net.pw(scaled, 4), scaled)


def _scale_of_a_3x3(net, x):
    return net.conv(net.squeeze_excite(x), 4, 3)


def _scale_that_is_an_output(net, x):
    return net.pw(net.builder.emit_output(net.squeeze_excite(x)), 4)


def _scale_of_one_pixel(net, x):
    pixel = net.emit(relax.op.mean(x, axis=[2, 3], keepdims=True))
    return net.pw(net.squeeze_excite(pixel), 4)


@pytest.mark.parametrize(
    "body",
    [_scale_read_twice, _scale_of_a_3x3, _scale_that_is_an_output, _scale_of_one_pixel],
    ids=lambda f: f.__name__,
)
def test_scale_stays_outside(body):
    after = FuseConvolutions()(Net().build((1, 4, 6, 6), body))
    assert [composite_block(func).prologue for func in composites(after).values()] == [(), ()]
    assert "relax.multiply" in operators(after)


def test_batched_matmul_and_computed_weights_stay_outside():
    @I.ir_module
    class Stays:
        @R.function
        def main(x: R.Tensor((2, 3, 3), "float32"), w: R.Tensor((3, 3), "float32")):
            with R.dataflow():
                batched = R.matmul(x, R.const(np.ones((3, 3), "float32")))
                row = R.mean(batched, axis=[0])
                gv = R.matmul(row, w)
                R.output(gv)
            return gv

    assert_structural_equal(FuseConvolutions()(Stays), Stays)


def test_changed_layout_or_dtype_stays_outside():
    half = WEIGHT.astype("float16")

    @I.ir_module
    class Stays:
        @R.function
        def main(x: R.Tensor((1, 4, 5, 5), "float32"), y: R.Tensor((1, 4, 5, 5), "float16")):
            with R.dataflow():
                turned = R.nn.conv2d(x, R.const(WEIGHT), out_layout="NHWC")
                widened = R.nn.conv2d(y, R.const(half), out_dtype="float32")
                gv = (turned, widened)
                R.output(gv)
            return gv

    assert_structural_equal(FuseConvolutions()(Stays), Stays)


def test_everything_left_by_separable_blocks_is_lifted_once():
    def body(net, x):
        x = net.relu(net.bias(net.conv(x, 8, 3)))
        return net.relu(net.pw(net.relu(net.dw(net.relu(net.pw(net.dw(x), 8)))), 8))

    blocks = FuseSeparableBlocks()(Net().build((1, 3, 6, 6), body))
    after = FuseConvolutions()(blocks)
    assert fused_calls(after) == ["fused_conv", "fused_dwpw", "fused_dwpw1"]
    assert_structural_equal(composites(after)["fused_dwpw"], composites(blocks)["fused_dwpw"])
