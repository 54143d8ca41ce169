"""Build kernels and run them on guarded memory."""

from __future__ import annotations

import numpy as np
import tvm
import tvm_ffi

from schedules import Kernel, Knobs, build_kernel
from tests.reference import from_nhwc, random_operands, reference, to_nhwc
from tvm_dwfuse import threads as thread_pool
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import Variant

#: float32 values before and after an array; a multiple of the 64 bytes that TVM aligns arrays to.
GUARD = 256

#: Largest difference from float64, of the largest value.
TOLERANCE = 3e-6


def evaluate(kernel: Kernel, operands: dict[str, np.ndarray], threads: int = 1) -> np.ndarray:
    """The kernel's output; what it reads and does not get is NaN, and a write outside of its output is an error."""
    block = kernel.block
    library = tvm.compile(tvm.IRModule({"main": kernel.func}), target=host_target().tvm_target())
    inputs = [guarded(kernel.pack(name, operands[name]))[0] for name in block.operands()]
    output, memory = guarded(np.full(output_shape(block), np.nan, np.float32))
    thread_pool.configure(min(threads, thread_pool.available()))
    library["main"](*inputs, output)
    assert np.isnan(memory[:GUARD]).all(), "wrote before the output"
    assert np.isnan(memory[GUARD + output.numpy().size :]).all(), "wrote behind the output"
    return output.numpy()


def guarded(value: np.ndarray) -> tuple[tvm.runtime.Tensor, np.ndarray]:
    """A tensor with this value inside a flat array that is NaN around it, and that array."""
    memory = np.full(value.size + 2 * GUARD + 16, np.nan, value.dtype)
    aligned = memory[-memory.ctypes.data % 64 // value.itemsize :]
    inside = aligned[GUARD : GUARD + value.size].reshape(value.shape)
    inside[...] = value
    return tvm_ffi.from_dlpack(inside), aligned


def output_shape(block: Block) -> tuple[int, int, int, int]:
    h, w = block.sizes()[-1]
    c = block.stages[-1].out_channels
    return (block.batch, h, w, c) if block.layout == "NHWC" else (block.batch, c, h, w)


def check(
    block: Block,
    variant: Variant | None = None,
    target: CpuTarget | None = None,
    threads: int = 1,
    knobs: Knobs | None = None,
    source: Layout | None = None,
) -> Kernel:
    """Assert that the kernel agrees with the float64 reference; returns it."""
    kernel = build_kernel(block, variant, target or host_target(), threads, knobs, source)
    operands = random_operands(block)
    expected = reference(block, operands)
    if source is not None:
        operands["x"] = np.ascontiguousarray(from_nhwc(to_nhwc(operands["x"], block.layout), source))
    error = np.abs(evaluate(kernel, operands, threads) - expected).max() / np.abs(expected).max(initial=1e-3)
    assert error <= TOLERANCE, f"error {error:.1e} with {kernel.knobs}"
    return kernel
