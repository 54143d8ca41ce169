from __future__ import annotations

from dataclasses import replace

import pytest

from schedules import legal_variants
from tests.blocks import depthwise, full_conv, pointwise
from tvm_dwfuse import cpu_costs
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.targets import CpuTarget, get_cpu
from tvm_dwfuse.variants import VARIANTS

MACHINE = CpuTarget("test", "znver4", 16, 32, 2, 32 * 1024, 1024 * 1024, True)


def block(*stages: Conv, size: int = 14) -> Block:
    return Block(stages, 1, size, size)


def seconds(each: Block, variant: str | None = None, depth: int = 1, machine: CpuTarget = MACHINE, threads: int = 1):
    return cpu_costs.latency(each, VARIANTS[variant] if variant else None, depth, machine, threads)


@pytest.mark.parametrize("machine", [MACHINE, get_cpu("cortex-a72")], ids=["broadcasting", "by lane"])
def test_every_count_has_its_cycles(machine: CpuTarget) -> None:
    stages = (
        (pointwise(16, 32),),
        (depthwise(16, epilogue=("hardswish",)),),
        (full_conv(3, 16),),
        (depthwise(16), pointwise(16, 16, ("silu",))),
        (pointwise(16, 16), depthwise(16)),
        (pointwise(16, 16), depthwise(16), pointwise(16, 16, ("bias", "add"))),
        (pointwise(15, 15), depthwise(15), pointwise(15, 15)),
    )
    used: set[str] = set()
    for size in (1, 14, 224):
        for each in (block(*chain, size=size) for chain in stages):
            for variant in legal_variants(each) or [None]:
                used |= cpu_costs.work(each, variant, 1, machine).keys()
    assert used == cpu_costs.cycles_of(machine).keys()


@pytest.mark.parametrize(
    ("conv", "microseconds"),
    [(pointwise(512, 512), 871), (depthwise(384), 10.6), (full_conv(16, 32), 18.5)],
    ids=["pointwise", "depthwise", "window"],
)
def test_estimates_are_near_what_was_measured(conv: Conv, microseconds: float) -> None:
    assert seconds(block(conv)) == pytest.approx(microseconds * 1e-6, rel=0.25)


def test_narrower_vectors_take_longer() -> None:
    each = block(pointwise(64, 64))
    assert seconds(each, machine=replace(MACHINE, lanes=4, half_vectors_are_cheap=False)) > 3 * seconds(each)


def test_half_a_vector_is_half_the_work_only_where_it_is() -> None:
    each = block(pointwise(64, 8))
    assert seconds(each, machine=replace(MACHINE, half_vectors_are_cheap=False)) > 1.8 * seconds(each)


def test_threads_share_large_kernels_only() -> None:
    large, small = block(pointwise(512, 512)), block(pointwise(16, 16))
    assert seconds(large, threads=2) < 0.6 * seconds(large)
    assert seconds(small, threads=2) == seconds(small)


def test_taps_on_padding_cost_nothing() -> None:
    shut = block(depthwise(64, 7, padding=(0, 0, 0, 0)), size=7)
    work = cpu_costs.work(shut, None, 1, MACHINE)
    assert work["depthwise tap"] == 49 * 4
    bordered = cpu_costs.work(block(depthwise(64, 7), size=1), None, 1, MACHINE)
    assert bordered["depthwise tap"] == 4


def test_tensors_beyond_the_cache_take_longer_in_a_network() -> None:
    small, large = (block(depthwise(32), size=size) for size in (14, 112))
    extra = [cpu_costs.latency_in_network(each, MACHINE) for each in (small, large)]
    assert extra[0] < 5e-6 < 10e-6 < extra[1]
    unlimited = replace(MACHINE, l2_bytes=10**9)
    assert cpu_costs.latency_in_network(large, unlimited) == extra[0]


def test_traffic_is_input_residual_and_output() -> None:
    fused = block(depthwise(16), pointwise(16, 32, ("bias", "add")))
    variant = VARIANTS["dwpw_hwc_hwc_hwc_rows"]
    assert cpu_costs.traffic(fused, variant, 2, MACHINE) == 4 * 14 * 14 * (16 + 32 + 32)


def test_steps_of_channels_read_a_large_input_again() -> None:
    chain = (pointwise(16, 64), depthwise(64))
    variant = VARIANTS["pwdw_hwc_hwc_hwc_channels"]
    assert cpu_costs.traffic(block(*chain), variant, 16, MACHINE) == 4 * 14 * 14 * (16 + 64)
    assert cpu_costs.traffic(block(*chain, size=112), variant, 16, MACHINE) == 4 * 112 * 112 * (4 * 16 + 64)


def test_energy_counts_products_and_the_level_that_bytes_come_from() -> None:
    conv = pointwise(64, 64)
    near, far = (
        cpu_costs.energy(block(conv), None, 1, MACHINE),
        cpu_costs.energy(block(conv, size=112), None, 1, MACHINE),
    )
    assert near == pytest.approx(
        4.6e-12 * 14 * 14 * 64 * 64 + 4 * 14 * 14 * 128 * 12.5e-12 + 4 * 64 * 64 * 162.5e-12, rel=1e-6
    )
    assert far > 64 * near


def test_intermediates_of_a_step() -> None:
    fused = block(depthwise(16), pointwise(16, 32))
    assert cpu_costs.intermediate_bytes(fused, VARIANTS["dwpw_hwc_hwc_hwc_rows"], 2) == 4 * 2 * 14 * 16
    turned = block(pointwise(16, 64), depthwise(64))
    assert cpu_costs.intermediate_bytes(turned, VARIANTS["pwdw_hwc_hwc_hwc_channels"], 16) == 4 * 14 * 14 * 16
    assert cpu_costs.intermediate_bytes(block(pointwise(16, 64)), None, 1) == 0
