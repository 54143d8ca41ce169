"""Transfers of a chain's input and output, one step ahead of the computation where the tile is double-buffered."""

from __future__ import annotations

from dataclasses import replace

from .emit import ACTIVATION, Pointer, Scalar, fetch, larger, let, loop, simplified, smaller, store, wait, when
from .views import chunk_place, fetched_rows, input_channels, input_place, input_turn, output_view
from .walk import Step, Walk


def start_input(walk: Walk, step: Step) -> None:
    """Start fetching the input of this step, unless it is there or on its way already."""
    if walk.chain.input_in_chunks:
        if walk.input_slots.buffers > 1:
            with when(step.first):
                _fetch_chunk(walk, 0)
    elif walk.chain.input_resident:
        with when(step.block == walk.blocks[0]):
            _fetch(walk, step)
    elif walk.input_slots.buffers == 1:
        _fetch(walk, step)
    else:
        with when(input_turn(walk, step) == 0):
            _fetch(walk, replace(step, first=True))


def await_input(walk: Walk, step: Step) -> None:
    """Wait for the input of this step; chunks are waited for one by one."""
    if not walk.chain.input_in_chunks:
        wait(walk.input_slots.slot(input_turn(walk, step)))


def start_next_input(walk: Walk, step: Step) -> None:
    """Start fetching the input of the next step of this block, or of the next block where each is one step."""
    if walk.input_slots.buffers == 1 or walk.chain.input_in_chunks:
        return
    chain = walk.chain
    if chain.steps > 1:
        with when(step.index + 1 < walk.rows.count):
            begin = let("next_begin", step.begin + chain.tile.rows)
            end = let("next_end", smaller(begin + chain.tile.rows, walk.rows.end))
            following = replace(step, index=step.index + 1, first=False, turn=step.turn + 1, begin=begin, end=end)
            _fetch(walk, following)
    elif chain.blocks > 1:
        with when(step.block + 1 < walk.blocks[1]):
            block = step.block + 1
            _fetch(walk, replace(step, block=block, turn=step.turn + 1, channels=walk.block_channels(block)))


def begin_chunk(walk: Walk, step: Step) -> None:
    """Have the chunk of input that ``step`` is at in L1, and with two slots the next one on its way."""
    slots = walk.input_slots
    if slots.buffers == 1:
        _fetch_chunk(walk, step.chunk)
    wait(slots.slot(step.chunk))
    if slots.buffers > 1:
        with when(step.chunk + 1 < walk.rows.chunk_count):
            _fetch_chunk(walk, step.chunk + 1)


def store_output(walk: Walk, step: Step) -> None:
    """Start writing the output of this step."""
    chain, last = walk.chain, len(walk.chain.stages)
    height, width = chain.sizes[last]
    total = chain.tensor_channels[last]
    first = step.block * chain.tile.channels if chain.can_block else 0
    rows = step.end - step.begin
    slot, place = walk.output_slots.slot(step.turn), output_view(walk, step).base
    if chain.layouts[last] == "chw":
        target = walk.y.at((first * height + step.begin) * width)
        if chain.steps == 1:
            store(slot, place, target, step.channels * height * width)
        else:
            store(slot, place, target, rows * width, lines=step.channels, stride=height * width)
        return
    target = walk.y.at((step.begin - walk.origins[1]) * width * total + first)
    if chain.blocks == 1:
        store(slot, place, target, rows * width * total)
    else:
        store(slot, place, target, step.channels, lines=simplified(rows * width), stride=total)


def _fetch_chunk(walk: Walk, chunk: Scalar) -> None:
    width, total = walk.chain.width, walk.chain.tensor_channels[0]
    lo, hi = walk.rows.chunk_rows(chunk)
    lo = let("fetch_row", lo)
    rows = let("fetch_rows", hi - lo)
    with when(rows > 0):
        source = walk.x.at((lo - walk.origins[0]) * width * total)
        fetch(walk.input_slots.slot(chunk), ACTIVATION, chunk_place(walk, chunk), source, rows * width * total)


def _fetch(walk: Walk, step: Step) -> None:
    """Start fetching what ``step`` needs of the input: all rows it reads, or the new ones where a ring keeps others."""
    lo, hi = fetched_rows(walk, step)
    if walk.chain.steps == 1:
        _fetch_rows(walk, step, lo, hi - lo)
        return
    lo = let("fetch_row", lo)
    rows = let("fetch_rows", larger(0, hi - lo))
    with when(rows > 0):
        _fetch_rows(walk, step, lo, rows)


def _fetch_rows(walk: Walk, step: Step, lo: Scalar, rows: Scalar) -> None:
    chain = walk.chain
    height, width = chain.sizes[0]
    total = chain.tensor_channels[0]
    channels = input_channels(walk, step)
    first = step.block * chain.tile.channels if chain.slices_input else 0
    slot, place = walk.input_slots.slot(input_turn(walk, step)), input_place(walk, step, lo)
    pixel = (lo - walk.origins[0]) * width
    if chain.dma_transposes:
        _fetch_transposed(slot, place, walk.x.at(pixel * total + first), simplified(rows * width), channels, total)
    elif chain.layouts[0] == "chw":
        source = walk.x.at((first * height + lo) * width)
        if chain.steps == 1:
            fetch(slot, ACTIVATION, place, source, channels * height * width)
        else:
            fetch(slot, ACTIVATION, place, source, rows * width, lines=channels, stride=height * width)
    elif chain.l1_channels(0) == total:
        fetch(slot, ACTIVATION, place, walk.x.at(pixel * total), rows * width * total)
    else:
        source = walk.x.at(pixel * total + first)
        fetch(slot, ACTIVATION, place, source, channels, lines=simplified(rows * width), stride=total)


def _fetch_transposed(
    slot: Scalar, place: Pointer, source: Pointer, pixels: Scalar, channels: Scalar, total: int
) -> None:
    """One transfer for each channel, waited for now and then, as the DMA takes no more than 16 at once."""
    with loop("channel", 0, channels) as channel:
        fetch(slot, ACTIVATION, place.at(channel * pixels), source.at(channel), 1, lines=pixels, stride=total)
        with when(channel % 8 == 7):
            wait(slot)
