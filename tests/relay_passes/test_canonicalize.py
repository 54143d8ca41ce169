"""The canonical form of real networks, and that it computes the same."""

from __future__ import annotations

import functools
import itertools

import pytest
import tvm
from tvm import relax

from relay_passes import canonicalize_passes
from tests.tvm_dwfuse.frontend.onnx_net import assert_close, operators, random_inputs, run_onnxruntime, run_tvm
from tvm_dwfuse import zoo
from tvm_dwfuse.frontend import import_onnx

COMMON = {"conv2d", "add", "mean", "reshape", "matmul"}
OPERATORS = {
    "mobilenet_v1_0.25_128": {*COMMON, "clip", "permute_dims"},
    "mobilenet_v2_0.35_96": {*COMMON, "clip", "permute_dims"},
    "mobilenet_v3_small_1.0_224": {*COMMON, "clip", "relu", "multiply", "permute_dims"},
    "efficientnet_b0_224": {*COMMON, "silu", "sigmoid", "multiply", "permute_dims"},
    "ds_cnn_s": {*COMMON, "relu"},
}


@functools.cache
def canonical(name: str, opset: int = 17) -> tvm.IRModule:
    return tvm.transform.Sequential(canonicalize_passes())(import_onnx(zoo.build(name, opset=opset)))


@pytest.mark.parametrize("name", OPERATORS)
def test_network_consists_of_canonical_operators(name: str) -> None:
    module = canonical(name)
    names = operators(module)
    convolutions = sum(node.op_type == "Conv" for node in zoo.build(name).graph.node)
    assert {operator.split(".")[-1] for operator in names} == OPERATORS[name]
    assert names.count("relax.nn.conv2d") == convolutions
    assert names.count("relax.permute_dims") == (0 if name == "ds_cnn_s" else 1)
    assert [gv.name_hint for gv in module.get_global_vars()] == ["main"]


def test_layouts_are_nhwc_and_ohwi_and_bias_is_one_addition() -> None:
    bindings = canonical("mobilenet_v2_0.35_96")["main"].body.blocks[0].bindings
    for convolution, bias in itertools.pairwise(bindings):
        call = convolution.value
        if not isinstance(call, relax.Call) or call.op.name != "relax.nn.conv2d":
            continue
        attrs = call.attrs
        assert (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) == ("NHWC", "OHWI", "NHWC")
        assert bias.value.op.name == "relax.add"
        assert bias.value.args[0].same_as(convolution.var)
        channels = int(call.ty.shape.values[3])
        assert [int(size) for size in bias.value.args[1].ty.shape] == [1, 1, 1, channels]


@pytest.mark.parametrize(
    ("name", "opset"), [("mobilenet_v1_0.25_128", 9), ("mobilenet_v2_0.35_96", 13), ("ds_cnn_s", 21)]
)
def test_network_computes_what_onnxruntime_computes(name: str, opset: int) -> None:
    module = canonical(name, opset)
    inputs = random_inputs(module)
    (actual,), (expected,) = run_tvm(module, inputs), run_onnxruntime(zoo.build(name, opset=opset), inputs)
    assert_close(actual, expected)


def test_form_is_final() -> None:
    """The passes find nothing to do in what they made."""
    module = canonical("mobilenet_v3_small_1.0_224")
    tvm.ir.assert_structural_equal(tvm.transform.Sequential(canonicalize_passes())(module), module)


def test_passes_leave_the_module_given_as_it_is() -> None:
    module = import_onnx(zoo.build("ds_cnn_s"))
    before = module.script()
    tvm.transform.Sequential(canonicalize_passes())(module)
    assert module.script() == before
