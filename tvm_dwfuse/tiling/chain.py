"""A chain of fused convolutions walked by rows or by channels through L1: rows, buffers and transfers of each step.

Tensor 0 is the chain's input, tensor i the output of stage i - 1. The walk has an outer loop over blocks of channels
and an inner loop over steps of rows of the last tensor. In each step, every stage computes only the rows that are new:
no row of an intermediate is computed twice. Rows that a later step still needs stay where they are, in a ring of rows.

The traversals of Daghero et al. 2024 are points of this space: "rows" is one block of all channels and steps of FD
rows, "channels" is blocks of FD channels and one step of all rows. The schedules build their loops from the same
numbers, so what is predicted here is what the code does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..blocks import Conv
from ..codegen_gap8.kernels.scratch import conv_scratch, depthwise_scratch, round_up
from ..codegen_gap8.l1 import OVERREAD_BYTES

#: Rows of staging that one core's depthwise scratch may take; the band of rows is the largest that fits.
SCRATCH_LIMIT = 1024


@dataclass(frozen=True)
class Tile:
    """The knobs of a chain.

    Args:
        rows: rows of the last tensor in a step.
        channels: channels of the last tensor in a block; all of them where the chain cannot be cut in blocks.
        weights: for each stage, output channels whose weights are in L1 at once; at least the block's channels means
            that they stay for the whole block, fewer that they are fetched again in each step
            (only in a chain of one block).
        double_x, double_y, double_w: whether input, output and weights are double-buffered.
    """

    rows: int
    channels: int
    weights: tuple[int, ...]
    double_x: bool = True
    double_y: bool = True
    double_w: bool = True


@dataclass(frozen=True)
class Rows:
    """Rows [lo, hi) of a tensor."""

    lo: int
    hi: int

    def __len__(self) -> int:
        return max(0, self.hi - self.lo)


@dataclass(frozen=True)
class Transfer:
    """One DMA transfer: ``lines`` of ``line_bytes`` each, of an activation or of constants, into L1 or out of it."""

    kind: str  # "activation" | "constant"
    inward: bool
    lines: int
    line_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes moved."""
        return self.lines * self.line_bytes


@dataclass(frozen=True)
class Buffer:
    """An L1 buffer: ``slots`` of ``elements`` each, and ``guard`` more that no kernel writes."""

    name: str
    dtype: str
    elements: int
    slots: int = 1
    guard: int = 0

    @property
    def total(self) -> int:
        """Elements to allocate."""
        return self.slots * self.elements + self.guard

    @property
    def bytes(self) -> int:
        """Its size, rounded up to whole words."""
        return round_up(self.total * (4 if self.dtype == "int32" else 1), 4)


@dataclass(frozen=True)
class Chain:
    """Convolutions computed together, and how.

    Args:
        stages: the convolutions; ``height`` and ``width`` are the input's.
        layouts: "hwc" or "chw" of each tensor, one more than stages: the first and last in L2 and L1, the others in L1.
        tile: the knobs.
        cores: cores of the cluster.
        dma_transposes: the input lies HWC in L2, and the DMA turns it into the "chw" of ``layouts`` byte by byte; the
            way of the published kernels, kept to compare with.
    """

    stages: tuple[Conv, ...]
    height: int
    width: int
    layouts: tuple[str, ...]
    tile: Tile
    cores: int = 8
    dma_transposes: bool = False

    def __post_init__(self) -> None:
        if self.blocks > 1 and not self.can_block:
            raise ValueError("only a chain whose later stages are all depthwise can be cut in blocks of channels")
        if self.blocks > 1 and any(self.streams_weights(i) for i in range(len(self.stages))):
            raise ValueError("weights are streamed in each step only where there is one block of channels")

    # --- geometry -------------------------------------------------------------------------------------------------

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each tensor."""
        sizes = [(self.height, self.width)]
        for stage in self.stages:
            sizes.append(stage.out_size(*sizes[-1]))
        return tuple(sizes)

    @cached_property
    def tensor_channels(self) -> tuple[int, ...]:
        """Channels of each tensor."""
        return (self.stages[0].in_channels, *(stage.out_channels for stage in self.stages))

    @cached_property
    def out_rows(self) -> int:
        """Rows of the last tensor."""
        return self.sizes[-1][0]

    @cached_property
    def steps(self) -> int:
        """Steps of rows when all rows are computed in one call."""
        return -(-self.out_rows // self.tile.rows)

    @cached_property
    def blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.tensor_channels[-1] // self.tile.channels)

    @cached_property
    def can_block(self) -> bool:
        """Whether the chain can be cut in blocks of channels: whatever follows the first stage is depthwise."""
        return all(is_depthwise(stage) for stage in self.stages[1:])

    @cached_property
    def slices_input(self) -> bool:
        """Whether a block of output channels reads only the same channels of the input."""
        return self.can_block and is_depthwise(self.stages[0])

    def block_channels(self, block: int) -> int:
        """Channels of that block; the last one may have fewer."""
        return min(self.tile.channels, self.tensor_channels[-1] - block * self.tile.channels)

    def l1_channels(self, tensor: int) -> int:
        """Channels of ``tensor`` that L1 holds."""
        sliced = self.can_block if tensor else self.slices_input
        return self.tile.channels if sliced else self.tensor_channels[tensor]

    # --- rows -----------------------------------------------------------------------------------------------------

    def first_row(self, tensor: int, row: int) -> int:
        """First row of ``tensor`` that rows of the last tensor from ``row`` on read."""
        for i in reversed(range(tensor, len(self.stages))):
            row = max(0, row * self.stages[i].strides[0] - self.stages[i].padding[0])
        return row

    def end_row(self, tensor: int, row: int) -> int:
        """End of the rows of ``tensor`` that rows of the last tensor before ``row`` read."""
        for i in reversed(range(tensor, len(self.stages))):
            stage = self.stages[i]
            row = min(self.sizes[i][0], max(0, (row - 1) * stage.strides[0] - stage.padding[0] + stage.kernel[0]))
        return row

    def new_rows(self, tensor: int, begin: int, end: int, first: bool) -> Rows:
        """Rows of ``tensor`` that a step for rows [begin, end) of the last tensor adds."""
        lo = self.first_row(tensor, begin) if first else self.end_row(tensor, begin)
        return Rows(lo, self.end_row(tensor, end))

    def step_rows(self, tensor: int) -> int:
        """Rows of ``tensor`` that a step in mid-image adds; also what rings of rows advance by."""
        rows = self.tile.rows
        for stage in self.stages[tensor:]:
            rows *= stage.strides[0]
        return rows

    @cached_property
    def live_rows(self) -> tuple[int, ...]:
        """For each tensor, the most rows that one step reads or writes, borders of the image aside."""
        live = [self.end_row(i, self.out_rows) for i in range(len(self.sizes))]
        if self.steps > 1:
            first = live[-1] = self.tile.rows
            for i in reversed(range(len(self.stages))):
                stage = self.stages[i]
                most = max(first, self.step_rows(i + 1))
                live[i] = min((most - 1) * stage.strides[0] + stage.kernel[0], self.sizes[i][0])
                first = min((first - 1) * stage.strides[0] + stage.kernel[0], self.sizes[i][0])
        if self._fetches_planes:
            live[0] = self.height
        return tuple(live)

    @cached_property
    def input_in_slots(self) -> bool:
        """Whether each step fetches all the input rows it reads, halo included; else only new ones, into a ring.

        One step has no rows to keep; planes of a CHW tensor cannot be continued, as a transfer's L1 side is one run.
        """
        return self.steps == 1 or self.layouts[0] == "chw"

    @cached_property
    def input_in_chunks(self) -> bool:
        """Whether the input comes in chunks of as many rows as a step in mid-image adds, each used up at once.

        A pointwise first stage needs no row twice. Its first step makes more rows than the others, in several chunks.
        """
        return self.steps > 1 and reads_pixels(self.stages[0], self.layouts[0])

    @property
    def _fetches_planes(self) -> bool:
        """Whether whole planes of a CHW input are fetched, rows at the bottom that nothing reads among them."""
        return self.steps == 1 and self.layouts[0] == "chw"

    @cached_property
    def input_resident(self) -> bool:
        """Whether the input is fetched once for all blocks."""
        return self.steps == 1 and not self.slices_input

    def ring_rows(self, tensor: int) -> int:
        """Rows that the L1 buffer of ``tensor`` holds (of one slot, where there are slots)."""
        live = self.live_rows[tensor]
        if tensor == 0 and self.input_in_chunks:
            return min(self.step_rows(0), self.height)
        if self.steps == 1 or tensor == len(self.stages) or (tensor == 0 and self.input_in_slots):
            return live
        if tensor == 0 and self.tile.double_x:
            live += self.step_rows(0)
        return round_up(live, self.step_rows(tensor))

    # --- L1 -------------------------------------------------------------------------------------------------------

    @cached_property
    def buffers(self) -> tuple[Buffer, ...]:
        """The L1 buffers: input, intermediates, output, constants, scratch of the cores."""
        buffers = [Buffer("l1_x", "uint8", self._elements(0), self.input_slots, OVERREAD_BYTES)]
        buffers += [
            Buffer(f"l1_m{i}", "uint8", self._elements(i), guard=OVERREAD_BYTES) for i in range(1, len(self.stages))
        ]
        buffers.append(Buffer("l1_y", "uint8", self._elements(len(self.stages)), self.output_slots))
        for i in range(len(self.stages)):
            if not self.streams_weights(i):
                channels = self.l1_channels(i + 1)
                buffers.append(Buffer(f"l1_w{i}", "int8", channels * weight_row(self.stages[i]), self.weight_slots))
                buffers.append(Buffer(f"l1_q{i}", "int32", 2 * channels, self.weight_slots))
        streamed = [i for i in range(len(self.stages)) if self.streams_weights(i)]
        if streamed:
            most = max(self.tile.weights[i] * weight_row(self.stages[i]) for i in streamed)
            buffers.append(Buffer("l1_w", "int8", most, 1 + self.tile.double_w))
            most = max(2 * self.tile.weights[i] for i in streamed)
            buffers.append(Buffer("l1_q", "int32", most, 1 + self.tile.double_w))
        if self.scratch:
            buffers.append(Buffer("l1_scratch", "uint8", self.cores * self.scratch))
        return tuple(buffers)

    @cached_property
    def l1_bytes(self) -> int:
        """L1 that the chain needs."""
        return sum(buffer.bytes for buffer in self.buffers)

    @property
    def input_slots(self) -> int:
        """Slots of the input buffer."""
        in_turns = self.input_in_slots or self.input_in_chunks
        return 2 if in_turns and not self.input_resident and self.tile.double_x else 1

    @property
    def output_slots(self) -> int:
        """Slots of the output buffer."""
        return 2 if self.tile.double_y and self.steps * self.blocks > 1 else 1

    @property
    def weight_slots(self) -> int:
        """Slots of the weights that stay for a block."""
        return 2 if self.blocks > 1 and self.tile.double_w else 1

    def streams_weights(self, stage: int) -> bool:
        """Whether the weights of that stage are fetched anew in each step, tile by tile."""
        return not is_depthwise(self.stages[stage]) and self.tile.weights[stage] < self.l1_channels(stage + 1)

    def band(self, stage: int) -> int:
        """Output rows that the depthwise kernel of ``stage`` stages at a time."""
        bands = range(self.live_rows[stage + 1], 1, -1)
        return next((band for band in bands if self._depthwise_scratch(stage, band) <= SCRATCH_LIMIT), 1)

    @cached_property
    def scratch(self) -> int:
        """Bytes of scratch for one core, a multiple of 4."""
        needs = [0]
        for i, conv in enumerate(self.stages):
            if is_depthwise(conv):
                needs.append(self._depthwise_scratch(i, self.band(i)))
            elif not reads_pixels(conv, self.layouts[i]):
                needs.append(conv_scratch(conv.kernel, conv.in_channels))
        return round_up(max(needs), 4)

    def _depthwise_scratch(self, stage: int, band: int) -> int:
        conv, width = self.stages[stage], self.sizes[stage + 1][1]
        return depthwise_scratch(conv.kernel, conv.strides, conv.padding, width, band, self.layouts[stage] == "hwc")

    def _elements(self, tensor: int) -> int:
        return self.ring_rows(tensor) * self.sizes[tensor][1] * self.l1_channels(tensor)

    # --- transfers ------------------------------------------------------------------------------------------------

    def input_rows(self, begin: int, end: int, first: bool) -> Rows:
        """Rows of the input that the step for rows [begin, end) of the last tensor fetches."""
        if not self.input_in_slots:
            return self.new_rows(0, begin, end, first)
        if self._fetches_planes:
            return Rows(0, self.height)
        produced = self.new_rows(1, begin, end, first)
        stage = self.stages[0]
        return Rows(max(0, produced.lo * stage.strides[0] - stage.padding[0]), self.end_row(0, end))

    def input_chunks(self, begin: int, end: int, first: bool) -> list[Rows]:
        """Those rows as they are fetched, one after the other; only the first step's may be more than one chunk."""
        rows = self.input_rows(begin, end, first)
        if not (self.input_in_chunks and first):
            return [rows]
        size = self.step_rows(0)
        ends = range(rows.hi, rows.lo, -size)
        return [Rows(max(rows.lo, hi - size), hi) for hi in reversed(ends)]

    def input_transfers(self, rows: int, channels: int) -> list[Transfer]:
        """The transfers of that many rows and channels of the input."""
        if self.dma_transposes:
            return [Transfer("activation", True, rows * self.width, 1)] * channels
        return [self._activation(0, rows, channels, True)]

    def output_transfer(self, rows: int, channels: int) -> Transfer:
        """The transfer of that many rows and channels of the output."""
        return self._activation(len(self.stages), rows, channels, False)

    def _activation(self, tensor: int, rows: int, channels: int, inward: bool) -> Transfer:
        width = self.sizes[tensor][1]
        all_channels = self.tensor_channels[tensor]
        if self.layouts[tensor] == "hwc":
            whole = self.l1_channels(tensor) == all_channels
            lines, length = (1, rows * width * channels) if whole else (rows * width, channels)
        else:
            whole = self.steps == 1
            lines, length = (1, channels * rows * width) if whole else (channels, rows * width)
        return Transfer("activation", inward, lines, length)

    def weight_transfers(self, stage: int, channels: int) -> tuple[Transfer, Transfer]:
        """The transfers of the weights and the requantization of that many output channels."""
        row = weight_row(self.stages[stage])
        return Transfer("constant", True, 1, channels * row), Transfer("constant", True, 1, 8 * channels)

    def weight_tiles(self, stage: int, block: int) -> list[int]:
        """Output channels of each tile of streamed weights."""
        channels = self.block_channels(block) if self.can_block else self.tensor_channels[stage + 1]
        tile = self.tile.weights[stage]
        return [min(tile, channels - start) for start in range(0, channels, tile)]

    def iterations(self) -> Iterator[tuple[int, int, int, int]]:
        """(block, step, begin, end) in the order of execution, for a call that computes everything."""
        for block in range(self.blocks):
            for step in range(self.steps):
                begin = step * self.tile.rows
                yield block, step, begin, min(begin + self.tile.rows, self.out_rows)

    def transfers(self, block: int, step: int, begin: int, end: int) -> list[Transfer]:
        """All transfers of one iteration."""
        channels = self.block_channels(block)
        transfers: list[Transfer] = []
        if step == 0:
            for i in range(len(self.stages)):
                if not self.streams_weights(i):
                    transfers += self.weight_transfers(i, channels if self.can_block else self.tensor_channels[i + 1])
        chunks = self.input_chunks(begin, end, step == 0)
        if not (self.input_resident and block):
            taken = channels if self.slices_input else self.tensor_channels[0]
            for rows in filter(len, chunks):
                transfers += self.input_transfers(len(rows), taken)
        for i in range(len(self.stages)):
            if self.streams_weights(i):
                for tile in self.weight_tiles(i, block) * (1 if i else len(chunks)):
                    transfers += self.weight_transfers(i, tile)
        transfers.append(self.output_transfer(end - begin, channels))
        return transfers

    def activation_bytes(self) -> int:
        """Bytes of activations that cross between L2 and L1."""
        moved = (transfer for where in self.iterations() for transfer in self.transfers(*where))
        return sum(transfer.bytes for transfer in moved if transfer.kind == "activation")


def is_depthwise(conv: Conv) -> bool:
    """Whether the depthwise kernel computes it: one input and one output channel a group."""
    return conv.groups == conv.in_channels == conv.out_channels and (conv.groups > 1 or conv.kernel != (1, 1))


def reads_pixels(conv: Conv, layout: str) -> bool:
    """Whether the pointwise kernel computes it, straight from the pixels of an HWC tensor."""
    return layout == "hwc" and conv.kernel == (1, 1) and conv.strides == (1, 1) and conv.padding == (0, 0, 0, 0)


def weight_row(conv: Conv) -> int:
    """Bytes of one output channel's weights, each run of the kernel's dot products rounded up to whole words."""
    if is_depthwise(conv):
        return conv.kernel[0] * round_up(conv.kernel[1], 4)
    return round_up(conv.kernel[0] * conv.kernel[1] * conv.in_channels, 4)
