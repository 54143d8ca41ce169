from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, tirx

from relay_passes import LowerDepthwiseTraining, find_depthwise
from tests.relay_passes.modules import assert_left_alone, build
from tests.relay_passes.training_graphs import (
    convolution,
    gradient_of,
    random_values,
    reference_gradients,
    training_graph,
)
from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.pipeline import build_training_pipeline
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.training.dilated_gradient import register_dilated_gradient

register_dilated_gradient()

CONV = Depthwise(4, 7, 8, stride=(2, 2), padding=(1, 1, 1, 1), batch=2)
LOWER = LowerDepthwiseTraining(host_target())


def calls(func: relax.Function) -> list[str]:
    """What a function calls, in order: operators, and the kernels of ``call_tir``."""
    values = [binding.value for block in func.body.blocks for binding in block.bindings]
    names = []
    for call in (value for value in values if isinstance(value, relax.Call)):
        is_kernel = call.op == tvm.ir.Op.get("relax.call_tir")
        names.append(call.args[0].name_hint if is_kernel else call.op.name.removeprefix("relax."))
    return names


def kernel_calls(mod: tvm.IRModule, function: str = "main_adjoint") -> list[str]:
    return [name for name in calls(mod[function]) if name.startswith("dw_")]


def gradients(mod: tvm.IRModule, values: list[np.ndarray], depthwise: bool) -> list[np.ndarray]:
    """What ``main_adjoint`` returns beside the loss, through the training pipeline."""
    machine = host_target()
    lowered = build_training_pipeline(machine, depthwise=depthwise)(mod)
    vm = relax.VirtualMachine(tvm.compile(lowered, machine.tvm_target(), relax_pipeline=None), tvm.cpu())
    _, results = vm["main_adjoint"](*map(tvm.runtime.tensor, values))
    return [result.numpy() for result in results]


@pytest.mark.parametrize(
    "conv",
    [
        CONV,
        Depthwise(4, 8, 8, padding=(1, 1, 1, 1), batch=2),
        Depthwise(4, 8, 8, stride=(2, 2), padding=(0, 0, 1, 1)),
        Depthwise(3, 9, 11, (5, 3), (3, 2), (2, 0, 1, 1), multiplier=2, batch=3),
        Depthwise(2, 11, 10, (3, 3), (2, 1), (2, 1, 3, 2), (2, 3)),
        Depthwise(2, 6, 6, padding=(4, 4, 4, 4)),
    ],
    ids=str,
)
def test_all_three_procedures_become_kernels(conv: Depthwise) -> None:
    lowered = LOWER(training_graph(conv, bias=(1, conv.out_channels, 1, 1)))
    size = f"{conv.kernel[0]}x{conv.kernel[1]}_{conv.channels}x{conv.height}x{conv.width}"
    assert [name for name in calls(lowered["main"]) if name not in ("reshape", "multiply", "sum")] == [
        f"dw_forward_bias_{size}"
    ]
    assert kernel_calls(lowered) == [
        f"dw_forward_bias_{size}",
        f"dw_backward_weight_bias_{size}",
        f"dw_backward_data_{size}",
    ]
    left = {"reshape", "multiply", "sum", "ones", "broadcast_to"}
    assert set(calls(lowered["main_adjoint"])) - set(kernel_calls(lowered)) == left
    assert relax.analysis.check_well_formed(lowered)


def test_what_matches_say() -> None:
    found = find_depthwise(training_graph(CONV, bias=(4, 1, 1))["main_adjoint"])
    assert [match.procedure for match in found] == ["forward", "backward_data", "backward_weight"]
    assert {match.conv for match in found} == {CONV}
    assert [match.bias for match in found] == [True, False, True]


def test_kernels_are_shared_and_left_alone_by_later_passes() -> None:
    def twice(emit, x, w, v, s):
        y = emit(convolution(emit(convolution(x, w, square)), v, square))
        return relax.op.sum(emit(relax.op.multiply(y, s)))

    square = Depthwise(4, 6, 6, padding=(1, 1, 1, 1))
    x, w = square.input_shape, square.weight_shape
    lowered = LOWER(gradient_of(build(twice, x=x, w=w, v=w, s=x)))
    assert len(kernel_calls(lowered)) == 6
    kernels = {gv.name_hint: func for gv, func in lowered.functions_items() if isinstance(func, tirx.PrimFunc)}
    assert set(kernels) == set(kernel_calls(lowered))
    assert len(kernels) == 3
    assert all(func.attrs["tirx.is_scheduled"] and func.attrs["op_pattern"] == 8 for func in kernels.values())


def test_without_bias() -> None:
    lowered = LOWER(training_graph(CONV))
    assert kernel_calls(lowered) == [
        "dw_forward_3x3_4x7x8",
        "dw_backward_data_3x3_4x7x8",
        "dw_backward_weight_3x3_4x7x8",
    ]


def test_a_convolution_read_twice_keeps_its_addition() -> None:
    def body(emit, x, w, b):
        y = emit(convolution(x, w, CONV))
        return [emit(relax.op.add(y, b)), y]

    shapes = {"x": CONV.input_shape, "w": CONV.weight_shape, "b": (1, 4, 1, 1)}
    assert calls(LOWER(build(body, **shapes))["main"]) == ["dw_forward_3x3_4x7x8", "add"]


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (4, 1), (1, 1, 4, 4), (1,), (2, 4, 1, 1)])
def test_an_addition_of_another_shape_is_no_bias(shape: tuple[int, ...]) -> None:
    def body(emit, x, w, b):
        return relax.op.add(emit(convolution(x, w, CONV)), b)

    module = build(body, x=CONV.input_shape, w=CONV.weight_shape, b=shape)
    assert calls(LOWER(module)["main"]) == ["dw_forward_3x3_4x7x8", "add"]


def weight_gradient(emit, x: relax.Expr, dy: relax.Expr, conv: Depthwise, **changes) -> relax.Var:
    """By hand what ``Gradient`` emits, with ``changes``."""
    n, c, h, w = conv.input_shape
    images = emit(relax.op.reshape(x, (n, c, 1, h, w)))
    images = emit(relax.op.permute_dims(images, changes.pop("axes", [1, 0, 2, 3, 4])))
    images = emit(relax.op.reshape(images, (n * c, 1, h, w)))
    attrs = {"strides": conv.dilation, "dilation": conv.stride, "padding": conv.padding, "groups": c} | changes
    layouts = {"data_layout": "CNHW", "kernel_layout": "IOHW", "out_layout": "CNHW"}
    return emit(relax.op.nn.conv2d(images, dy, **attrs, **layouts))


def test_a_sum_over_the_other_axes_is_the_gradient_of_a_bias() -> None:
    def body(emit, x, dy):
        return [emit(relax.op.sum(dy, [0, 3, 2])), weight_gradient(emit, x, dy, square)]

    square = Depthwise(4, 6, 6, padding=(1, 1, 1, 1))
    lowered = LOWER(build(body, x=square.input_shape, dy=square.output_shape))
    assert calls(lowered["main"]) == ["dw_backward_weight_bias_3x3_4x6x6"]


@pytest.mark.parametrize("axes", [[2, 3], [0, 1, 2, 3], None])
def test_another_sum_is_not(axes: list[int] | None) -> None:
    def body(emit, x, dy):
        return [emit(relax.op.sum(dy, axes)), weight_gradient(emit, x, dy, square)]

    square = Depthwise(4, 6, 6, padding=(1, 1, 1, 1))
    lowered = LOWER(build(body, x=square.input_shape, dy=square.output_shape))
    assert calls(lowered["main"]) == ["sum", "dw_backward_weight_3x3_4x6x6"]


def test_a_bias_gradient_in_front_of_an_operand_of_the_kernel_stays() -> None:
    def body(emit, x, dy):
        total = emit(relax.op.sum(dy, [0, 2, 3]))
        return [total, weight_gradient(emit, emit(relax.op.nn.relu(x)), dy, square)]

    square = Depthwise(4, 6, 6, padding=(1, 1, 1, 1))
    lowered = LOWER(build(body, x=square.input_shape, dy=square.output_shape))
    assert calls(lowered["main"]) == ["sum", "nn.relu", "dw_backward_weight_3x3_4x6x6"]


def test_a_slice_that_leaves_too_little_stays() -> None:
    """Of a 3x3 weight gradient 2x2 taps are taken: no depthwise convolution with 2x2 taps has so small an output."""

    def body(emit, x, dy):
        whole = weight_gradient(emit, x, dy, square)
        return relax.op.strided_slice(whole, [0, 1, 2, 3], [0, 0, 0, 0], [4, 1, 2, 2])

    square = Depthwise(4, 6, 6, padding=(1, 1, 1, 1))
    lowered = LOWER(build(body, x=square.input_shape, dy=square.output_shape))
    assert calls(lowered["main"]) == ["dw_backward_weight_3x3_4x6x6", "strided_slice"]


SQUARE = Depthwise(4, 6, 6, padding=(1, 1, 1, 1), batch=4)


def _conv(x: tuple[int, ...], w: tuple[int, ...], op=relax.op.nn.conv2d, **attrs) -> tvm.IRModule:
    return build(lambda emit, x, w: op(x, w, **attrs), x=x, w=w)


def _weight_gradient(**changes) -> tvm.IRModule:
    shapes = {"x": SQUARE.input_shape, "dy": SQUARE.output_shape}
    return build(lambda emit, x, dy: weight_gradient(emit, x, dy, SQUARE, **changes), **shapes)


def _symbolic() -> tvm.IRModule:
    x = relax.Var("x", relax.TensorType((tirx.Var("n", "int64"), 4, 6, 6), "float32"))
    w = relax.Var("w", relax.TensorType((4, 1, 3, 3), "float32"))
    return _function([x, w], relax.op.nn.conv2d(x, w, groups=4))


def _half() -> tvm.IRModule:
    x, w = (relax.Var(n, relax.TensorType(s, "float16")) for n, s in (("x", (2, 4, 6, 6)), ("w", (4, 1, 3, 3))))
    return _function([x, w], relax.op.nn.conv2d(x, w, groups=4))


def _function(params: list[relax.Var], result: relax.Expr) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            output = builder.emit_output(result)
        builder.emit_func_output(output)
    return builder.get()


IMAGE = (2, 4, 6, 6)
LEFT_ALONE: dict[str, Callable[[], tvm.IRModule]] = {
    "dense": lambda: _conv(IMAGE, (4, 4, 3, 3)),
    "grouped": lambda: _conv(IMAGE, (4, 2, 3, 3), groups=2),
    "one channel": lambda: _conv((2, 1, 6, 6), (4, 1, 3, 3)),
    "NHWC": lambda: _conv((2, 6, 6, 4), (3, 3, 1, 4), groups=4, data_layout="NHWC", kernel_layout="HWIO"),
    "symbolic": _symbolic,
    "float16": _half,
    "dense transposed": lambda: _conv(IMAGE, (4, 4, 3, 3), relax.op.nn.conv2d_transpose),
    "transposed with more outputs": lambda: _conv(IMAGE, (4, 2, 3, 3), relax.op.nn.conv2d_transpose, groups=4),
    "grouped transposed": lambda: _conv(IMAGE, (4, 2, 3, 3), relax.op.nn.conv2d_transpose, groups=2),
    "images not turned": lambda: _weight_gradient(axes=[0, 1, 2, 3, 4]),
    "dense gradient": lambda: gradient_of(
        build(lambda emit, x, w: relax.op.sum(emit(relax.op.nn.conv2d(x, w, padding=1))), x=IMAGE, w=(4, 4, 3, 3))
    ),
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_left_alone(case: str) -> None:
    assert_left_alone(LOWER, LEFT_ALONE[case]())


def test_functions_of_other_code_generators_are_left_alone() -> None:
    module = training_graph(CONV)
    for gv, func in module.functions_items():
        module[gv] = func.with_attr("Codegen", "other")
    assert_left_alone(LOWER, module)


@st.composite
def depthwise(draw: st.DrawFn) -> Depthwise:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, dilation = draw(st.sampled_from([(1, 1), (3, 3), (5, 5), (2, 3), (3, 5)])), pair(1, 2)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    height, width = (extent + draw(st.integers(0, 6)) for extent in reach)
    padding = (*pair(0, 2), *pair(0, 2))
    channels, multiplier, batch = draw(st.integers(2, 9)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Depthwise(channels, height, width, kernel, pair(1, 3), padding, dilation, multiplier, batch)


@settings(max_examples=7)
@given(depthwise())
def test_gradients_are_those_of_the_reference(conv: Depthwise) -> None:
    values = random_values(conv)
    bias = (1, conv.out_channels, 1, 1)
    arguments = [values["x"], values["w"], values["s"], values["b"].reshape(bias)]
    expected = reference_gradients(conv, values)
    graph = training_graph(conv, bias)
    for depthwise in (True, False):
        for name, actual in zip("xwb", gradients(graph, arguments, depthwise), strict=True):
            scale = max(1.0, np.abs(expected[name]).max())
            np.testing.assert_allclose(actual.reshape(expected[name].shape) / scale, expected[name] / scale, atol=2e-6)
