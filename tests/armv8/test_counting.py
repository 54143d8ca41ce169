from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tvm import te, tirx

from tests.armv8.tools import needs_all, needs_qemu
from tvm_dwfuse.armv8 import layers
from tvm_dwfuse.armv8.analysis import hot_loops, loop_cycles
from tvm_dwfuse.armv8.counting import count_kernel
from tvm_dwfuse.armv8.layers import count_depthwise, count_pointwise
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets.armv8 import ARMV8_TARGETS

CORTEX_A72 = ARMV8_TARGETS["cortex-a72"]
CONV = Depthwise(16, 12, 12, padding=(1, 1, 1, 1), layout="NHWC")


def doubling(size: int) -> tirx.PrimFunc:
    x = te.placeholder((size,), name="x")
    y = te.compute((size,), lambda i: x[i] * 2.0 + 1.0, name="y")
    return te.create_prim_func([x, y])


@needs_qemu
def test_outputs_and_counts_of_a_kernel() -> None:
    x, y = np.arange(4096, dtype=np.float32), np.full(4096, np.nan, np.float32)
    counts = count_kernel(doubling(4096), [x, y], CORTEX_A72)
    np.testing.assert_array_equal(counts.outputs[0], x * 2 + 1)
    assert len(counts.outputs) == 1
    assert 0 < counts.stores < counts.instructions < 5 * 4096
    assert np.isnan(y).all()


@needs_qemu
def test_twice_the_same_counts() -> None:
    first, second = (count_depthwise("forward", CONV, CORTEX_A72) for _ in range(2))
    assert replace(first, outputs=()) == replace(second, outputs=())
    # 144 products of each of 16 channels, four at a time; of the borders some are left out.
    assert first.multiply_adds <= CONV.macs / 4


@needs_qemu
@pytest.mark.parametrize("core", ["cortex-a53", "neoverse-v1", "kunpeng-920", "apple-m1"])
def test_cores_with_and_without_a_model_in_qemu(core: str) -> None:
    assert count_depthwise("forward", CONV, ARMV8_TARGETS[core]).instructions > CONV.macs / 4


@needs_qemu
def test_a_wrong_kernel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    build = layers.build_depthwise
    other = replace(CONV, padding=(2, 1, 0, 1))
    monkeypatch.setattr(layers, "build_depthwise", lambda procedure, conv, machine: build(procedure, other, machine))
    with pytest.raises(DwfuseError, match=r"forward in NHWC: \d+ of 2304 values are wrong"):
        count_depthwise("forward", CONV, CORTEX_A72)


@needs_qemu
def test_a_pointwise_layer() -> None:
    counts = count_pointwise(16, 8, 32, CORTEX_A72)
    # Of the 16 products of an output, the first may be a multiplication without addition.
    assert 15 * 64 * 32 / 4 <= counts.multiply_adds <= 16 * 64 * 32 / 4


@needs_qemu
def test_arrays_that_the_kernel_does_not_take() -> None:
    with pytest.raises(DwfuseError, match="array 1 is float64"):
        count_kernel(doubling(8), [np.zeros(8, np.float32), np.zeros(8)], CORTEX_A72)
    with pytest.raises(DwfuseError, match=r"the kernel reports.*shape"):
        count_kernel(doubling(8), [np.zeros(8, np.float32), np.zeros(9, np.float32)], CORTEX_A72)


@needs_all
def test_the_hottest_loop_and_its_cycles() -> None:
    from schedules.depthwise import build_depthwise

    func = build_depthwise("forward", CONV, CORTEX_A72)
    hottest, *others = hot_loops(func, CORTEX_A72)
    assert all(hottest.share >= other.share for other in others)
    assert 0 < sum(hot.share for hot in (hottest, *others)) <= 1 + 1e-9
    found = loop_cycles(hottest.loop, "neoverse-n1")
    assert found.core == "neoverse-n1"
    assert found.over_floor >= 0.99


@needs_all
def test_a_kernel_without_multiplications_has_no_hot_loop() -> None:
    x = te.placeholder((64,), name="x")
    func = te.create_prim_func([x, te.compute((64,), lambda i: x[i], name="y")])
    with pytest.raises(DwfuseError, match="no loop that multiplies vectors"):
        hot_loops(func, CORTEX_A72)
