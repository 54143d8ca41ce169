from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

import relay_passes
from tests.relay_passes.networks import Net, run
from tvm_dwfuse import pipeline
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.pipeline import build_pipeline
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import VARIANTS

SHAPE = (1, 3, 20, 18)


def network(net: Net, x: relax.Expr) -> relax.Expr:
    """A stem, a separable block, an inverted residual, a squeeze-and-excite branch and a head."""
    x = net.relu6(net.batch_norm(net.conv(x, 16, 3, strides=(2, 2))))
    x = net.relu6(net.batch_norm(net.pw(net.relu6(net.batch_norm(net.dw(x))), 24)))
    x = net.add(net.batch_norm(net.pw(net.relu6(net.dw(net.relu6(net.pw(x, 48)))), 24)), x)
    x = net.squeeze_excite(net.hardswish(net.bias(net.dw(net.relu(net.bias(net.pw(x, 40))), 5, strides=(2, 2)))))
    x = net.bias(net.pw(x, 12))
    pooled = net.emit(relax.op.reshape(net.emit(relax.op.mean(x, axis=[2, 3], keepdims=True)), (SHAPE[0], 12)))
    return net.emit(relax.op.add(net.emit(relax.op.matmul(pooled, net.constant(12, 10))), net.constant(10)))


@pytest.fixture(scope="module")
def mod() -> tvm.IRModule:
    return Net("NCHW").build(SHAPE, network)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def expected(mod: tvm.IRModule, x: np.ndarray) -> np.ndarray:
    return run(relay_passes.SimplifyInference()(mod), x)[0]


def run_lowered(lowered: tvm.IRModule, x: np.ndarray) -> np.ndarray:
    executable = tvm.compile(lowered, target=host_target().tvm_target(), relax_pipeline=None)
    return relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()


def kernels(lowered: tvm.IRModule) -> list[str]:
    return sorted(gv.name_hint for gv, func in lowered.functions_items() if isinstance(func, tirx.PrimFunc))


def fused(lowered: tvm.IRModule) -> list[str]:
    """Names of the variants that kernels stand for."""
    return [name for kernel in kernels(lowered) for name in VARIANTS if kernel.startswith(f"{name}_")]


def lower(mod: tvm.IRModule, *args: object, **kwargs: object) -> tvm.IRModule:
    with host_target().tvm_target():
        return build_pipeline(*args, **kwargs)(mod)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fuse", [True, False])
def test_results_are_those_of_tvms_own_pipeline(
    mod: tvm.IRModule, x: np.ndarray, expected: np.ndarray, fuse: bool, threads: int
) -> None:
    lowered = lower(mod, threads=threads, fuse=fuse)
    np.testing.assert_allclose(run_lowered(lowered, x), expected, rtol=1e-4, atol=1e-4)


def test_blocks_are_fused_unless_told_otherwise(mod: tvm.IRModule) -> None:
    assert fused(lower(mod, tuned=False)) == [
        "dwpw_hwc_hwc_hwc_rows",
        "pwdw_hwc_hwc_hwc_channels",
        "pwdwpw_hwc_hwc_hwc_rows",
    ]
    assert fused(lower(mod, objective="traffic"))
    assert fused(lower(mod, fuse=False)) == []


def test_a_variant_can_be_asked_for(mod: tvm.IRModule) -> None:
    assert fused(lower(mod, variant="pwdw_hwc_chw_hwc_rows")) == [
        "dwpw_hwc_hwc_hwc_rows",
        "pwdw_hwc_chw_hwc_rows",
        "pwdwpw_hwc_hwc_hwc_rows",
    ]


def test_a_target_is_a_name_or_a_description(mod: tvm.IRModule) -> None:
    tvm.ir.assert_structural_equal(lower(mod, "host"), lower(mod, host_target()))
    narrow = CpuTarget("narrow", host_target().mcpu, lanes=4, registers=16, cores=1)
    assert kernels(lower(mod, narrow, tuned=False)) == kernels(lower(mod, tuned=False))
    with pytest.raises(ValueError, match="StructuralEqual check failed"):
        tvm.ir.assert_structural_equal(lower(mod, narrow), lower(mod))


def test_wrong_names_are_refused() -> None:
    with pytest.raises(DwfuseError, match="unknown target 'gap9'"):
        build_pipeline("gap9")
    with pytest.raises(ValueError, match="unknown variant 'fast'"):
        build_pipeline(variant="fast")


def test_pipeline_is_registered_with_relax_and_registering_twice_is_harmless(mod: tvm.IRModule) -> None:
    pipeline.register()
    with host_target().tvm_target():
        lowered = relax.get_pipeline("dwfuse", threads=1, fuse=False)(mod)
    tvm.ir.assert_structural_equal(lowered, lower(mod, threads=1, fuse=False))


def test_activations_change_layout_only_at_the_networks_ends(mod: tvm.IRModule) -> None:
    """The stem takes the change to NHWC in; behind the pooling nothing has a layout any more."""
    assert not any("transpose" in kernel or "permute" in kernel for kernel in kernels(lower(mod)))


def test_the_module_given_stays_as_it_is(mod: tvm.IRModule) -> None:
    again = mod.clone()
    lower(mod)
    tvm.ir.assert_structural_equal(mod, again)


def test_a_network_without_convolutions_compiles() -> None:
    plain = Net("NCHW").build((1, 4, 5, 6), lambda net, x: net.relu(net.add(x, x)))
    x = np.random.default_rng(0).standard_normal((1, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(run_lowered(lower(plain), x), np.maximum(2 * x, 0))
