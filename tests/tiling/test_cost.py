"""The cost model: exact bytes, and cycles that follow overlap, balance and the machine's figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.tiling.geometry import ROOMY, chains, dense, depthwise, pointwise
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Chain, Tile, Transfer
from tvm_dwfuse.tiling.cost import cost, transfer_cycles
from tvm_dwfuse.tiling.elementwise import AddPlan, PoolPlan


def moved(chain: Chain, kind: str) -> int:
    transfers = (transfer for where in chain.iterations() for transfer in chain.transfers(*where))
    return sum(transfer.bytes for transfer in transfers if transfer.kind == kind)


def with_doubles(chain: Chain, double: bool) -> Chain:
    return replace(chain, tile=replace(chain.tile, double_x=double, double_y=double, double_w=double))


@settings(max_examples=300)
@given(chains())
def test_bytes_are_those_of_the_transfers(chain):
    found = cost(chain, GAP8)
    assert found.activation_bytes == moved(chain, "activation") == chain.activation_bytes()
    assert found.constant_bytes == moved(chain, "constant")
    assert found.l1_bytes == chain.l1_bytes


@settings(max_examples=200)
@given(chains())
def test_cycles_are_the_sum_of_their_parts_and_cover_the_dma(chain):
    found = cost(chain, GAP8)
    assert found.cycles == sum(cycles for _, cycles in found.parts)
    assert [name for name, _ in found.parts[-2:]] == ["control", "dma"]
    assert found.compute_cycles == sum(cycles for _, cycles in found.parts[:-2])
    assert found.cycles >= found.dma_cycles  # the DMA cannot work longer than the whole takes


@settings(max_examples=200)
@given(chains())
def test_double_buffers_never_cost_cycles(chain):
    assert cost(with_doubles(chain, True), GAP8).cycles <= cost(with_doubles(chain, False), GAP8).cycles


def test_blocking_transfers_add_to_the_kernels_and_overlapped_ones_hide_behind_them():
    # A kernel-bound layer: 64 bytes in and out for each 4096 products of a pixel.
    chain = Chain((pointwise(64, 64),), 32, 32, ("hwc", "hwc"), Tile(4, 64, (64,)))
    undisturbed = replace(GAP8, dma_interference=0.0)
    blocking, overlapped = cost(with_doubles(chain, False), GAP8), cost(chain, undisturbed)
    assert blocking.compute_cycles == overlapped.compute_cycles
    waits = dict(blocking.parts)["dma"], dict(overlapped.parts)["dma"]
    assert waits[0] >= blocking.dma_cycles
    assert waits[1] < waits[0] / 4  # the first load and the last store
    disturbed = waits[1] + GAP8.dma_interference * (waits[0] - waits[1])
    assert dict(cost(chain, GAP8).parts)["dma"] == pytest.approx(disturbed, rel=0.1)


def test_a_transfer_bound_layer_takes_as_long_as_its_transfers():
    slow = replace(GAP8, dma_bytes_per_cycle=0.01)
    found = cost(Chain((pointwise(16, 16),), 16, 16, ("hwc", "hwc"), Tile(4, 16, (16,))), slow)
    assert found.dma_cycles <= found.cycles <= 2.1 * found.dma_cycles
    assert found.cycles > 10 * found.compute_cycles


def test_lines_of_one_byte_pass_at_one_byte_a_cycle_at_most():
    assert transfer_cycles(Transfer("activation", True, 1000, 1), GAP8) >= 1000
    assert transfer_cycles(Transfer("activation", True, 1, 8000), GAP8) == 8000 / GAP8.dma_bytes_per_cycle


def test_a_transposing_dma_is_slower_than_a_kernel_that_reads_hwc():
    tile = Tile(16, 32, (32,), False, False, False)
    by_dma = Chain((depthwise(32),), 16, 16, ("chw", "hwc"), tile, dma_transposes=True)
    by_kernel = Chain((depthwise(32),), 16, 16, ("hwc", "hwc"), tile)
    assert by_dma.activation_bytes() == by_kernel.activation_bytes()
    assert cost(by_dma, GAP8).cycles > cost(by_kernel, GAP8).cycles
    assert dict(cost(by_dma, GAP8).parts)["dma"] > 16 * 16 * 32


def compute_rate(conv, height: int, width: int, layouts: tuple[str, str]) -> float:
    """Multiply-accumulates a cycle of one layer with everything in L1."""
    out_height = conv.out_size(height, width)[0]
    chain = Chain((conv,), height, width, layouts, Tile(out_height, conv.out_channels, (conv.out_channels,)))
    return conv.macs(height, width) / cost(chain, ROOMY).compute_cycles


@pytest.mark.parametrize(
    ("height", "width", "in_channels", "out_channels", "rate"),
    [
        (16, 16, 32, 32, 12.7),
        (8, 8, 128, 128, 18.1),
        (8, 8, 256, 64, 19.3),
        (4, 8, 512, 16, 18.9),
        (1, 1, 512, 64, 10.8),
    ],
)
def test_pointwise_rates_are_those_measured(height, width, in_channels, out_channels, rate):
    found = compute_rate(pointwise(in_channels, out_channels), height, width, ("hwc", "hwc"))
    assert found == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride", "layout", "rate"),
    [
        (16, 32, 3, 1, "chw", 7.3),
        (8, 128, 3, 1, "chw", 6.6),
        (16, 32, 3, 1, "hwc", 5.3),
        (8, 128, 3, 1, "hwc", 5.4),
        (32, 16, 3, 2, "chw", 5.7),
        (16, 32, 3, 2, "hwc", 2.9),
        (16, 32, 5, 1, "chw", 4.2),
        (8, 32, 7, 1, "chw", 3.1),
    ],
)
def test_depthwise_rates_are_those_measured(size, channels, kernel, stride, layout, rate):
    found = compute_rate(depthwise(channels, stride, kernel), size, size, (layout, "hwc"))
    assert found == pytest.approx(rate, rel=0.12)


def test_gathered_convolutions_take_what_was_measured():
    stem = Chain((dense(3, 32, 2),), 32, 32, ("hwc", "hwc"), Tile(16, 32, (32,)))
    assert cost(stem, ROOMY).compute_cycles == pytest.approx(28_184, rel=0.05)
    from_planes = Chain((pointwise(64, 64),), 8, 8, ("chw", "hwc"), Tile(8, 64, (64,)))
    assert cost(from_planes, ROOMY).compute_cycles == pytest.approx(17_807, rel=0.06)


def test_more_cores_are_faster():
    chain = Chain((pointwise(64, 64),), 16, 16, ("hwc", "hwc"), Tile(16, 64, (64,)))
    compute = [cost(replace(chain, cores=cores), GAP8).compute_cycles for cores in (1, 2, 4, 8)]
    assert compute == sorted(compute, reverse=True)
    assert compute[0] / compute[3] == pytest.approx(8, rel=0.1)


def test_streamed_weights_move_in_each_step():
    staying = Chain((pointwise(64, 64),), 16, 16, ("hwc", "hwc"), Tile(4, 64, (64,)))
    streamed = replace(staying, tile=Tile(4, 64, (16,)))
    assert cost(streamed, GAP8).constant_bytes == 4 * cost(staying, GAP8).constant_bytes == 4 * 64 * (64 + 8)


def test_sums_and_pools_move_each_tensor_once():
    found = cost(AddPlan(10_000, 1024), GAP8)
    assert found.activation_bytes == 30_000
    assert found.cycles < cost(AddPlan(10_000, 1024, double=False), GAP8).cycles
    assert cost(PoolPlan(7, 7, 64, "hwc", 16), GAP8).activation_bytes == 50 * 64
