"""Where the tensors of a chain lie in L1 during a step, as the kernels are told."""

from __future__ import annotations

from dataclasses import dataclass

from .emit import Pointer, Scalar, larger, let
from .walk import Step, Walk


@dataclass(frozen=True)
class View:
    """A tensor in L1: row r lies at ``base`` + ((r - ``origin``) rolled in ``ring``) * ``row``.

    ``position`` of a row is that rolled place; ``row``, ``pixel`` and ``channel`` are pitches in elements.
    """

    walk: Walk
    tensor: int
    base: Pointer
    origin: Scalar
    ring: Scalar
    row: Scalar
    pixel: Scalar
    channel: Scalar

    def position(self, row: Scalar) -> Scalar:
        """The place of a row among those that L1 holds."""
        if self.origin is None:
            return self.walk.rows.position(self.tensor, row)
        return row - self.origin


def view(walk: Walk, step: Step, tensor: int) -> View:
    """The L1 view of a tensor in that step."""
    if tensor == len(walk.chain.stages):
        return output_view(walk, step)
    if tensor == 0:
        return _input_view(walk, step)
    chain = walk.chain
    ring, width = chain.ring_rows(tensor), chain.sizes[tensor][1]
    return _view(walk, tensor, walk.l1[f"l1_m{tensor}"], None, ring, ring * width, chain.l1_channels(tensor))


def output_view(walk: Walk, step: Step) -> View:
    """The L1 view of the last tensor: rows of this step alone, packed for the transfer."""
    chain, last = walk.chain, len(walk.chain.stages)
    width = chain.sizes[last][1]
    rows = step.end - step.begin
    buffer = next(buffer for buffer in chain.buffers if buffer.name == "l1_y")
    base = walk.l1["l1_y"].at(walk.output_slots.turn(step.turn) * buffer.elements)
    return _view(walk, last, base, step.begin, rows, rows * width, step.channels)


def _input_view(walk: Walk, step: Step) -> View:
    chain = walk.chain
    width = chain.sizes[0][1]
    channels = input_channels(walk, step)
    if chain.input_in_chunks:
        rows = chain.ring_rows(0)
        return _view(walk, 0, chunk_place(walk, step.chunk), step.chunk_row, rows, rows * width, channels)
    if not chain.input_in_slots:
        ring = chain.ring_rows(0)
        return _view(walk, 0, walk.l1["l1_x"], None, ring, ring * width, channels)
    lo, hi = fetched_rows(walk, step)
    lo = let("x_row", lo)
    rows = let("x_rows", hi - lo)
    return _view(walk, 0, input_place(walk, step, lo), lo, rows, rows * width, channels)


def input_turn(walk: Walk, step: Step) -> Scalar:
    """Input slots change from block to block where a block is one step, else from step to step of each block."""
    if walk.chain.input_resident:
        return 0
    return step.turn if walk.chain.steps == 1 else step.index


def fetched_rows(walk: Walk, step: Step) -> tuple[Scalar, Scalar]:
    """Rows [lo, hi) of the input to fetch for a step: all it reads, or the new ones where a ring keeps others."""
    chain, rows = walk.chain, walk.rows
    if chain.steps == 1:
        return 0, chain.live_rows[0]
    hi = rows.end_row(0, step.end)
    if not chain.input_in_slots:
        return rows.new_from(0, step.first, step.begin), hi
    stage = chain.stages[0]
    return larger(0, rows.new_from(1, step.first, step.begin) * stage.strides[0] - stage.padding[0]), hi


def input_channels(walk: Walk, step: Step) -> Scalar:
    """Channels of the input that a step reads."""
    return step.channels if walk.chain.slices_input else walk.chain.tensor_channels[0]


def chunk_place(walk: Walk, chunk: Scalar) -> Pointer:
    """Where a chunk of the input is fetched to."""
    return walk.l1["l1_x"].at(walk.input_slots.turn(chunk) * walk.chain.buffers[0].elements)


def input_place(walk: Walk, step: Step, row: Scalar) -> Pointer:
    """Where the input from ``row`` on is fetched to: the slot in turn, or its place in the ring."""
    chain, base = walk.chain, walk.l1["l1_x"]
    if chain.input_in_slots:
        turn = input_turn(walk, step)
        return base.at(turn % 2 * chain.buffers[0].elements) if chain.input_slots > 1 else base
    return base.at(walk.rows.position(0, row) * chain.sizes[0][1] * input_channels(walk, step))


def _view(
    walk: Walk, tensor: int, base: Pointer, origin: Scalar, ring: Scalar, plane: Scalar, channels: Scalar
) -> View:
    width = walk.chain.sizes[tensor][1]
    if walk.chain.layouts[tensor] == "hwc":
        return View(walk, tensor, base, origin, ring, width * channels, channels, 1)
    return View(walk, tensor, base, origin, ring, width, 1, plane)
