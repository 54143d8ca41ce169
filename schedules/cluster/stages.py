"""One stage of a chain in one step: its kernel on all cores, over the rows that are new."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

from tvm import tirx

from tvm_dwfuse.codegen_gap8 import intrinsics
from tvm_dwfuse.tiling.balance import TILE, depthwise_unit
from tvm_dwfuse.tiling.chain import is_depthwise, reads_pixels
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


def _compute_rows(walk: Walk, step: Step, stage: int, lo: Scalar, hi: Scalar) -> None:
    conv, layout = walk.chain.stages[stage], walk.chain.layouts[stage]
    lo = let(f"row{stage}", lo)
    rows = let(f"rows{stage}", hi - lo)
    source, target = view(walk, step, stage), view(walk, step, stage + 1)
    with constants_of(walk, step, stage) as constants:
        if is_depthwise(conv):
            _depthwise(walk, step, stage, source, target, lo, rows, constants)
        elif reads_pixels(conv, layout):
            _pointwise(walk, stage, source, target, lo, rows, constants)
        else:
            _convolution(walk, step, stage, source, target, lo, rows, constants)


def _pointwise(
    walk: Walk, stage: int, source: View, target: View, lo: Scalar, rows: Scalar, constants: StageConstants
) -> None:
    """Rows are one run of pixels; the cores share pixels and output channels."""
    conv = walk.chain.stages[stage]
    width = walk.chain.sizes[stage + 1][1]
    channel_cores, pixel_cores = core_grid(walk.chain, stage)
    x_row = source.position(lo) * source.row
    y_row = target.position(lo) * target.row
    row_bytes = -(-conv.in_channels // 4) * 4
    with each_core(walk.chain.cores) as core:
        channel, channels = part("channel", core % channel_cores, channel_cores, constants.count, TILE)
        pixel, pixels = part("pixel", core // channel_cores, pixel_cores, simplified(rows * width), TILE)
        with _work(channels, pixels):
            emit(
                intrinsics.pointwise(
                    x=source.base.at(x_row + pixel * source.pixel),
                    x_pixel=source.pixel,
                    pixels=pixels,
                    k=row_bytes,
                    **_operands(constants, channel, row_bytes),
                    channels=channels,
                    shift=walk.layers[stage].shift,
                    y=_output(target, y_row, pixel, channel, constants),
                    y_pixel=target.pixel,
                    y_channel=target.channel,
                )
            )


def _convolution(
    walk: Walk,
    step: Step,
    stage: int,
    source: View,
    target: View,
    lo: Scalar,
    rows: Scalar,
    constants: StageConstants,
) -> None:
    """The cores share pixels and output channels, and gather the inputs of four pixels at a time."""
    conv, layer = walk.chain.stages[stage], walk.layers[stage]
    _, width = walk.chain.sizes[stage]
    out_width = walk.chain.sizes[stage + 1][1]
    channel_cores, pixel_cores = core_grid(walk.chain, stage)
    row_bytes = -(-conv.kernel[0] * conv.kernel[1] * conv.in_channels // 4) * 4
    y_row = target.position(lo) * target.row
    window = _window(walk, step, stage, source, lo)
    with each_core(walk.chain.cores) as core:
        channel, channels = part("channel", core % channel_cores, channel_cores, constants.count, TILE)
        pixel, pixels = part("pixel", core // channel_cores, pixel_cores, simplified(rows * out_width), TILE)
        with _work(channels, pixels):
            emit(
                intrinsics.conv(
                    x=source.base,
                    x_row=source.row,
                    x_pixel=source.pixel,
                    x_channel=source.channel,
                    ring=source.ring,
                    **window,
                    width=width,
                    in_channels=conv.in_channels,
                    kernel_h=conv.kernel[0],
                    kernel_w=conv.kernel[1],
                    stride_h=conv.strides[0],
                    stride_w=conv.strides[1],
                    pad_left=conv.padding[1],
                    pad_value=layer.pad_value,
                    out_width=out_width,
                    pixel_begin=pixel,
                    pixel_end=simplified(pixel + pixels),
                    k=row_bytes,
                    **_operands(constants, channel, row_bytes),
                    channels=channels,
                    shift=layer.shift,
                    y=_output(target, y_row, 0, channel, constants),
                    y_pixel=target.pixel,
                    y_channel=target.channel,
                    scratch=_scratch(walk, core),
                )
            )


def _depthwise(
    walk: Walk,
    step: Step,
    stage: int,
    source: View,
    target: View,
    lo: Scalar,
    rows: Scalar,
    constants: StageConstants,
) -> None:
    """The cores share channels and rows."""
    chain, conv, layer = walk.chain, walk.chain.stages[stage], walk.layers[stage]
    layout = chain.layouts[stage]
    channel_cores, row_cores = core_grid(chain, stage)
    row_bytes = conv.kernel[0] * (-(-conv.kernel[1] // 4) * 4)
    with each_core(chain.cores) as core:
        channel, channels = part(
            "channel", core % channel_cores, channel_cores, constants.count, depthwise_unit(layout)
        )
        row, taken = part("row", core // channel_cores, row_cores, rows)
        with _work(channels, taken):
            first = let("first_row", lo + row)
            emit(
                intrinsics.depthwise(
                    x=source.base.at(channel * source.channel),
                    x_row=source.row,
                    x_pixel=source.pixel,
                    x_channel=source.channel,
                    ring=source.ring,
                    **_window(walk, step, stage, source, first),
                    width=chain.sizes[stage][1],
                    kernel_h=conv.kernel[0],
                    kernel_w=conv.kernel[1],
                    stride_h=conv.strides[0],
                    stride_w=conv.strides[1],
                    pad_left=conv.padding[1],
                    pad_value=layer.pad_value,
                    out_rows=taken,
                    out_width=chain.sizes[stage + 1][1],
                    band=chain.band(stage),
                    channels=channels,
                    **_operands(constants, channel, row_bytes),
                    shift=layer.shift,
                    y=_output(target, target.position(first) * target.row, 0, channel, constants),
                    y_row=target.row,
                    y_pixel=target.pixel,
                    y_channel=target.channel,
                    scratch=_scratch(walk, core),
                )
            )


def _window(walk: Walk, step: Step, stage: int, source: View, lo: Scalar) -> dict[str, Scalar]:
    """The rows of the input that outputs from row ``lo`` on read, and the padding above them."""
    conv = walk.chain.stages[stage]
    top = simplified(lo * conv.strides[0] - conv.padding[0])
    if isinstance(top, int) or conv.padding[0]:
        begin, pad_top = let("top", larger(0, top)), let("pad_top", larger(0, 0 - top))
    else:
        begin, pad_top = let("top", top), 0
    end = walk.rows.end_row(stage, step.end)
    return {"first": let("ring_first", source.position(begin)), "rows": let("in_rows", end - begin), "pad_top": pad_top}


def _operands(constants: StageConstants, channel: Scalar, row_bytes: int) -> dict[str, Pointer]:
    return {"w": constants.weights.at(channel * row_bytes), "q": constants.requantization.at(channel * 2)}


def _output(target: View, row: Scalar, pixel: Scalar, channel: Scalar, constants: StageConstants) -> Pointer:
    return target.base.at(row + pixel * target.pixel + (constants.first + channel) * target.channel)


def _scratch(walk: Walk, core: Scalar) -> Pointer:
    """The scratch of a core; kernels that need none leave the pointer alone."""
    return walk.l1["l1_scratch"].at(core * walk.chain.scratch) if walk.chain.scratch else walk.l1["l1_x"]


def _work(channels: Scalar, units: Scalar) -> AbstractContextManager[None]:
    """A condition that this core has work; none where it is known to."""
    known = isinstance(channels, int), isinstance(units, int)
    if all(known):
        return when(True)
    if known[0] or known[1]:
        return when((units if known[0] else channels) > 0)
    return when(tirx.all(channels > 0, units > 0))
