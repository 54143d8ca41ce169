"""Pointwise, general and depthwise convolution of uint8 activations with int8 weights, requantized to uint8.

``q`` holds a pair of int32 (m, l) for each output channel: y = clip((m * acc + l) >> shift, 0, 255).
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder

from .definition import Arguments, Intrinsic
from .loops import Accumulator, loops, requantized, store_clipped


def _pointwise(a: Arguments) -> tirx.Stmt:
    with IRBuilder() as builder, loops(pixel=a.pixels, channel=a.channels) as (p, c):
        acc = Accumulator()
        with loops(j=a.k) as (j,):
            acc.add(a.w.load(c * a.k + j) * a.x.load(p * a.x_pixel + j))
        store_clipped(a.y, p * a.y_pixel + c * a.y_channel, requantized(acc.value, a.q, c, a.shift))
    return builder.get()


def _conv(a: Arguments) -> tirx.Stmt:
    read = _padded_input(a)
    with IRBuilder() as builder, loops(pixel=a.pixel_end - a.pixel_begin, channel=a.channels) as (pixel, c):
        p = a.pixel_begin + pixel
        acc = Accumulator()
        with loops(i=a.kernel_h, t=a.kernel_w, in_channel=a.in_channels) as (i, t, ci):
            row = p // a.out_width * a.stride_h - a.pad_top + i
            column = p % a.out_width * a.stride_w - a.pad_left + t
            acc.add(a.w.load(c * a.k + (i * a.kernel_w + t) * a.in_channels + ci) * read(row, column, ci))
        store_clipped(a.y, p * a.y_pixel + c * a.y_channel, requantized(acc.value, a.q, c, a.shift))
    return builder.get()


def _depthwise(a: Arguments) -> tirx.Stmt:
    read = _padded_input(a)
    taps = (a.kernel_w + 3) // 4 * 4
    with IRBuilder() as builder, loops(o=a.out_rows, j=a.out_width, channel=a.channels) as (o, j, c):
        acc = Accumulator()
        with loops(i=a.kernel_h, t=a.kernel_w) as (i, t):
            value = read(o * a.stride_h - a.pad_top + i, j * a.stride_w - a.pad_left + t, c)
            acc.add(a.w.load((c * a.kernel_h + i) * taps + t) * value)
        at = o * a.y_row + j * a.y_pixel + c * a.y_channel
        store_clipped(a.y, at, requantized(acc.value, a.q, c, a.shift))
    return builder.get()


def _padded_input(a: Arguments) -> Callable[[Expr, Expr, Expr], Expr]:
    """Element (row, column, channel) of an input whose rows lie in a ring, the padding value outside."""

    def read(row: Expr, column: Expr, channel: Expr) -> Expr:
        inside = tirx.all(row >= 0, row < a.rows, column >= 0, column < a.width)
        at = (a.first + row) % a.ring * a.x_row + column * a.x_pixel + channel * a.x_channel
        return tirx.if_then_else(inside, a.x.load(at), a.pad_value)

    return read


#: 1x1 convolution from the pixels of an HWC tensor. Row c of ``w`` has ``k`` weights, a multiple of 4 and zero beyond
#: the input channels, so that reading up to 3 bytes past a pixel does no harm.
pointwise = Intrinsic(
    prototype="""void dwfuse_pointwise(
        const uint8_t *x, int x_pixel, int pixels, const int8_t *w, int k, const int32_t *q, int channels, int shift,
        uint8_t *y, int y_pixel, int y_channel)""",
    source="kernels/dwfuse_pointwise.c",
    meaning=_pointwise,
)

#: Any convolution, output pixels [pixel_begin, pixel_end) of rows of ``out_width``. Row r of the input lies at
#: ``x + (first + r) % ring * x_row``; outside of ``rows`` and ``width`` it is ``pad_value``. A row of ``w`` has ``k``
#: weights in the order kernel row, kernel column, input channel.
conv = Intrinsic(
    prototype="""void dwfuse_conv(
        const uint8_t *x, int x_row, int x_pixel, int x_channel, int ring, int first, int rows, int width,
        int in_channels, int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top, int pad_left,
        int pad_value, int out_width, int pixel_begin, int pixel_end, const int8_t *w, int k, const int32_t *q,
        int channels, int shift, uint8_t *y, int y_pixel, int y_channel, uint8_t *scratch)""",
    source="kernels/dwfuse_conv.c",
    meaning=_conv,
)

#: Depthwise convolution, ``out_rows`` rows, of an input as :data:`conv` reads it. A channel of ``w`` has ``kernel_h``
#: rows of ``kernel_w`` weights rounded up to a multiple of 4. ``x``, ``y``, ``w`` and ``q`` point to the first channel.
depthwise = Intrinsic(
    prototype="""void dwfuse_depthwise(
        const uint8_t *x, int x_row, int x_pixel, int x_channel, int ring, int first, int rows, int width,
        int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_top, int pad_left, int pad_value,
        int out_rows, int out_width, int band, int channels, const int8_t *w, const int32_t *q, int shift,
        uint8_t *y, int y_row, int y_pixel, int y_channel, uint8_t *scratch)""",
    source="kernels/dwfuse_depthwise.c",
    meaning=_depthwise,
)
