"""One stage of a chain in one step: its kernel on all cores, over the rows that are new."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.codegen_gap8 import intrinsics
from tvm_dwfuse.tiling.balance import TILE, depthwise_unit
from tvm_dwfuse.tiling.chain import is_depthwise, reads_pixels, weight_row
from tvm_dwfuse.tiling.grid import core_grid

from .constants import StageConstants, constants_of
from .emit import Pointer, Scalar, each_core, emit, larger, let, loop, part, simplified, when
from .transfers import begin_chunk
from .views import View, view
from .walk import Step, Walk


def compute_stage(walk: Walk, step: Step, stage: int) -> None:
    """Compute the new rows of the output of ``stage``."""
    if stage == 0 and walk.chain.input_in_chunks:
        with loop("chunk", *walk.rows.chunks(step.index, step.first)) as chunk:
            lo, hi = walk.rows.chunk_rows(chunk)
            at_chunk = replace(step, chunk=chunk, chunk_row=let("row0", lo))
            begin_chunk(walk, at_chunk)
            _compute_rows(walk, at_chunk, 0, at_chunk.chunk_row, hi)
        return
    lo = walk.rows.new_from(stage + 1, step.first, step.begin)
    _compute_rows(walk, step, stage, lo, walk.rows.end_row(stage + 1, step.end))


@dataclass(frozen=True)
class _Use:
    """A stage in a step: ``rows`` rows of ``target`` from ``lo`` on, computed from ``source`` with ``constants``."""

    walk: Walk
    step: Step
    stage: int
    source: View
    target: View
    lo: Scalar
    rows: Scalar
    constants: StageConstants

    @property
    def conv(self) -> Conv:
        """The stage."""
        return self.walk.chain.stages[self.stage]

    @property
    def pixels(self) -> Scalar:
        """Pixels to compute."""
        return simplified(self.rows * self.walk.chain.sizes[self.stage + 1][1])

    def grid(self) -> tuple[int, int]:
        """Cores that share the channels, and cores that share the pixels or rows."""
        return core_grid(self.walk.chain, self.stage)

    def operands(self, channel: Scalar, channels: Scalar) -> dict[str, Any]:
        """Weights and requantization of a core's channels, as arguments of a kernel."""
        return {
            "w": self.constants.weights.at(channel * weight_row(self.conv)),
            "q": self.constants.requantization.at(channel * 2),
            "channels": channels,
            "shift": self.walk.layers[self.stage].shift,
        }

    def output(self, row: Scalar, pixel: Scalar, channel: Scalar) -> dict[str, Any]:
        """The output from a row, pixel and channel on, as arguments of a kernel."""
        target = self.target
        place = target.position(row) * target.row + pixel * target.pixel
        first = target.base.at(place + (self.constants.first + channel) * target.channel)
        return {"y": first, "y_pixel": target.pixel, "y_channel": target.channel}

    def window(self, lo: Scalar) -> dict[str, Any]:
        """The input that outputs from row ``lo`` on read, and how, as arguments of a kernel."""
        conv, source = self.conv, self.source
        top = simplified(lo * conv.strides[0] - conv.padding[0])
        if isinstance(top, int) or conv.padding[0]:
            begin, pad_top = let("top", larger(0, top)), let("pad_top", larger(0, 0 - top))
        else:
            begin, pad_top = let("top", top), 0
        end = self.walk.rows.end_row(self.stage, self.step.end)
        return {
            "x_row": source.row,
            "x_pixel": source.pixel,
            "x_channel": source.channel,
            "ring": source.ring,
            "first": let("ring_first", source.position(begin)),
            "rows": let("in_rows", end - begin),
            "width": self.walk.chain.sizes[self.stage][1],
            "kernel_h": conv.kernel[0],
            "kernel_w": conv.kernel[1],
            "stride_h": conv.strides[0],
            "stride_w": conv.strides[1],
            "pad_top": pad_top,
            "pad_left": conv.padding[1],
            "pad_value": self.walk.layers[self.stage].pad_value,
            "out_width": self.walk.chain.sizes[self.stage + 1][1],
        }

    def scratch(self, core: Scalar) -> Pointer:
        """The scratch of a core; kernels that need none leave the pointer alone."""
        walk = self.walk
        return walk.l1["l1_scratch"].at(core * walk.chain.scratch) if walk.chain.scratch else walk.l1["l1_x"]


def _compute_rows(walk: Walk, step: Step, stage: int, lo: Scalar, hi: Scalar) -> None:
    lo = let(f"row{stage}", lo)
    rows = let(f"rows{stage}", hi - lo)
    source, target = view(walk, step, stage), view(walk, step, stage + 1)
    with constants_of(walk, step, stage) as constants:
        use = _Use(walk, step, stage, source, target, lo, rows, constants)
        if is_depthwise(use.conv):
            _depthwise(use)
        elif reads_pixels(use.conv, walk.chain.layouts[stage]):
            _pointwise(use)
        else:
            _convolution(use)


def _pointwise(use: _Use) -> None:
    """Rows are one run of pixels; the cores share pixels and output channels."""
    source = use.source
    x_row = source.position(use.lo) * source.row
    with each_core(use.walk.chain.cores) as core:
        channel, channels, pixel, pixels = _pixels_of(use, core)
        with _work(channels, pixels):
            emit(
                intrinsics.pointwise(
                    x=source.base.at(x_row + pixel * source.pixel),
                    x_pixel=source.pixel,
                    pixels=pixels,
                    k=weight_row(use.conv),
                    **use.operands(channel, channels),
                    **use.output(use.lo, pixel, channel),
                )
            )


def _convolution(use: _Use) -> None:
    """The cores share pixels and output channels, and gather the inputs of four pixels at a time."""
    window = use.window(use.lo)
    with each_core(use.walk.chain.cores) as core:
        channel, channels, pixel, pixels = _pixels_of(use, core)
        with _work(channels, pixels):
            emit(
                intrinsics.conv(
                    x=use.source.base,
                    **window,
                    in_channels=use.conv.in_channels,
                    pixel_begin=pixel,
                    pixel_end=simplified(pixel + pixels),
                    k=weight_row(use.conv),
                    **use.operands(channel, channels),
                    **use.output(use.lo, 0, channel),
                    scratch=use.scratch(core),
                )
            )


def _depthwise(use: _Use) -> None:
    """The cores share channels and rows."""
    chain = use.walk.chain
    unit = depthwise_unit(chain.layouts[use.stage])
    channel_cores, row_cores = use.grid()
    with each_core(chain.cores) as core:
        channel, channels = part("channel", core % channel_cores, channel_cores, use.constants.count, unit)
        row, rows = part("row", core // channel_cores, row_cores, use.rows)
        with _work(channels, rows):
            first = let("first_row", use.lo + row)
            emit(
                intrinsics.depthwise(
                    x=use.source.base.at(channel * use.source.channel),
                    **use.window(first),
                    out_rows=rows,
                    band=chain.band(use.stage),
                    **use.operands(channel, channels),
                    **use.output(first, 0, channel),
                    y_row=use.target.row,
                    scratch=use.scratch(core),
                )
            )


def _pixels_of(use: _Use, core: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """First and number of the channels, and of the pixels, that a core computes."""
    channel_cores, pixel_cores = use.grid()
    channel, channels = part("channel", core % channel_cores, channel_cores, use.constants.count, TILE)
    pixel, pixels = part("pixel", core // channel_cores, pixel_cores, use.pixels, TILE)
    return channel, channels, pixel, pixels


def _work(channels: Scalar, units: Scalar) -> AbstractContextManager[None]:
    """A condition that this core has work; none where it is known to."""
    known = isinstance(channels, int), isinstance(units, int)
    if all(known):
        return when(True)
    if known[0] or known[1]:
        return when((units if known[0] else channels) > 0)
    return when(tirx.all(channels > 0, units > 0))
