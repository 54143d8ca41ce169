"""Weights and requantization of a chain: those that stay in L1 for a block, and those streamed through in each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tvm_dwfuse.tiling.chain import weight_row

from .emit import CONSTANT, Pointer, Scalar, fetch, let, loop, simplified, smaller, wait, when
from .walk import Step, Walk


class StageConstants(NamedTuple):
    """Constants in L1 of ``count`` output channels of a stage, ``first`` being the first of them in the block."""

    weights: Pointer
    requantization: Pointer
    first: Scalar
    count: Scalar


def start_block(walk: Walk, step: Step) -> None:
    """Start fetching the constants of this block, unless they are on their way already."""
    if not _staying(walk):
        return
    at_once = step.block == walk.blocks[0] if walk.block_slots.buffers > 1 else True
    with when(step.first), when(at_once):
        _fetch_block(walk, step.block, step.channels)


def await_block(walk: Walk, step: Step) -> None:
    """Wait for the constants of this block."""
    if _staying(walk):
        with when(step.first):
            wait(walk.block_slots.slot(_turn(walk, step.block)))


def start_next_block(walk: Walk, step: Step) -> None:
    """Start fetching the constants of the next block."""
    if not _staying(walk) or walk.block_slots.buffers == 1:
        return
    with when(step.first), when(step.block + 1 < walk.blocks[1]):
        following = step.block + 1
        _fetch_block(walk, following, walk.block_channels(following))


def start_first_stream(walk: Walk, step: Step) -> None:
    """Start fetching the first tile of streamed constants, which no earlier tile fetches ahead."""
    streamed = _streamed(walk)
    if streamed and walk.stream_slots.buffers > 1:
        with when(step.first):
            _fetch_tile(walk, streamed[0], 0, 0)


@contextmanager
def constants_of(walk: Walk, step: Step, stage: int) -> Iterator[StageConstants]:
    """The constants of a stage, inside the loop over its tiles where they are streamed."""
    if walk.chain.streams_weights(stage):
        with _stream(walk, step, stage) as constants:
            yield constants
        return
    turn = walk.block_slots.turn(_turn(walk, step.block))
    channels = walk.chain.l1_channels(stage + 1)
    weights = walk.l1[f"l1_w{stage}"].at(turn * channels * weight_row(walk.chain.stages[stage]))
    requantization = walk.l1[f"l1_q{stage}"].at(turn * 2 * channels)
    yield StageConstants(weights, requantization, 0, walk.out_channels(stage, step))


def _staying(walk: Walk) -> list[int]:
    return [i for i in range(len(walk.chain.stages)) if not walk.chain.streams_weights(i)]


def _streamed(walk: Walk) -> list[int]:
    return [i for i in range(len(walk.chain.stages)) if walk.chain.streams_weights(i)]


def _turn(walk: Walk, block: Scalar) -> Scalar:
    return block - walk.blocks[0]


def _fetch_block(walk: Walk, block: Scalar, channels: Scalar) -> None:
    turn = _turn(walk, block)
    slot, place = walk.block_slots.slot(turn), walk.block_slots.turn(turn)
    for stage in _staying(walk):
        row, held = weight_row(walk.chain.stages[stage]), walk.chain.l1_channels(stage + 1)
        taken = channels if walk.chain.can_block else held
        first = turn * walk.chain.tile.channels if walk.chain.can_block else 0
        targets = walk.l1[f"l1_w{stage}"].at(place * held * row), walk.l1[f"l1_q{stage}"].at(place * 2 * held)
        _fetch_channels(walk, stage, slot, targets, first, taken)


def _fetch_tile(walk: Walk, stage: int, tile: Scalar, turn: Scalar) -> None:
    """Start fetching a tile of a streamed stage into the slot in turn."""
    first, count = _tile_channels(walk, stage, tile)
    _fetch_channels(walk, stage, walk.stream_slots.slot(turn), _stream_places(walk, turn), first, count)


def _tile_channels(walk: Walk, stage: int, tile: Scalar) -> tuple[Scalar, Scalar]:
    """First and number of the output channels of a tile; chains that stream have one block."""
    held, total = walk.chain.tile.weights[stage], walk.chain.tensor_channels[stage + 1]
    first = let("tile_first", tile * held)
    return first, let("tile_count", smaller(held, total - first)) if total % held else held


def _fetch_channels(
    walk: Walk, stage: int, slot: Scalar, places: tuple[Pointer, Pointer], first: Scalar, count: Scalar
) -> None:
    row = weight_row(walk.chain.stages[stage])
    weights, requantization = walk.operands[stage]
    fetch(slot, CONSTANT, places[0], weights.at(first * row), count * row)
    fetch(slot, CONSTANT, places[1], requantization.at(first * 2), count * 8)


def _stream_places(walk: Walk, turn: Scalar) -> tuple[Pointer, Pointer]:
    elements = {buffer.name: buffer.elements for buffer in walk.chain.buffers}
    place = walk.stream_slots.turn(turn)
    return walk.l1["l1_w"].at(place * elements["l1_w"]), walk.l1["l1_q"].at(place * elements["l1_q"])


@contextmanager
def _stream(walk: Walk, step: Step, stage: int) -> Iterator[StageConstants]:
    """The loop over the tiles of a streamed stage; with two slots, the next tile is on its way while one is used."""
    tiles = len(walk.chain.weight_tiles(stage, 0))
    before = _streamed_before(walk, step, stage)
    with loop("tile", 0, tiles) as tile:
        turn = let("tile_turn", before + tile)
        if walk.stream_slots.buffers == 1:
            _fetch_tile(walk, stage, tile, turn)
        wait(walk.stream_slots.slot(turn))
        if walk.stream_slots.buffers > 1:
            with when(tile + 1 < tiles):
                _fetch_tile(walk, stage, tile + 1, turn + 1)
            with when(tile == tiles - 1):
                _fetch_following(walk, step, stage, turn + 1)
        yield StageConstants(*_stream_places(walk, turn), *_tile_channels(walk, stage, tile))


def _streamed_before(walk: Walk, step: Step, stage: int) -> Scalar:
    """Tiles streamed before this use of ``stage``: those of the first stage once for each chunk of input."""
    tiles = {i: len(walk.chain.weight_tiles(i, 0)) for i in _streamed(walk)}
    of_first = tiles.pop(0, 0)
    chunks = _chunk(walk, step) if stage == 0 else walk.rows.chunks(step.index, step.first)[1]
    within = sum(count for i, count in tiles.items() if i < stage)
    return chunks * of_first + step.index * sum(tiles.values()) + within


def _chunk(walk: Walk, step: Step) -> Scalar:
    return step.chunk if walk.chain.input_in_chunks else step.index


def _fetch_following(walk: Walk, step: Step, stage: int, turn: Scalar) -> None:
    """Start fetching what is streamed after the last tile of ``stage``: for another chunk, stage or step."""
    streamed = _streamed(walk)
    later = [i for i in streamed if i > stage]
    last_chunk = walk.rows.chunks(step.index, step.first)[1] - 1
    if stage == 0 and walk.chain.input_in_chunks and later:
        with when(simplified(_chunk(walk, step) - last_chunk) < 0):
            _fetch_tile(walk, 0, 0, turn)
        with when(_chunk(walk, step) == last_chunk):
            _fetch_tile(walk, later[0], 0, turn)
    elif later:
        _fetch_tile(walk, later[0], 0, turn)
    else:
        more = _chunk(walk, step) + 1 < walk.rows.chunk_count if stage == 0 else step.index + 1 < walk.rows.count
        with when(more):
            _fetch_tile(walk, streamed[0], 0, turn)
