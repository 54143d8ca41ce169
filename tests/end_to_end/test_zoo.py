"""Every network of the zoo, compiled by the pipeline, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from tvm import relax, tirx

from tvm_dwfuse import threads as thread_pool
from tvm_dwfuse import zoo
from tvm_dwfuse.frontend import import_onnx
from tvm_dwfuse.pipeline import build_pipeline
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.variants import VARIANTS

#: Largest error, of the output's range.
TOLERANCE = 1e-4

#: What each family is fused to at least by the default rule, where it has separable blocks that a kernel can fuse.
FUSED = {
    "mobilenet_v1": "dwpw",
    "mobilenet_v2": "pwdwpw",
    "mobilenet_v3": "pwdw",
    "mnasnet": "dwpw",
    "efficientnet_lite0": "pwdwpw",
    "efficientnet_b0": "pwdw",
    "ds_cnn": "dwpw",
    "mcunet": "pwdwpw",
    "shufflenet": "dwpw",
}


def lower(
    model: onnx.ModelProto, threads: int = 1, fuse: bool = True, variant: str | None = None, tuned: bool = False
) -> tvm.IRModule:
    target = host_target()
    with target.tvm_target():
        return build_pipeline(target, threads, fuse, variant, tuned=tuned)(import_onnx(model))


def run(lowered: tvm.IRModule, x: np.ndarray, threads: int = 1) -> np.ndarray:
    executable = tvm.compile(lowered, target=host_target().tvm_target(), relax_pipeline=None)
    thread_pool.configure(min(threads, thread_pool.available()))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x))
    return (result if hasattr(result, "numpy") else result[0]).numpy()


def onnx_runtime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def input_of(model: onnx.ModelProto) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def assert_agrees(model: onnx.ModelProto, lowered: tvm.IRModule, threads: int = 1) -> None:
    x = input_of(model)
    expected = onnx_runtime(model, x)
    actual = run(lowered, x, threads)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max() / (expected.max() - expected.min())
    assert error <= TOLERANCE, f"{error:.1e} of the output's range"


def kernels(lowered: tvm.IRModule) -> list[str]:
    return [gv.name_hint for gv, func in lowered.functions_items() if isinstance(func, tirx.PrimFunc)]


def fused_kernels(lowered: tvm.IRModule) -> list[str]:
    return [name for name in kernels(lowered) if name.startswith(tuple(VARIANTS))]


@pytest.mark.parametrize("name", zoo.names())
def test_network(name: str) -> None:
    model = zoo.build(name)
    lowered = lower(model)
    order = next(order for family, order in FUSED.items() if name.startswith(family))
    assert any(kernel.startswith(f"{order}_") for kernel in fused_kernels(lowered))
    assert_agrees(model, lowered)


SMALL = ("mobilenet_v1_0.25_128", "mobilenet_v2_0.35_96", "mcunet_vww", "ds_cnn_s")


@pytest.mark.parametrize("name", SMALL)
def test_chosen_by_the_shipped_records(name: str) -> None:
    model = zoo.build(name)
    assert_agrees(model, lower(model, tuned=True))


@pytest.mark.parametrize("name", SMALL)
def test_unfused(name: str) -> None:
    model = zoo.build(name)
    lowered = lower(model, fuse=False)
    assert not fused_kernels(lowered)
    assert_agrees(model, lowered)


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("mobilenet_v1_0.25_128", 1),
        ("mobilenet_v2_0.35_96", 2),
        ("mobilenet_v3_small_1.0_224", 1),
        ("shufflenet_v2_0.5_224", 2),
        ("ds_cnn_s", 3),
    ],
)
def test_two_threads(name: str, batch: int) -> None:
    model = zoo.build(name, batch=batch)
    assert_agrees(model, lower(model, threads=2), threads=2)


@pytest.mark.parametrize("opset", [7, 21])
def test_oldest_and_newest_operators(opset: int) -> None:
    model = zoo.build("mobilenet_v2_0.35_96", opset=opset)
    assert_agrees(model, lower(model))


@pytest.mark.parametrize("variant", ["pwdw_hwc_chw_hwc_rows", "pwdw_hwc_hwc_hwc_rows"])
def test_network_with_one_variant_throughout(variant: str) -> None:
    """MobileNetV3 has squeeze-and-excite branches, so most of its blocks are pairs."""
    model = zoo.build("mobilenet_v3_small_1.0_224")
    lowered = lower(model, variant=variant)
    assert any(kernel.startswith(variant) for kernel in fused_kernels(lowered))
    assert not any(kernel.startswith("pwdw_") and not kernel.startswith(variant) for kernel in fused_kernels(lowered))
    assert_agrees(model, lowered)
