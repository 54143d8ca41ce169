"""Which integer layers become composites, what stays with TVM, and how regions are cut and named."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from relay_passes import PartitionForCluster, region_options, regions
from tests.relay_passes.integer_networks import IntegerNet, mobile_net, uint8_input
from tests.relay_passes.networks import fused_calls, operators, run
from tvm_dwfuse.errors import DwfuseError

SHAPE = (1, 12, 13, 3)


def kinds(region: relax.Function) -> list[str]:
    """Kinds of the composites of a region, in order."""
    values = [binding.value for block in region.body.blocks for binding in block.bindings]
    return [str(value.attrs["Composite"]) for value in values if isinstance(value, relax.Function)]


def test_a_network_becomes_one_region() -> None:
    mod = IntegerNet().build(SHAPE, mobile_net)
    after = PartitionForCluster("gap8")(mod)
    assert fused_calls(after) == ["gap8_0"]
    assert operators(after) == []
    (region,) = regions(after)
    assert region.attrs["Codegen"] == "gap8"
    assert region.attrs["global_symbol"] == "gap8_0"
    conv = "gap8.int8_conv2d"
    assert kinds(region) == [
        *[conv] * 6, "gap8.int8_add", conv, "gap8.int8_average_pool", conv, "gap8.relabel"
    ]  # fmt: skip
    relax.analysis.well_formed(after)  # raises if not
    assert "gap8_0" not in [gv.name_hint for gv in mod.get_global_vars()]


def test_the_partitioned_network_computes_the_same() -> None:
    mod, x = IntegerNet().build(SHAPE, mobile_net), uint8_input(SHAPE)
    (expected,) = run(mod, x)
    inlined = relax.transform.LegalizeOps()(_inlined(PartitionForCluster()(mod)))
    (actual,) = run(inlined, x)
    assert expected.std() > 20
    np.testing.assert_array_equal(actual, expected)


def _inlined(mod: tvm.IRModule) -> tvm.IRModule:
    """The regions, and in them the composites, written out again in ``main``."""
    builder = relax.BlockBuilder()
    main = mod["main"]

    def emit(func: relax.Function, args: list[relax.Expr]) -> relax.Expr:
        values = dict(zip(func.params, args, strict=True))
        inner: dict[relax.Var, relax.Function] = {}
        for block in func.body.blocks:
            for binding in block.bindings:
                value = binding.value
                if isinstance(value, relax.Function):
                    inner[binding.var] = value
                    continue
                if isinstance(value, relax.Var):
                    values[binding.var] = values[value]
                    continue
                operands = [values.get(arg, arg) if isinstance(arg, relax.Var) else arg for arg in value.args]
                callee = inner.get(value.op) or (mod[value.op] if isinstance(value.op, relax.GlobalVar) else None)
                call = relax.Call(value.op, operands, value.attrs, value.ty_args)
                values[binding.var] = emit(callee, operands) if callee else builder.emit(call)
        return values[func.body.body]

    with builder.function("main", list(main.params)):
        with builder.dataflow():
            result = builder.emit_output(emit(main, list(main.params)))
        builder.emit_func_output(result)
    return builder.get()


def test_what_no_kernel_computes_splits_the_regions() -> None:
    def body(net: IntegerNet, x: relax.Var) -> relax.Var:
        x = net.conv(x, 4)
        x = net.emit(relax.op.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC"))
        return net.conv(x, 5)

    after = PartitionForCluster()(IntegerNet().build(SHAPE, body))
    assert fused_calls(after) == ["gap8_0", "gap8_1"]
    assert operators(after) == ["relax.nn.max_pool2d"]
    assert [kinds(region) for region in regions(after)] == [["gap8.int8_conv2d"]] * 2


def test_pad_belongs_to_its_convolution_alone() -> None:
    def body(net: IntegerNet, x: relax.Var) -> relax.Var:
        return net.conv(net.emit(relax.op.nn.pad(x, [0, 0, 1, 1, 1, 1, 0, 0], pad_mode="reflect")), 4, 3)

    after = PartitionForCluster()(IntegerNet().build(SHAPE, body))
    assert operators(after) == ["relax.nn.pad"]
    assert len(regions(after)) == 1


def grouped(net: IntegerNet, x: relax.Var) -> relax.Var:
    weight = relax.const(np.ones((4, 1, 1, 2), "int8"))
    x = net.conv(x, 4)
    options = {"data_layout": "NHWC", "kernel_layout": "OHWI", "out_dtype": "int32"}
    return net.requantize(net._scaled(net.emit(relax.op.nn.conv2d(x, weight, groups=2, **options)), 4, 10.0))


def other_clip(net: IntegerNet, x: relax.Var) -> relax.Var:
    total = net.emit(relax.op.sum(net.emit(relax.op.astype(x, "int32")), axis=[1, 2], keepdims=True))
    scaled = net.emit(relax.op.add(net.emit(relax.op.multiply(total, net._by_channel([3]))), net._by_channel([7])))
    shifted = net.emit(relax.op.right_shift(scaled, relax.const(9, "int32")))
    return net.emit(relax.op.astype(net.emit(relax.op.clip(shifted, 0, 127)), "uint8"))


def sum_of_rows(net: IntegerNet, x: relax.Var) -> relax.Var:
    total = net.emit(relax.op.sum(net.emit(relax.op.astype(x, "int32")), axis=[1], keepdims=True))
    scaled = net.emit(relax.op.multiply(total, net._by_channel([3])))
    return net.requantize(net.emit(relax.op.add(scaled, net._by_channel([7]))), 6)


@pytest.mark.parametrize(
    "body",
    [
        lambda net, x: net.conv(x, 4, 3, dilation=2),
        lambda net, x: net.reshape(x, (1, 12 * 13 * 3)),
        grouped,
        other_clip,
        sum_of_rows,
    ],
    ids=["dilation", "flatten", "groups", "clip", "sum of rows"],
)
def test_left_with_tvm(body) -> None:
    mod = IntegerNet().build(SHAPE, lambda net, x: body(net, net.conv(x, 3)))
    after = PartitionForCluster()(mod)
    assert len(regions(after)) == 1
    assert set(operators(after)) & {"relax.nn.conv2d", "relax.reshape", "relax.sum"}


def test_branches_that_meet_are_one_region() -> None:
    def body(net: IntegerNet, x: relax.Var) -> tuple[relax.Var, relax.Var]:
        x = net.conv(x, 4)
        left, right = net.conv(x, 4), net.conv(x, 4)
        return left, net.add(left, right)

    (region,) = regions(PartitionForCluster()(IntegerNet().build(SHAPE, body)))
    assert len(kinds(region)) == 4


def test_options_travel_with_the_regions() -> None:
    mod = IntegerNet().build(SHAPE, lambda net, x: net.conv(x, 4))
    options = {"objective": "traffic", "variant": "none", "l1_bytes": 16384}
    (region,) = regions(PartitionForCluster("pulp-open", **options)(mod))
    found = region_options(region)
    assert (found.target, found.objective, found.variant) == ("pulp-open", "traffic", "none")
    assert found.machine().l1_bytes == 16384


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "toaster"}, "unknown target 'toaster'; known: gap8, pulp-open"),
        ({"objective": "beauty"}, "unknown objective 'beauty'; known: latency, traffic"),
        ({"variant": "dwpw_fast"}, "unknown variant 'dwpw_fast'"),
        ({"l1_bytes": 10**6}, "L1 of 1000000 bytes"),
        ({"threads": 8}, "unknown option 'threads'"),
    ],
)
def test_options_that_are_not(options: dict, words: str) -> None:
    with pytest.raises(DwfuseError, match=words):
        PartitionForCluster(**options)
