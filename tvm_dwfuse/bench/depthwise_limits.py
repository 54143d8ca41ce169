"""The time below which no kernel can come on this machine: its multiply-adds and its memory, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tvm_dwfuse.kernels.depthwise import Depthwise

# Bytes read and written by a copy: from half an L1 cache to more than most last-level caches.
_COPIES = tuple(4**step * 1024 for step in range(2, 9))
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Limits:
    """What ``threads`` cores can do.

    ``macs_per_second`` is in vector registers, nothing loaded. ``copies`` is (bytes, bytes per second) of copies that
    read and write that many bytes again and again, so that small ones stay in a cache, as a layer's tensors do.
    """

    threads: int
    macs_per_second: float
    copies: tuple[tuple[int, float], ...]

    def bytes_per_second(self, size: int) -> float:
        """How fast ``size`` bytes are moved, between the copies measured."""
        sizes, rates = np.log(np.array(self.copies)).T
        return float(np.exp(np.interp(np.log(size), sizes, rates)))

    def least_ms(self, conv: Depthwise) -> float:
        """Milliseconds that any of the three procedures needs: to multiply or to read and write each tensor once."""
        size = moved_bytes(conv)
        return 1e3 * max(inner_macs(conv) / self.macs_per_second, size / self.bytes_per_second(size))


def moved_bytes(conv: Depthwise) -> int:
    """Bytes of input, output and weight together: each procedure reads two of them and writes the third."""
    shapes = (conv.input_shape, conv.output_shape, conv.weight_shape)
    return _FLOAT_BYTES * sum(int(np.prod(shape)) for shape in shapes)


def inner_macs(conv: Depthwise) -> int:
    """Multiply-accumulates without those with padding."""
    taps = 1
    top, left, _, _ = conv.padding
    sizes = zip((conv.height, conv.width), conv.out_size, (top, left), strict=True)
    for axis, (inputs, outputs, before) in enumerate(sizes):
        first = np.arange(outputs) * conv.stride[axis] - before
        at = first[:, None] + np.arange(conv.kernel[axis]) * conv.dilation[axis]
        taps *= int(np.count_nonzero((at >= 0) & (at < inputs)))
    return conv.batch * conv.out_channels * taps


def measure_limits(threads: int) -> Limits:
    """Measure this machine; the calling thread's pool of TVM is left with ``threads`` threads."""
    from tvm_dwfuse import threads as pool
    from tvm_dwfuse.targets import get_cpu

    from .peak import peak_kernel

    pool.configure(threads)
    multiply, macs = peak_kernel(get_cpu("host"))
    # Starting a second thread costs more than it helps a small copy.
    copies = tuple((size, size / min(_least_seconds(_copy(size, count)) for count in {1, threads})) for size in _COPIES)
    return Limits(threads, threads * macs / _least_seconds(multiply), copies)


def _copy(size: int, threads: int) -> Callable[[], object]:
    """A call that copies ``size // 2`` bytes."""
    import tvm
    from tvm import s_tir, te

    from tvm_dwfuse.targets import get_cpu

    source = te.placeholder((size // 2 // _FLOAT_BYTES,), name="source")
    copy = te.compute(source.shape, lambda i: source[i], name="copy")
    schedule = s_tir.Schedule(te.create_prim_func([source, copy]))
    (loop,) = schedule.get_loops(schedule.get_sblock("copy"))
    outer, _ = schedule.split(loop, [threads, None])
    if threads > 1:
        schedule.parallel(outer)
    main = tvm.compile(schedule.mod, get_cpu("host").tvm_target())["main"]
    tensors = [tvm.runtime.tensor(np.ones(size // 2 // _FLOAT_BYTES, np.float32)) for _ in range(2)]
    return lambda: main(*tensors)


def _least_seconds(call: Callable[[], object], seconds: float = 0.03) -> float:
    """The shortest of the runs that fit in ``seconds``, three or more."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
