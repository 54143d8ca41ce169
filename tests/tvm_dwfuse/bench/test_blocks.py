from __future__ import annotations

import time

import numpy as np
import pytest
import tvm

from tvm_dwfuse import zoo
from tvm_dwfuse.bench.blocks import blocks_table, fused_blocks, measure_blocks
from tvm_dwfuse.bench.peak import multiply_adds, peak_kernel
from tvm_dwfuse.targets import get_target


def test_blocks_of_a_network_are_counted() -> None:
    blocks = fused_blocks(zoo.build("mobilenet_v1_0.25_128"), "dwpw")
    assert sum(blocks.values()) == 13
    assert max(blocks.values()) == 5
    assert all(block.order == "dwpw" for block in blocks)


def test_rates_follow_from_times() -> None:
    rates = measure_blocks("ds_cnn_s", rounds=2)
    for rate in rates:
        assert rate.variant.startswith("dwpw_")
        assert rate.gmacs * rate.ms * 1e6 == pytest.approx(rate.block.macs())
        assert rate.share == pytest.approx(rate.gmacs / rate.peak_gmacs)
    assert "64->64 3x3" in blocks_table(rates)


def test_peak_kernel_multiplies_and_adds() -> None:
    """Chains of s * 1/2 + 1/2 come to 1."""
    function = tvm.compile(multiply_adds(lanes=4), "llvm")["main"]
    factor = tvm.runtime.tensor(np.full(4, 0.5, np.float32))
    sums = tvm.runtime.tensor(np.zeros((12, 4), np.float32))
    function(factor, sums)
    np.testing.assert_array_equal(sums.numpy(), 1)


def test_peak_is_not_optimized_away() -> None:
    call, macs = peak_kernel(get_target("host"))
    start = time.perf_counter()
    call()
    assert macs / (time.perf_counter() - start) < 1e12
