"""``relax.ext.gap8`` inside of TVM: a partitioned network runs in the virtual machine, its neighbours by LLVM."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from relay_passes import PartitionForCluster, regions
from tests.relay_passes.integer_networks import IntegerNet, mobile_net, uint8_input
from tests.relay_passes.networks import run
from tvm_dwfuse import linker
from tvm_dwfuse.codegen_gap8 import byoc
from tvm_dwfuse.codegen_gap8.reader import read_region
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.quantization import run_network

SHAPE = (1, 12, 13, 3)


def generated(mod: tvm.IRModule, **options) -> tvm.IRModule:
    """The module with its regions compiled."""
    return relax.transform.RunCodegen({"gap8": options} if options else None)(PartitionForCluster()(mod))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "traffic", "l1_bytes": 4000},
        {"variant": "none", "double_buffer": False},
        {"variant": "dwpw_hwc_hwc_hwc_rows"},
        {"variant": "pwdw_hwc_chw_hwc_channels", "target": "pulp-open"},
        {"variant": "pwdwpw_hwc_hwc_hwc_rows"},
    ],
    ids=lambda options: options.get("variant", "chosen"),
)
def test_a_network_bit_for_bit(options: dict) -> None:
    mod = IntegerNet().build(SHAPE, mobile_net)
    network = read_region(regions(PartitionForCluster()(mod))[0])
    after = generated(mod, **options)
    for seed in range(2):
        x = uint8_input(SHAPE, seed)
        (actual,) = run(after, x)
        expected = run_network(network, {"x": x})["dense"]
        np.testing.assert_array_equal(actual.reshape(-1), expected.reshape(-1))
        assert expected.std() > 20


def test_options_of_the_pass_choose_the_code() -> None:
    mod = IntegerNet().build(SHAPE, mobile_net)
    (fused,) = regions(PartitionForCluster()(mod))
    (unfused,) = regions(PartitionForCluster(variant="none")(mod))
    assert "gap8_0_g00_pwdwpw" not in byoc.c_source(unfused)
    assert byoc.c_source(fused, {"variant": "none"}) == byoc.c_source(unfused)
    assert byoc.c_source(fused, {"variant": "pwdwpw_hwc_hwc_hwc_rows"}) != byoc.c_source(unfused)


def test_regions_among_operators_of_tvm() -> None:
    def body(net: IntegerNet, x: relax.Var) -> tuple[relax.Var, ...]:
        x = net.conv(x, 4)
        pooled = net.emit(relax.op.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC"))
        left, right = net.conv(pooled, 5), net.conv(pooled, 5, 3, 1, (1, 1, 1, 1), zero_point=9)
        return left, net.add(left, right), x

    mod, x = IntegerNet().build(SHAPE, body), uint8_input(SHAPE)
    for actual, expected in zip(run(generated(mod), x), run(mod, x), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_an_input_handed_through() -> None:
    mod = IntegerNet().build((1, 1, 1, 6), lambda net, x: net.reshape(x, (1, 6)))
    x = uint8_input((1, 1, 1, 6))
    (actual,) = run(generated(mod), x)
    np.testing.assert_array_equal(actual, x.reshape(1, 6))


def test_an_exported_library(tmp_path) -> None:
    mod, x = IntegerNet().build(SHAPE, mobile_net), uint8_input(SHAPE)
    path = tmp_path / "network.so"
    tvm.compile(generated(mod), target="llvm").export_library(str(path), fcompile=linker.link)
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    np.testing.assert_array_equal(machine["main"](tvm.runtime.tensor(x)).numpy(), run(mod, x)[0])


def test_the_pipeline_by_its_name() -> None:
    import tvm_dwfuse.pipeline  # noqa: F401  # registers it

    mod, x = IntegerNet().build(SHAPE, mobile_net), uint8_input(SHAPE)
    pipeline = relax.get_pipeline("dwfuse_cluster", target="gap8", objective="traffic")
    machine = relax.VirtualMachine(tvm.compile(mod, target="llvm", relax_pipeline=pipeline), tvm.cpu())
    np.testing.assert_array_equal(machine["main"](tvm.runtime.tensor(x)).numpy(), run(mod, x)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "beauty"}, "unknown objective 'beauty'"),
        ({"threads": 8}, "unknown option 'threads'"),
        ({"l1_bytes": 64}, "bytes of L1"),
        ({"variant": "pwdw_chw_chw_chw_channels"}, "pwdw_chw_chw_chw_channels"),
    ],
)
def test_what_cannot_be_generated(options: dict, words: str) -> None:
    (region,) = regions(PartitionForCluster()(IntegerNet().build(SHAPE, lambda net, x: net.conv(x, 4))))
    with pytest.raises(DwfuseError, match=words):
        byoc.c_source(region, options)
