"""Which rows are where: a walk is followed row by row, and bytes of worked examples are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.tiling.geometry import chains, dense, depthwise, pointwise
from tvm_dwfuse.tiling.chain import Chain, Tile


def rows_read(chain: Chain, stage: int, lo: int, hi: int) -> set[int]:
    """Rows of the input of ``stage`` that rows [lo, hi) of its output read."""
    conv, height = chain.stages[stage], chain.sizes[stage][0]
    read = (row * conv.strides[0] - conv.padding[0] + tap for row in range(lo, hi) for tap in range(conv.kernel[0]))
    return {row for row in read if 0 <= row < height}


def steps_of_one_block(chain: Chain) -> list[tuple[int, int, int]]:
    return [(step, begin, end) for block, step, begin, end in chain.iterations() if block == 0]


@settings(max_examples=300)
@given(chains())
def test_each_stage_finds_the_rows_it_reads(chain):
    held: list[dict[int, int]] = [{} for _ in chain.sizes]  # by tensor: which row lies in which place of its ring
    ends = [chain.end_row(tensor, min(chain.tile.rows, chain.out_rows)) for tensor in range(len(chain.stages))]

    def put(tensor: int, lo: int, hi: int) -> None:
        ring = chain.ring_rows(tensor)
        for row in range(lo, hi):
            held[tensor][(row - ends[tensor]) % ring if chain.steps > 1 else row] = row
        places = [(row - ends[tensor]) % ring for row in range(lo, hi)]
        assert chain.steps == 1 or places == list(range(min(places, default=0), max(places, default=-1) + 1))

    steps = steps_of_one_block(chain)
    for number, (step, begin, end) in enumerate(steps):
        fetched = chain.input_rows(begin, end, step == 0)
        if chain.input_in_chunks:
            chunks = chain.input_chunks(begin, end, step == 0)
            assert all(len(chunk) <= chain.ring_rows(0) for chunk in chunks)
            held[0] = dict(enumerate(row for chunk in chunks for row in range(chunk.lo, chunk.hi)))
        elif chain.input_in_slots:
            assert len(fetched) <= chain.ring_rows(0)
            held[0] = dict(enumerate(range(fetched.lo, fetched.hi)))
        else:
            if number == 0 or not chain.tile.double_x:
                put(0, fetched.lo, fetched.hi)
            if chain.tile.double_x and number + 1 < len(steps):  # on its way while this step computes
                ahead = chain.input_rows(*steps[number + 1][1:], False)
                put(0, ahead.lo, ahead.hi)
        for stage in range(len(chain.stages)):
            new = chain.new_rows(stage + 1, begin, end, step == 0)
            assert rows_read(chain, stage, new.lo, new.hi) <= set(held[stage].values())
            if stage + 1 < len(chain.stages):
                put(stage + 1, new.lo, new.hi)
                assert len(new) <= chain.ring_rows(stage + 1)


@settings(max_examples=200)
@given(chains())
def test_every_output_row_is_computed_once(chain):
    computed = [row for _, begin, end in steps_of_one_block(chain) for row in range(begin, end)]
    assert computed == list(range(chain.out_rows))
    for tensor in range(1, len(chain.sizes)):
        new = [chain.new_rows(tensor, begin, end, step == 0) for step, begin, end in steps_of_one_block(chain)]
        rows = [row for part in new for row in range(part.lo, part.hi)]
        assert len(rows) == len(set(rows))


@settings(max_examples=200)
@given(chains())
def test_transfers_fit_their_buffers(chain):
    slots = {buffer.name: buffer.bytes // buffer.slots for buffer in chain.buffers}
    constants = max(size for name, size in slots.items() if name.startswith(("l1_w", "l1_q")))
    for where in chain.iterations():
        for transfer in chain.transfers(*where):
            room = constants if transfer.kind == "constant" else slots["l1_x" if transfer.inward else "l1_y"]
            assert transfer.bytes <= room * (chain.tensor_channels[0] if chain.dma_transposes else 1)


@pytest.mark.parametrize("layouts", [("hwc", "hwc"), ("hwc", "chw")])
@pytest.mark.parametrize("rows", [1, 3, 16])
def test_an_unfused_layer_moves_each_tensor_once(layouts, rows):
    chain = Chain((pointwise(32, 64),), 16, 16, layouts, Tile(rows, 64, (64,)))
    assert chain.activation_bytes() == 16 * 16 * 32 + 16 * 16 * 64


def test_a_ring_of_rows_saves_the_halo_that_planes_fetch_again():
    tile = Tile(4, 32, (32,))
    of_rows = Chain((depthwise(32),), 16, 16, ("hwc", "hwc"), tile)
    of_planes = Chain((depthwise(32),), 16, 16, ("chw", "hwc"), tile)
    assert of_rows.activation_bytes() == 2 * 16 * 16 * 32
    # Four steps: 5, 6, 6 and 5 rows for the 16 there are.
    assert of_planes.activation_bytes() == (5 + 6 + 6 + 5 + 16) * 16 * 32


def test_the_intermediate_of_a_fused_pair_does_not_move():
    chain = Chain((pointwise(32, 64), depthwise(64, 2)), 16, 16, ("hwc", "chw", "hwc"), Tile(2, 64, (64, 64)))
    assert chain.activation_bytes() == 16 * 16 * 32 + 8 * 8 * 64


def test_blocks_of_channels_fetch_a_whole_input_once_and_rows_of_it_for_each_block():
    chain = Chain((pointwise(32, 64),), 16, 16, ("hwc", "hwc"), Tile(16, 16, (16,)))
    assert chain.activation_bytes() == 16 * 16 * 32 + 16 * 16 * 64
    by_rows = replace(chain, tile=Tile(4, 16, (16,)))
    assert by_rows.activation_bytes() == 4 * 16 * 16 * 32 + 16 * 16 * 64


def test_buffers_of_a_worked_example():
    """PW 8 -> 16, DW 3x3 of 16 by steps of 2 rows on 8 x 8, all double-buffered."""
    chain = Chain((pointwise(8, 16), depthwise(16)), 8, 8, ("hwc", "chw", "hwc"), Tile(2, 16, (16, 16)))
    sizes = {buffer.name: buffer.bytes for buffer in chain.buffers}
    guard = 4  # kernels read by words
    assert sizes["l1_x"] == 2 * 2 * 8 * 8 + guard  # two chunks of two rows
    assert sizes["l1_m1"] == 4 * 8 * 16 + guard
    assert sizes["l1_y"] == 2 * 2 * 8 * 16
    assert (sizes["l1_w0"], sizes["l1_q0"]) == (16 * 8, 16 * 8)
    assert (sizes["l1_w1"], sizes["l1_q1"]) == (16 * 3 * 4, 16 * 8)
    assert chain.l1_bytes == sum(sizes.values())


def test_only_chains_that_stay_depthwise_are_cut_in_blocks():
    with pytest.raises(ValueError, match="blocks of channels"):
        Chain((depthwise(16), pointwise(16, 32)), 8, 8, ("hwc", "hwc", "hwc"), Tile(2, 16, (16, 16)))
    with pytest.raises(ValueError, match="one block"):
        Chain((dense(16, 32),), 8, 8, ("hwc", "hwc"), Tile(2, 16, (8,)))
