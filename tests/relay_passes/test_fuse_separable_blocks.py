"""What FuseSeparableBlocks makes of a module: Before and Expected, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.ir import assert_structural_equal
from tvm.script import ir as I
from tvm.script import relax as R

from relay_passes import FuseConvolutions, FuseSeparableBlocks, composite_block, prefer, program_order
from relay_passes.fold_batch_norm import FoldBatchNorm
from relay_passes.match_blocks import keep_disjoint
from tests.relay_passes.networks import ACTIVATIONS, Net, composites, fused_calls, operators, run
from tvm_dwfuse.blocks import Block, Conv

SHAPE = (2, 4, 9, 7)

_random = np.random.default_rng(0)


def _array(*shape: int) -> np.ndarray:
    return _random.normal(size=shape).astype("float32")


DW, DW_BIAS = _array(4, 1, 3, 3), _array(1, 4, 1, 1)
PW, PW_BIAS = _array(6, 4, 1, 1), _array(1, 6, 1, 1)
DWPW_BLOCK = Block(
    (
        Conv(4, 4, (3, 3), (2, 2), (0, 0, 1, 1), groups=4, epilogue=("bias", "relu6")),
        Conv(4, 6, epilogue=("bias",)),
    ),
    batch=1,
    height=8,
    width=8,
    layout="NCHW",
).to_json()


@I.ir_module
class DwPwBefore:
    @R.function
    def main(x: R.Tensor((1, 4, 8, 8), "float32")) -> R.Tensor((1, 6, 4, 4), "float32"):
        with R.dataflow():
            stem = R.nn.leakyrelu(x)
            dw = R.nn.conv2d(stem, R.const(DW), strides=(2, 2), padding=(0, 0, 1, 1), groups=4)
            dw_bias = R.add(dw, R.const(DW_BIAS))
            mid = R.clip(dw_bias, 0, 6)
            pw = R.nn.conv2d(mid, R.const(PW))
            pw_bias = R.add(R.const(PW_BIAS), pw)
            gv = R.nn.leakyrelu(pw_bias)
            R.output(gv)
        return gv


@I.ir_module
class DwPwExpected:
    @R.function(private=True)
    def fused_dwpw(x: R.Tensor((1, 4, 8, 8), "float32")) -> R.Tensor((1, 6, 4, 4), "float32"):
        R.func_attr({"Composite": "dwfuse.dwpw", "Primitive": True, "dwfuse.block": DWPW_BLOCK})
        with R.dataflow():
            dw = R.nn.conv2d(x, R.const(DW), strides=(2, 2), padding=(0, 0, 1, 1), groups=4)
            dw_bias = R.add(dw, R.const(DW_BIAS))
            mid = R.clip(dw_bias, 0, 6)
            pw = R.nn.conv2d(mid, R.const(PW))
            gv = R.add(R.const(PW_BIAS), pw)
            R.output(gv)
        return gv

    @R.function
    def main(x: R.Tensor((1, 4, 8, 8), "float32")) -> R.Tensor((1, 6, 4, 4), "float32"):
        cls = DwPwExpected
        with R.dataflow():
            stem = R.nn.leakyrelu(x)
            pw_bias = cls.fused_dwpw(stem)
            gv = R.nn.leakyrelu(pw_bias)
            R.output(gv)
        return gv


EXPAND, DW_NHWC, PROJECT = _array(8, 1, 1, 4), _array(8, 3, 3, 1), _array(4, 1, 1, 8)
EXPAND_BIAS, SCALAR_BIAS, PROJECT_BIAS = _array(1, 1, 1, 8), 0.25, _array(4)
INVERTED_BLOCK = Block(
    (
        Conv(4, 8, epilogue=("bias", "hardswish")),
        Conv(8, 8, (3, 3), padding=(1, 1, 1, 1), groups=8, epilogue=("bias", "silu")),
        Conv(8, 4, epilogue=("bias", "add", "relu")),
    ),
    batch=1,
    height=5,
    width=5,
).to_json()


@I.ir_module
class InvertedResidualBefore:
    @R.function
    def main(x: R.Tensor((1, 5, 5, 4), "float32")) -> R.Tensor((1, 5, 5, 4), "float32"):
        with R.dataflow():
            pw = R.nn.conv2d(x, R.const(EXPAND), data_layout="NHWC", kernel_layout="OHWI")
            wide = R.add(pw, R.const(EXPAND_BIAS))
            sixth = R.multiply(wide, R.const(1 / 6, "float32"))
            shifted = R.add(sixth, R.const(0.5, "float32"))
            gate = R.clip(shifted, 0, 1)
            gated = R.multiply(gate, wide)
            dw = R.nn.conv2d(
                gated, R.const(DW_NHWC), padding=(1, 1, 1, 1), groups=8, data_layout="NHWC", kernel_layout="OHWI"
            )
            dw_bias = R.add(dw, R.const(SCALAR_BIAS, "float32"))
            mid = R.nn.silu(dw_bias)
            narrow = R.nn.conv2d(mid, R.const(PROJECT), data_layout="NHWC", kernel_layout="OHWI")
            narrow_bias = R.add(narrow, R.const(PROJECT_BIAS))
            total = R.add(x, narrow_bias)
            gv = R.nn.relu(total)
            R.output(gv)
        return gv


@I.ir_module
class InvertedResidualExpected:
    @R.function(private=True)
    def fused_pwdwpw(x: R.Tensor((1, 5, 5, 4), "float32"), r2: R.Tensor((1, 5, 5, 4), "float32")) -> R.Tensor(
        (1, 5, 5, 4), "float32"
    ):
        R.func_attr({"Composite": "dwfuse.pwdwpw", "Primitive": True, "dwfuse.block": INVERTED_BLOCK})
        with R.dataflow():
            pw = R.nn.conv2d(x, R.const(EXPAND), data_layout="NHWC", kernel_layout="OHWI")
            wide = R.add(pw, R.const(EXPAND_BIAS))
            sixth = R.multiply(wide, R.const(1 / 6, "float32"))
            shifted = R.add(sixth, R.const(0.5, "float32"))
            gate = R.clip(shifted, 0, 1)
            gated = R.multiply(gate, wide)
            dw = R.nn.conv2d(
                gated, R.const(DW_NHWC), padding=(1, 1, 1, 1), groups=8, data_layout="NHWC", kernel_layout="OHWI"
            )
            dw_bias = R.add(dw, R.const(SCALAR_BIAS, "float32"))
            mid = R.nn.silu(dw_bias)
            narrow = R.nn.conv2d(mid, R.const(PROJECT), data_layout="NHWC", kernel_layout="OHWI")
            narrow_bias = R.add(narrow, R.const(PROJECT_BIAS))
            total = R.add(r2, narrow_bias)
            gv = R.nn.relu(total)
            R.output(gv)
        return gv

    @R.function
    def main(x: R.Tensor((1, 5, 5, 4), "float32")) -> R.Tensor((1, 5, 5, 4), "float32"):
        cls = InvertedResidualExpected
        with R.dataflow():
            gv = cls.fused_pwdwpw(x, x)
            R.output(gv)
        return gv


@pytest.mark.parametrize(
    ("before", "expected"),
    [(DwPwBefore, DwPwExpected), (InvertedResidualBefore, InvertedResidualExpected)],
    ids=["dwpw_nchw", "pwdwpw_nhwc"],
)
def test_before_and_expected(before, expected):
    untouched = before.script()
    after = tvm.transform.Sequential([FuseSeparableBlocks()])(before)
    relax.analysis.well_formed(after)
    assert_structural_equal(after, expected)
    assert before.script() == untouched


def test_running_the_pass_again_changes_nothing():
    assert_structural_equal(FuseSeparableBlocks()(DwPwExpected), DwPwExpected)


def test_composite_equals_what_fuse_ops_by_pattern_makes():
    """So that whatever consumes the composites of TVM's own pass also consumes these."""
    from tvm.relax.dpl import is_const, is_op, wildcard

    dw = is_op("relax.add")(is_op("relax.nn.conv2d")(wildcard(), is_const()), is_const())
    pw = is_op("relax.nn.conv2d")(is_op("relax.clip")(dw, wildcard(), wildcard()), is_const())
    pattern = is_op("relax.add")(is_const(), pw)
    theirs = relax.transform.FuseOpsByPattern([("dwfuse.dwpw", pattern)])(DwPwBefore)
    (ours,) = composites(FuseSeparableBlocks()(DwPwBefore)).values()
    assert_structural_equal(ours.without_attr("dwfuse.block"), *composites(theirs).values(), map_free_vars=True)


def test_composites_reach_a_code_generator():
    after = relax.transform.MergeCompositeFunctions()(FuseSeparableBlocks()(DwPwBefore))
    assert [func.attrs["Codegen"] for _, func in after.functions_items() if "Codegen" in func.attrs] == ["dwfuse"]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_swallowed(layout, activation):
    def body(net, x):
        mid = getattr(net, activation)(net.bias(net.dw(x)))
        return getattr(net, activation)(net.bias(net.pw(mid, 6)))

    after = FuseSeparableBlocks()(Net(layout).build(SHAPE, body))
    block = composite_block(composites(after)["fused_dwpw"])
    assert [stage.epilogue for stage in block.stages] == [("bias", activation)] * 2
    assert (block.layout, block.batch, block.height, block.width) == (layout, 2, 9, 7)
    assert len(after["main"].body.blocks[0].bindings) <= 2


@pytest.mark.parametrize("order", ["pwdw", "dwpw", "pwdwpw"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_order(layout, order):
    def body(net, x):
        for kind in (order[i : i + 2] for i in range(0, len(order), 2)):
            x = net.relu(net.dw(x, 5) if kind == "dw" else net.pw(x, 3))
        return x

    after = FuseSeparableBlocks()(Net(layout).build(SHAPE, body))
    assert list(composites(after)) == [f"fused_{order}"]
    assert composites(after)[f"fused_{order}"].attrs["Composite"] == f"dwfuse.{order}"


def test_dilation_multiplier_and_asymmetric_padding_are_kept():
    def body(net, x):
        return net.pw(net.dw(x, multiplier=2, dilation=(2, 1), padding=(2, 0, 1, 1), strides=(1, 2)), 5)

    block = composite_block(composites(FuseSeparableBlocks()(Net().build(SHAPE, body)))["fused_dwpw"])
    assert block.stages[0] == Conv(4, 8, (3, 3), (1, 2), (2, 0, 1, 1), (2, 1), groups=4)
    assert block.sizes() == [(9, 7), (8, 3), (8, 3)]


def _second_user(net, x):
    mid = net.relu(net.dw(x))
    return net.add(net.pw(mid, 4), net.silu(mid))


def _second_user_before_the_bias(net, x):
    raw = net.dw(x)
    return net.add(net.pw(net.bias(raw), 4), net.silu(raw))


def _intermediate_is_output(net, x):
    mid = net.relu(net.dw(x))
    return [net.pw(mid, 6), mid]


def _intermediate_is_named_output(net, x):
    mid = net.builder.emit_output(net.relu(net.dw(x)))
    return net.pw(mid, 4)


def _squeeze_excite_between(net, x):
    return net.pw(net.squeeze_excite(net.dw(x)), 4)


def _leaky_relu_between(net, x):
    return net.pw(net.emit(relax.op.nn.leakyrelu(net.dw(x))), 4)


def _residual_between(net, x):
    return net.pw(net.add(net.dw(x), x), 4)


def _strided_1x1(net, x):
    return net.pw(net.dw(x), 4, strides=(2, 2))


def _padded_1x1(net, x):
    return net.pw(net.dw(x), 4, padding=(1, 1, 1, 1))


def _grouped_1x1(net, x):
    return net.pw(net.dw(x), 4, groups=2)


def _computed_weight(net, x):
    weight = net.emit(relax.op.zeros(net.arrange((4, 4, 1, 1)), "float32"))
    return net.pw(net.dw(x), 4, weight=weight)


def _computed_bias(net, x):
    bias = net.emit(relax.op.zeros(net.arrange((1, 4, 1, 1)), "float32"))
    return net.pw(net.add(net.dw(x), bias), 4)


def _bias_along_the_width(net, x):
    return net.pw(net.add(net.dw(x), net.constant(*net.arrange((1, 1, 1, 7)))), 4)


def _clip_at_other_bounds(net, x):
    return net.pw(net.emit(relax.op.clip(net.dw(x), 0, 5)), 4)


def _pointwise_pair(net, x):
    return net.pw(net.relu(net.pw(x, 8)), 4)


NOT_BLOCKS = [
    _second_user,
    _second_user_before_the_bias,
    _intermediate_is_output,
    _intermediate_is_named_output,
    _squeeze_excite_between,
    _leaky_relu_between,
    _residual_between,
    _strided_1x1,
    _padded_1x1,
    _grouped_1x1,
    _computed_weight,
    _computed_bias,
    _bias_along_the_width,
    _clip_at_other_bounds,
    _pointwise_pair,
]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("body", NOT_BLOCKS, ids=lambda body: body.__name__.strip("_"))
def test_not_fused(layout, body):
    before = Net(layout).build(SHAPE, body)
    assert_structural_equal(FuseSeparableBlocks()(before), before)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_through_batch_norm(layout):
    """Unfolded it stands between the stages; the folding pass in front makes it their weights and biases."""

    def body(net, x):
        return net.batch_norm(net.pw(net.relu6(net.batch_norm(net.dw(x))), 6))

    net = Net(layout)
    before = net.build(SHAPE, body)
    assert_structural_equal(FuseSeparableBlocks()(before), before)
    after = tvm.transform.Sequential([FoldBatchNorm(), FuseSeparableBlocks()])(before)
    block = composite_block(composites(after)["fused_dwpw"])
    assert [stage.epilogue for stage in block.stages] == [("bias", "relu6"), ("bias",)]
    assert operators(after) == []
    x = net.random.normal(size=net.arrange(SHAPE)).astype("float32")
    np.testing.assert_allclose(run(after, x)[0], run(before, x)[0], rtol=1e-4, atol=1e-5)


def test_symbolic_batch_is_not_fused():
    @I.ir_module
    class Dynamic:
        @R.function
        def main(x: R.Tensor(("n", 4, 8, 8), "float32")):
            with R.dataflow():
                dw = R.nn.conv2d(x, R.const(DW), groups=4)
                gv = R.nn.conv2d(dw, R.const(PW))
                R.output(gv)
            return gv

    assert_structural_equal(FuseSeparableBlocks()(Dynamic), Dynamic)


def test_no_block_across_two_dataflow_blocks():
    @I.ir_module
    class TwoBlocks:
        @R.function
        def main(x: R.Tensor((1, 4, 8, 8), "float32")):
            with R.dataflow():
                dw = R.nn.conv2d(x, R.const(DW), groups=4)
                R.output(dw)
            with R.dataflow():
                gv = R.nn.conv2d(dw, R.const(PW))
                R.output(gv)
            return gv

    assert_structural_equal(FuseSeparableBlocks()(TwoBlocks), TwoBlocks)


def test_residual_that_needs_the_block_stays_outside():
    """Its operand comes from the intermediate; taken in, the composite would need its own result."""

    def body(net, x):
        out = net.pw(net.dw(x), 4)
        return net.add(out, net.silu(out))

    after = FuseSeparableBlocks()(Net().build(SHAPE, body))
    relax.analysis.well_formed(after)
    assert composite_block(composites(after)["fused_dwpw"]).stages[1].epilogue == ()


def test_call_stands_behind_a_residual_computed_after_the_block_began():
    def body(net, x):
        mid = net.dw(x)
        shortcut = net.emit(relax.op.nn.leakyrelu(x))
        return net.add(net.pw(mid, 4), shortcut)

    net = Net()
    before = net.build(SHAPE, body)
    after = FuseSeparableBlocks()(before)
    relax.analysis.well_formed(after)
    assert composite_block(composites(after)["fused_dwpw"]).stages[1].epilogue == ("add",)
    x = np.random.default_rng(1).normal(size=SHAPE).astype("float32")
    np.testing.assert_allclose(run(after, x)[0], run(before, x)[0], rtol=1e-5, atol=1e-5)


def test_add_of_two_blocks_goes_to_the_later_one():
    def body(net, x):
        return net.add(net.pw(net.dw(x), 4), net.pw(net.dw(x), 4))

    after = FuseSeparableBlocks()(Net().build(SHAPE, body))
    blocks = [composite_block(func).stages[1].epilogue for func in composites(after).values()]
    assert blocks == [(), ("add",)]


def _one_epilogue(body, shape=(1, 4, 5, 5)) -> tuple[str, ...]:
    (composite,) = composites(FuseConvolutions()(Net().build(shape, body))).values()
    return composite_block(composite).stages[0].epilogue


def test_add_of_a_smaller_tensor_is_no_residual():
    def body(net, x):
        mean = net.emit(relax.op.mean(x, axis=[2, 3], keepdims=True))
        return net.add(net.conv(x, 4, 3), mean)

    assert _one_epilogue(body) == ()


def test_add_that_widens_the_result_is_no_bias():
    def body(net, x):
        return net.add(net.conv(x, 1, 3), net.constant(1, 6, 1, 1))

    assert _one_epilogue(body) == ()


def test_one_bias_and_one_residual_a_stage():
    assert _one_epilogue(lambda net, x: net.relu(net.bias(net.bias(net.conv(x, 4, 3))))) == ("bias",)
    assert _one_epilogue(lambda net, x: net.add(net.add(net.conv(x, 4, 3), x), x)) == ("add",)


def test_a_gate_that_somebody_else_reads_stays_outside():
    def body(net, x):
        wide = net.conv(x, 4, 3)
        gate = net.hardsigmoid(wide)
        return [net.emit(relax.op.multiply(wide, gate)), net.relu(gate)]

    assert _one_epilogue(body) == ()


def test_a_part_of_an_activation_that_is_an_output_stays_outside():
    def body(net, x):
        scaled = net.emit(relax.op.multiply(net.conv(x, 4, 3), relax.const(1 / 6, "float32")))
        shifted = net.builder.emit_output(relax.op.add(scaled, relax.const(0.5, "float32")))
        return net.emit(relax.op.clip(shifted, 0, 1))

    assert _one_epilogue(body) == ()


def _chain(kinds: str):
    def body(net, x):
        for i in range(0, len(kinds), 2):
            x = net.relu(net.dw(x) if kinds[i : i + 2] == "dw" else net.pw(x, 4 + i))
        return x

    return Net().build(SHAPE, body)


@pytest.mark.parametrize(
    ("kinds", "resolve", "expected"),
    [
        ("dwpwdwpw", program_order, ["dwpw", "dwpw"]),
        ("dwpwdwpw", prefer("pwdw"), ["pwdw"]),
        ("dwpwdwpw", prefer("pwdwpw"), ["pwdwpw"]),
        ("dwpwpwdwpw", program_order, ["dwpw", "pwdwpw"]),
        ("pwdwpwdwpw", program_order, ["pwdwpw", "dwpw"]),
        ("pwdwpwdwpw", prefer("dwpw"), ["dwpw", "dwpw"]),
        ("pwdwpwdwpw", prefer("pwdw", "dwpw"), ["pwdw", "pwdw"]),
        ("pwdwpwdw", prefer("dwpw"), ["dwpw"]),
        ("pwdwpwdw", prefer("pwdw"), ["pwdw", "pwdw"]),
        ("dwpwdwpw", lambda matches: [], []),
        ("dwpwdwpw", lambda matches: matches[:1], ["dwpw"]),
        ("pwdwpwdw", lambda matches: keep_disjoint(reversed(matches)), ["pwdw", "pwdw"]),
    ],
)
def test_resolve(kinds, resolve, expected):
    after = FuseSeparableBlocks(resolve=resolve)(_chain(kinds))
    relax.analysis.well_formed(after)
    calls = fused_calls(after)
    assert [name.removeprefix("fused_").rstrip("0123456789") for name in calls] == expected
    assert len(set(calls)) == len(expected)


def test_default_rule_is_program_order():
    mod = _chain("pwdwpwdwpw")
    assert_structural_equal(FuseSeparableBlocks()(mod), FuseSeparableBlocks(program_order)(mod))
    assert_structural_equal(FuseSeparableBlocks()(mod), FuseSeparableBlocks(prefer())(mod))


def test_resolve_must_not_return_overlapping_blocks():
    with pytest.raises(ValueError, match="overlap"):
        FuseSeparableBlocks(resolve=lambda matches: matches)(_chain("dwpwdwpw"))


def test_prefer_names_an_unknown_order():
    with pytest.raises(ValueError, match="unknown order 'pwpw'; known: dwpw, pwdw, pwdwpw"):
        prefer("pwpw")


def test_names_are_numbered_in_program_order():
    after = FuseConvolutions()(FuseSeparableBlocks()(_chain("pwpwdwpwdwpw")))
    assert fused_calls(after) == ["fused_pw", "fused_pwdwpw", "fused_dwpw"]
    many = FuseSeparableBlocks()(_chain("dwpwdwpwdwpw"))
    assert fused_calls(many) == ["fused_dwpw", "fused_dwpw1", "fused_dwpw2"]
