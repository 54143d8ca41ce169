from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.relax import transform

from relay_passes import ChooseVariants, FuseConvolutions, FuseSeparableBlocks, LowerComposites, prefer_variant
from schedules import build_kernel
from tests.blocks import pointwise
from tests.relay_passes.networks import Net, composites, fused_calls, operators, run
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.variants import VARIANTS

SHAPE = (2, 8, 9, 10)


def input_for(net: Net, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(net.arrange(shape)).astype(np.float32)


def lower(mod: tvm.IRModule, fuse: bool = True, variant: str | None = None, threads: int = 1) -> tvm.IRModule:
    choose = [ChooseVariants(prefer_variant(variant))] if variant else [ChooseVariants()]
    passes = [*([FuseSeparableBlocks()] if fuse else []), FuseConvolutions(), *choose]
    return tvm.transform.Sequential([*passes, LowerComposites(host_target(), threads)])(mod)


def kernels(mod: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    return {gv.name_hint: func for gv, func in mod.functions_items() if isinstance(func, tirx.PrimFunc)}


def kernel_calls(mod: tvm.IRModule) -> list[relax.Call]:
    bindings = [binding for block in mod["main"].body.blocks for binding in block.bindings]
    return [
        binding.value
        for binding in bindings
        if isinstance(binding.value, relax.Call) and binding.value.op == tvm.ir.Op.get("relax.call_tir")
    ]


def assert_same_results(mod: tvm.IRModule, lowered: tvm.IRModule, *inputs: np.ndarray) -> None:
    for actual, expected in zip(run(lowered, *inputs), run(mod, *inputs), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def separable(net: Net, x: relax.Expr) -> relax.Expr:
    x = net.relu6(net.bias(net.pw(net.hardswish(net.bias(net.dw(x, strides=(2, 2)))), 12)))
    return net.relu(net.dw(net.relu(net.bias(net.pw(x, 20))), 5))


def inverted_residual(net: Net, x: relax.Expr) -> relax.Expr:
    return net.add(net.bias(net.pw(net.relu6(net.dw(net.relu6(net.bias(net.pw(x, 24))))), 8)), x)


def squeeze_excite_net(net: Net, x: relax.Expr) -> relax.Expr:
    return net.relu(net.pw(net.squeeze_excite(net.relu(net.conv(x, 12, 3, strides=(2, 2)))), 5))


BODIES = {body.__name__: body for body in (separable, inverted_residual, squeeze_excite_net)}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_results_are_those_of_tvms_own_operators(body, layout: str, threads: int) -> None:
    net = Net(layout)
    mod = net.build(SHAPE, body)
    lowered = lower(mod, threads=threads)
    assert not composites(lowered)
    assert_same_results(mod, lowered, input_for(net))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_asked_for(name: str) -> None:
    net = Net("NHWC" if "_hwc_" in name.replace("chw_hwc_chw", "") else "NCHW")
    body = {"dwpw": separable, "pwdw": separable, "pwdwpw": inverted_residual}[name.split("_")[0]]
    mod = net.build(SHAPE, body)
    lowered = lower(mod, variant=name)
    assert any(kernel.startswith(name) for kernel in kernels(lowered))
    assert_same_results(mod, lowered, input_for(net))


def test_composites_become_kernels_marked_as_scheduled_and_opaque() -> None:
    net = Net("NHWC")
    lowered = lower(net.build(SHAPE, separable))
    assert fused_calls(lowered) == []
    assert operators(lowered) == ["relax.call_tir"] * 2
    assert not composites(lowered)
    functions = kernels(lowered)
    assert len(functions) == 2
    for name, func in functions.items():
        assert name.startswith(("dwpw_hwc_hwc_hwc_rows", "pwdw_hwc_hwc_hwc_channels"))
        assert bool(func.attrs["tirx.is_scheduled"])
        assert int(func.attrs["op_pattern"]) == 8


def test_a_lowered_block_is_a_call_of_its_kernel_with_packed_weights() -> None:
    """Before and after, spelled out for one pointwise convolution."""
    net = Net("NHWC")
    weight = net.random.normal(0, 1, (12, 1, 1, 8)).astype("float32")
    mod = net.build(SHAPE, lambda net, x: net.relu(net.pw(x, 12, weight=relax.const(weight))))
    lowered = lower(mod)

    block = Block((pointwise(8, 12, ("relu",)),), 2, 9, 10)
    kernel = build_kernel(block, None, host_target())
    packed = kernel.pack("w0", weight.transpose(0, 3, 1, 2))
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 9, 10, 8), "float32"))
    attrs = {"op_pattern": 8, "tirx.is_scheduled": True, "dwfuse.kernel_block": block.to_json()}
    func = kernel.func.without_attr("global_symbol").with_attr(attrs)
    (name,) = kernels(lowered)
    gv = builder.add_func(func, name)
    with builder.function("main", [x]):
        with builder.dataflow():
            call = relax.call_tir(gv, [x, relax.const(packed)], relax.TensorType((2, 9, 10, 12), "float32"))
            result = builder.emit_output(call)
        builder.emit_func_output(result)
    tvm.ir.assert_structural_equal(transform.CanonicalizeBindings()(lowered), builder.get())


def test_equal_blocks_share_one_kernel_and_keep_their_own_weights() -> None:
    def twice(net: Net, x: relax.Expr) -> relax.Expr:
        for _ in range(2):
            x = net.relu(net.bias(net.pw(net.relu(net.bias(net.dw(x))), 8)))
        return x

    net = Net("NHWC")
    mod = net.build(SHAPE, twice)
    lowered = lower(mod)
    first, second = kernel_calls(lowered)
    assert first.args[0] == second.args[0]
    assert len(kernels(lowered)) == 1
    assert_same_results(mod, lowered, input_for(net))


def test_blocks_that_differ_have_kernels_of_their_own() -> None:
    def both(net: Net, x: relax.Expr) -> relax.Expr:
        return net.relu6(net.bias(net.pw(net.relu(net.bias(net.pw(x, 8))), 8)))

    assert len(kernels(lower(Net("NHWC").build(SHAPE, both)))) == 2


def test_a_residual_is_passed_to_the_kernel() -> None:
    lowered = lower(Net("NHWC").build(SHAPE, inverted_residual))
    (call,) = kernel_calls(lowered)
    assert operators(lowered) == ["relax.call_tir"]
    arguments = list(call.args[1])
    assert sum(argument == lowered["main"].params[0] for argument in arguments) == 2


def test_a_dense_layer_is_one_row_of_pixels() -> None:
    def dense(net: Net, x: relax.Expr) -> relax.Expr:
        flat = net.emit(relax.op.reshape(x, (5, 12)))
        product = net.emit(relax.op.matmul(flat, net.constant(12, 7)))
        return net.emit(relax.op.add(product, net.constant(7)))

    net = Net("NHWC")
    mod = net.build((5, 12, 1, 1), dense)
    lowered = lower(mod)
    (call,) = kernel_calls(lowered)
    assert [int(extent) for extent in call.ty_args[0].shape] == [1, 1, 5, 7]
    assert_same_results(mod, lowered, input_for(net, (5, 12, 1, 1)))


def test_pixels_of_a_batch_are_one_row() -> None:
    net = Net("NHWC")
    mod = net.build((3, 8, 1, 1), lambda net, x: net.hardsigmoid(net.bias(net.pw(x, 20))))
    lowered = lower(mod)
    (call,) = kernel_calls(lowered)
    assert [int(extent) for extent in call.ty_args[0].shape] == [1, 1, 3, 20]
    assert_same_results(mod, lowered, input_for(net, (3, 8, 1, 1)))


def stem_after_layout_change(channels: int):
    def body(net: Net, x: relax.Expr) -> relax.Expr:
        net.layout = "NHWC"
        x = net.emit(relax.op.permute_dims(x, [0, 2, 3, 1]))
        return net.relu(net.bias(net.conv(x, 16, 3, strides=(2, 2))))

    return body


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stem_reads_the_networks_input_as_it_is(threads: int) -> None:
    net = Net("NCHW")
    mod = net.build((1, 3, 11, 12), stem_after_layout_change(3))
    lowered = lower(mod, threads=threads)
    assert operators(lowered) == ["relax.call_tir"]
    x = np.random.default_rng(0).standard_normal((1, 3, 11, 12)).astype("float32")
    assert_same_results(mod, lowered, x)


def test_with_many_channels_the_layout_change_stays() -> None:
    mod = Net("NCHW").build((1, 16, 11, 12), stem_after_layout_change(16))
    assert operators(lower(mod)) == ["relax.permute_dims", "relax.call_tir"]


def test_another_permutation_is_no_layout_change() -> None:
    def body(net: Net, x: relax.Expr) -> relax.Expr:
        net.layout = "NHWC"
        x = net.emit(relax.op.permute_dims(x, [0, 3, 2, 1]))
        return net.relu(net.conv(x, 16, 3))

    mod = Net("NCHW").build((1, 3, 11, 12), body)
    lowered = lower(mod)
    assert operators(lowered) == ["relax.permute_dims", "relax.call_tir"]
    assert_same_results(mod, lowered, np.random.default_rng(0).standard_normal((1, 3, 11, 12)).astype("float32"))


def nobodys_block(net: Net, x: relax.Expr) -> relax.Expr:
    """A triple whose depthwise convolution jumps over rows: by rows it cannot be walked."""
    attrs = {"padding": (0, 0, 0, 0), "strides": (2, 2)}
    return net.relu(net.bias(net.pw(net.relu(net.dw(net.relu(net.pw(x, 12)), 1, **attrs)), 8)))


@pytest.mark.parametrize(
    ("layout", "body"), [("NCHW", inverted_residual), ("NHWC", nobodys_block)], ids=["chw_triple", "skipped_rows"]
)
def test_a_block_that_no_variant_computes_is_opened_again(layout: str, body) -> None:
    net = Net(layout)
    mod = net.build(SHAPE, body)
    lowered = lower(mod)
    assert not composites(lowered)
    assert "relax.nn.conv2d" in operators(lowered)
    rest = [
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
    ]
    assert_same_results(mod, tvm.transform.Sequential(rest)(lowered), input_for(net))


def test_the_module_given_stays_as_it_is() -> None:
    mod = tvm.transform.Sequential([FuseSeparableBlocks(), ChooseVariants()])(Net("NHWC").build(SHAPE, separable))
    again = mod.clone()
    LowerComposites(host_target())(mod)
    tvm.ir.assert_structural_equal(mod, again)


def test_a_module_without_composites_stays_as_it_is() -> None:
    mod = Net("NHWC").build(SHAPE, lambda net, x: net.relu(net.add(x, x)))
    tvm.ir.assert_structural_equal(LowerComposites(host_target())(mod), mod)
