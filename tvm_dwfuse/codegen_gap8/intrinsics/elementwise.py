"""Rescaled sums: of two activations, and of the pixels of each channel."""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from .definition import Arguments, Intrinsic
from .loops import Accumulator, loops, store_clipped


def _average_pool(a: Arguments) -> tirx.Stmt:
    with IRBuilder() as builder, loops(channel=a.channels) as (c,):
        acc = Accumulator()
        with loops(pixel=a.pixels) as (p,):
            acc.add(a.x.load(p * a.x_pixel + c * a.x_channel))
        store_clipped(a.y, c, (a.multiplier * acc.value + a.offset) >> a.shift)
    return builder.get()


def _add(a: Arguments) -> tirx.Stmt:
    with IRBuilder() as builder, loops(i=a.count) as (i,):
        scaled = a.multiplier_a * a.a.load(i) + a.multiplier_b * a.b.load(i) + a.offset
        store_clipped(a.y, i, scaled >> a.shift)
    return builder.get()


#: Mean of each channel over the image: y = clip((multiplier * sum + offset) >> shift, 0, 255).
average_pool = Intrinsic(
    prototype="""void dwfuse_average_pool(
        const uint8_t *x, int x_pixel, int x_channel, int pixels, int channels, int multiplier, int offset, int shift,
        uint8_t *y)""",
    source="kernels/dwfuse_elementwise.c",
    meaning=_average_pool,
)

#: y = clip((multiplier_a * a + multiplier_b * b + offset) >> shift, 0, 255), element by element.
add = Intrinsic(
    prototype="""void dwfuse_add(
        const uint8_t *a, const uint8_t *b, int count, int multiplier_a, int multiplier_b, int offset, int shift,
        uint8_t *y)""",
    source="kernels/dwfuse_elementwise.c",
    meaning=_add,
)
