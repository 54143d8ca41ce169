"""Small scheduled functions written by hand, one for each thing that the C printer has to get right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from tvm_dwfuse.codegen_gap8 import intrinsics
from tvm_dwfuse.codegen_gap8.expand_intrinsics import expand_intrinsics

Arguments = list[np.ndarray | int]


def pointer(name: str, dtype: str = "uint8") -> tirx.Buffer:
    length = tirx.Var(f"{name}_size", "int32")
    return T.arg(name, tirx.decl_buffer([length], dtype, name, layout=None, data_alignment=1))


def scalar(name: str) -> tirx.Var:
    return T.arg(name, tirx.Var(name, "int32"))


def l1(name: str, dtype: str, elements: int) -> tirx.Buffer:
    buffer = T.alloc_buffer((elements,), dtype, scope="global.l1", align=4, layout=None)
    IRBuilder.name(name, buffer)
    return buffer


def let(name: str, value: Any) -> tirx.Var:
    var = T.bind(value)
    IRBuilder.name(name, var)
    return var


@contextmanager
def loop(name: str, begin: Any, end: Any) -> Iterator[tirx.Var]:
    with T.serial(begin, end) as var:
        IRBuilder.name(name, var)
        yield var


@contextmanager
def each_core(cores: int) -> Iterator[tirx.Var]:
    with T.parallel(cores) as var:
        IRBuilder.name("core", var)
        yield var


@contextmanager
def when(condition: Any) -> Iterator[None]:
    with T.If(condition), T.Then():
        yield


emit = T.add_to_parent


def function(name: str, body: Callable[[], None], **attrs: Any) -> tirx.PrimFunc:
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        T.func_attr(attrs)
        body()
    return builder.get()


def fetch(slot: Any, near: tuple, far: tuple, length: Any, kind: int = 0) -> None:
    emit(intrinsics.dma_in(slot=slot, kind=kind, l1=near, l2=far, lines=1, line_bytes=length, l2_stride=0))


def store(slot: Any, near: tuple, far: tuple, length: Any) -> None:
    emit(intrinsics.dma_out(slot=slot, kind=0, l1=near, l2=far, lines=1, line_bytes=length, l2_stride=0))


def wait(slot: Any) -> None:
    emit(intrinsics.dma_wait(slot=slot))


def pointwise_rows(cores: int) -> tirx.PrimFunc:
    """Rows of 6 pixels, 8 -> 5 channels, two rows a step, both directions double-buffered."""

    def body() -> None:
        x, w, q, y = pointer("x"), pointer("w0", "int8"), pointer("q0", "int32"), pointer("y")
        row_begin, row_end = scalar("row_begin"), scalar("row_end")
        l1_x, l1_y = l1("l1_x", "uint8", 2 * 96), l1("l1_y", "uint8", 2 * 60)
        l1_w, l1_q = l1("l1_w0", "int8", 40), l1("l1_q0", "int32", 10)
        steps = let("steps", (row_end - row_begin + 1) // 2)
        fetch(2, (l1_w, 0), (w, 0), 40, kind=1)
        fetch(2, (l1_q, 0), (q, 0), 40, kind=1)
        rows = let("rows", tirx.min(row_end - row_begin, 2))
        fetch(0, (l1_x, 0), (x, row_begin * 48), rows * 48)
        wait(2)
        with loop("step", 0, steps) as step:
            begin = let("begin", row_begin + step * 2)
            pixels = let("pixels", tirx.min(row_end - begin, 2) * 6)
            wait(step % 2)
            with when(step + 1 < steps):
                rows = let("rows", tirx.min(row_end - begin - 2, 2))
                fetch((step + 1) % 2, (l1_x, (step + 1) % 2 * 96), (x, (begin + 2) * 48), rows * 48)
            wait(6 + step % 2)
            with each_core(cores) as core:
                share = let("share", (pixels + cores - 1) // cores)
                first = let("first", tirx.min(core * share, pixels))
                emit(
                    intrinsics.pointwise(
                        x=(l1_x, step % 2 * 96 + first * 8),
                        x_pixel=8,
                        pixels=tirx.min(share, pixels - first),
                        w=(l1_w, 0),
                        k=8,
                        q=(l1_q, 0),
                        channels=5,
                        shift=7,
                        y=(l1_y, step % 2 * 60 + first * 5),
                        y_pixel=5,
                        y_channel=1,
                    )
                )
            store(6 + step % 2, (l1_y, step % 2 * 60), (y, begin * 30), pixels * 5)
        wait(6)
        wait(7)

    ranges = [["row_begin", "row_end"]]
    return function("pointwise_rows", body, **{"gap8.doc": "conv1: pointwise, two rows a step", "gap8.ranges": ranges})


def pointwise_rows_arguments(rng: np.random.Generator) -> Arguments:
    """Seven rows, of which the last five are computed: the last step has but one."""
    w, q = rng.integers(-128, 128, 40, dtype=np.int8), requantization(rng, 5)
    return [rng.integers(0, 256, 7 * 48, dtype=np.uint8), w, q, np.zeros(7 * 30, np.uint8), 2, 7]


def stem_and_depthwise(cores: int) -> tirx.PrimFunc:
    """3x3 convolution with stride 2, 9x7x3 -> 5x4x6 in CHW, then a depthwise one; each core has whole channels."""

    def body() -> None:
        x, w0, q0, w1, q1, y = (
            pointer(name, dtype)
            for name, dtype in zip(
                ("x", "w0", "q0", "w1", "q1", "y"), ("uint8", "int8", "int32", "int8", "int32", "uint8"), strict=True
            )
        )
        l1_x, l1_m, l1_y = l1("l1_x", "uint8", 189), l1("l1_m1", "uint8", 120), l1("l1_y", "uint8", 120)
        scratch = l1("l1_scratch", "uint8", cores * 512)
        l1_w0, l1_q0 = l1("l1_w0", "int8", 6 * 28), l1("l1_q0", "int32", 12)
        l1_w1, l1_q1 = l1("l1_w1", "int8", 6 * 12), l1("l1_q1", "int32", 12)
        constants = zip((l1_w0, l1_q0, l1_w1, l1_q1), (w0, q0, w1, q1), (168, 48, 72, 48), strict=True)
        for near, far, size in constants:
            fetch(1, (near, 0), (far, 0), size, kind=1)
        fetch(0, (l1_x, 0), (x, 0), 189)
        wait(0)
        wait(1)
        with each_core(cores) as core:
            emit(
                intrinsics.conv(
                    **window(l1_x, 21, 3, 1, rows=9, width=7, strides=2),
                    in_channels=3,
                    out_width=4,
                    pixel_begin=core * 20 // cores,
                    pixel_end=(core + 1) * 20 // cores,
                    w=(l1_w0, 0),
                    k=28,
                    q=(l1_q0, 0),
                    channels=6,
                    shift=9,
                    y=(l1_m, 0),
                    y_pixel=1,
                    y_channel=20,
                    scratch=(scratch, core * 512),
                )
            )
        with each_core(cores) as core, loop("channel", 0, 6) as channel, when(channel % cores == core):
            emit(
                intrinsics.depthwise(
                    **{**window(l1_m, 4, 1, 20, rows=5, width=4, strides=1), "x": (l1_m, channel * 20)},
                    out_rows=5,
                    out_width=4,
                    band=5,
                    channels=1,
                    w=(l1_w1, channel * 12),
                    q=(l1_q1, channel * 2),
                    shift=7,
                    y=(l1_y, channel),
                    y_row=24,
                    y_pixel=6,
                    y_channel=1,
                    scratch=(scratch, core * 512),
                )
            )
        store(6, (l1_y, 0), (y, 0), 120)
        wait(6)

    return function("stem_and_depthwise", body)


def window(buffer: tirx.Buffer, row: int, pixel: int, channel: int, rows: int, width: int, strides: int) -> dict:
    """Arguments of a 3x3 window over an image that is no ring, padded by one on all sides."""
    image = {"x": (buffer, 0), "x_row": row, "x_pixel": pixel, "x_channel": channel, "rows": rows, "width": width}
    kernel = {"kernel_h": 3, "kernel_w": 3, "stride_h": strides, "stride_w": strides, "pad_top": 1, "pad_left": 1}
    return {**image, **kernel, "ring": rows, "first": 0, "pad_value": 11}


def stem_and_depthwise_arguments(rng: np.random.Generator) -> Arguments:
    w0, w1 = rng.integers(-128, 128, (6, 28), dtype=np.int8), rng.integers(-128, 128, (6, 3, 4), dtype=np.int8)
    w0[:, 27:], w1[:, :, 3:] = 0, 0
    x, y = rng.integers(0, 256, 189, dtype=np.uint8), np.zeros(120, np.uint8)
    return [x, w0.ravel(), requantization(rng, 6), w1.ravel(), requantization(rng, 6), y]


def sum_and_mean(cores: int) -> tirx.PrimFunc:
    """A sum of two 4x4x8 activations, and the mean of each of its channels behind it; strided transfers."""

    def body() -> None:
        a, b, y = pointer("a"), pointer("b"), pointer("y")
        l1_a, l1_b, l1_y = l1("l1_a", "uint8", 128), l1("l1_b", "uint8", 128), l1("l1_y", "uint8", 136)
        for slot, (near, far) in enumerate(((l1_a, a), (l1_b, b))):
            emit(
                intrinsics.dma_in(
                    slot=slot, kind=0, l1=(near, 0), l2=(far, 2), lines=16, line_bytes=8, l2_stride=12 if slot else 8
                )
            )
        with loop("slot", 0, 2) as slot:
            wait(slot)
        with each_core(cores) as core:
            share = 128 // cores
            emit(
                intrinsics.add(
                    a=(l1_a, core * share),
                    b=(l1_b, core * share),
                    count=share,
                    multiplier_a=3,
                    multiplier_b=-1,
                    offset=-20,
                    shift=1,
                    y=(l1_y, core * share),
                )
            )
        with each_core(cores) as core, loop("channel", 0, 8) as channel, when(channel % cores == core):
            emit(
                intrinsics.average_pool(
                    x=(l1_y, channel),
                    x_pixel=8,
                    x_channel=1,
                    pixels=16,
                    channels=1,
                    multiplier=16,
                    offset=128,
                    shift=8,
                    y=(l1_y, 128 + channel),
                )
            )
        emit(intrinsics.dma_out(slot=0, kind=0, l1=(l1_y, 0), l2=(y, 0), lines=17, line_bytes=8, l2_stride=10))
        wait(0)

    return function("sum_and_mean", body)


def sum_and_mean_arguments(rng: np.random.Generator) -> Arguments:
    a, b = (rng.integers(0, 256, size, dtype=np.uint8) for size in (130, 194))
    return [a, b, np.zeros(168, np.uint8)]


def scalars(cores: int) -> tirx.PrimFunc:
    """Every operator on scalars; the values come out as bytes."""

    def body() -> None:
        zero, y, n, m = pointer("zero"), pointer("y"), scalar("n"), scalar("m")
        l1_zero, l1_y = l1("l1_zero", "uint8", 4), l1("l1_y", "uint8", 64)
        fetch(0, (l1_zero, 0), (zero, 0), 4)
        fetch(0, (l1_y, 0), (zero, 0), 64)
        d = let("d", n - m)
        wait(0)
        values = [
            *(d // 3, d % 3, n // 3, n % 3, (d - 7) // -3, (d - 7) % -3, tirx.truncdiv(d, 3), tirx.truncmod(d, 3)),
            *(n - (m - d), n - (m + d), (n - m) - d, n * (m + 2), n // 2 * 3, n * 3 // 2, n // (m + 1), n * (m // 2)),
            *(tirx.min(n, tirx.max(m, d)), tirx.Select(d < 0, n, m), tirx.if_then_else(tirx.all(n > 2, m != 3), d, 9)),
            *(n << 2, (n + 3) >> 1, n & 3 | m, (n ^ m) + 1, n - -5, -d, n * -2 - -1),
            (tirx.any(tirx.all(n < m, m >= 2), n == m, tirx.Not(n <= 4))).astype("int32"),
            tirx.Select(d > 0, tirx.Select(n > m, 1, 2), tirx.Select(n > 1, 3, 4)) + 1,
            tirx.Select(tirx.Select(n > m, n, m) == 3, 5, 6),
        ]
        with each_core(cores) as core, when(core == cores - 1):
            for index, value in enumerate(values):
                byte(l1_zero, l1_y, index, value)
        count = len(values)
        with T.If(n < m):
            with T.Then(), loop("part", n, m) as part, each_core(cores) as core, when(core == 0):
                byte(l1_zero, l1_y, part - n + count, (part - n) // 2 + n % 2)
            with T.Else():
                with each_core(cores) as core, when(core == 0):
                    byte(l1_zero, l1_y, count, n - m)
                fetch(0, (l1_y, count + 1), (zero, 64), 1)
                wait(0)
        store(1, (l1_y, 0), (y, 0), 64)
        wait(1)

    return function("scalars", body)


def byte(zero: tirx.Buffer, y: tirx.Buffer, index: Any, value: Any) -> None:
    """Store ``value`` % 256."""
    number = {"multiplier_a": 0, "multiplier_b": 0, "offset": value % 256, "shift": 0}
    emit(intrinsics.add(a=(zero, 0), b=(zero, 0), count=1, **number, y=(y, index)))


def scalars_arguments(rng: np.random.Generator) -> Arguments:
    n, m = (int(value) for value in rng.integers(0, 9, 2))
    zero = np.zeros(65, np.uint8)
    zero[64] = 42
    return [zero, np.zeros(64, np.uint8), n, m]


def requantization(rng: np.random.Generator, channels: int) -> np.ndarray:
    return np.stack([rng.integers(1, 4, channels), rng.integers(0, 4000, channels)], axis=1).astype(np.int32).ravel()


#: Each function, and how arguments for it are drawn; "y" is always the output, and starts as zeros.
FUNCTIONS: dict[str, tuple[Callable[[int], tirx.PrimFunc], Callable[[np.random.Generator], Arguments]]] = {
    "pointwise_rows": (pointwise_rows, pointwise_rows_arguments),
    "stem_and_depthwise": (stem_and_depthwise, stem_and_depthwise_arguments),
    "sum_and_mean": (sum_and_mean, sum_and_mean_arguments),
    "scalars": (scalars, scalars_arguments),
}


def compiled(func: tirx.PrimFunc) -> Callable[[Arguments], np.ndarray]:
    """The function under LLVM: from its arguments to what it leaves in ``y``."""
    name = str(func.attrs["global_symbol"])
    call = tvm.compile(tvm.IRModule({name: expand_intrinsics(func)}), target="llvm")[name]

    def run(arguments: Arguments) -> np.ndarray:
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        call(*copies)
        return copies[output_index(func)]

    return run


def output_index(func: tirx.PrimFunc) -> int:
    return [param.name for param in func.params].index("y")
