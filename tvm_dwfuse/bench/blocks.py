"""How near each fused block of a network comes to the machine's own multiply-add peak, on one core."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

import relay_passes
from schedules import build_kernel, legal_variants
from tvm_dwfuse import zoo
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.frontend import import_onnx
from tvm_dwfuse.report import markdown_table, text_table
from tvm_dwfuse.targets import CpuTarget, get_cpu

from .peak import peak_kernel

_BURST_SECONDS = 0.02


@dataclass(frozen=True)
class BlockRate:
    """A block that occurs ``count`` times, and its rate against the peak measured in the same rounds."""

    block: Block
    variant: str
    count: int
    ms: float
    gmacs: float
    peak_gmacs: float

    @property
    def share(self) -> float:
        """Part of the peak that is reached."""
        return self.gmacs / self.peak_gmacs


def measure_blocks(name: str, order: str = "dwpw", target: str = "host", rounds: int = 15) -> list[BlockRate]:
    """Time every block of that order in the zoo network ``name``, each in turn with the peak.

    A block's time is the median of ``rounds``; the peak is the best of them, for it is a limit.

    Raises:
        DwfuseError: there is no such network or target.
    """
    machine = get_cpu(target)
    blocks = fused_blocks(zoo.build(name), order)
    calls = {block: _block_call(block, machine) for block in blocks}
    peak, peak_macs = peak_kernel(machine)
    times: dict[Block, list[float]] = {block: [] for block in blocks}
    peaks: list[float] = []
    with _one_core():
        for _ in range(rounds):
            for block, (call, _) in calls.items():
                times[block].append(_seconds_a_call(call))
            peaks.append(_seconds_a_call(peak))
    peak_gmacs = peak_macs / min(peaks) / 1e9
    return [_rate(block, calls[block][1], count, times[block], peak_gmacs) for block, count in blocks.items()]


def fused_blocks(model: Any, order: str) -> Counter[Block]:
    """The blocks of that order that an ONNX model has, in order, with the number of times each occurs."""
    module = tvm.transform.Sequential(relay_passes.canonicalize_passes())(import_onnx(model))
    return Counter(match.block for match in relay_passes.find_blocks("main", module["main"]) if match.kind == order)


def blocks_table(rates: list[BlockRate], markdown: bool = False) -> str:
    """One row a block, with the part of the peak that it reaches."""
    header = ("block", "times", "ms", "GMAC/s", "of peak")
    rows = [
        (_label(rate.block), str(rate.count), f"{rate.ms:.3f}", f"{rate.gmacs:.1f}", f"{100 * rate.share:.0f}%")
        for rate in rates
    ]
    return (markdown_table if markdown else text_table)(header, rows)


def _rate(block: Block, variant: str, count: int, times: list[float], peak_gmacs: float) -> BlockRate:
    seconds = statistics.median(times)
    return BlockRate(block, variant, count, seconds * 1e3, block.macs() / seconds / 1e9, peak_gmacs)


def _block_call(block: Block, machine: CpuTarget) -> tuple[Callable[[], object], str]:
    """A call of the kernel that the default rule picks for ``block``, and the name of its variant."""
    variant = relay_passes.same_layout_first(block, legal_variants(block))
    kernel = build_kernel(block, variant, machine)
    function = tvm.compile(kernel.func, machine.tvm_target())["main"]
    generator = np.random.default_rng(0)
    shapes = [[int(extent) for extent in param.shape] for param in kernel.func.params]
    arrays = [tvm.runtime.tensor(generator.random(shape, np.float32)) for shape in shapes]
    return lambda: function(*arrays), variant.name


def _label(block: Block) -> str:
    first, *_, last = block.stages
    depthwise = next(stage for stage in block.stages if stage.is_depthwise)
    window = f"{depthwise.kernel[0]}x{depthwise.kernel[1]}"
    stride = f" stride {depthwise.strides[0]}" if depthwise.strides != (1, 1) else ""
    return f"{block.height}x{block.width} {first.in_channels}->{last.out_channels} {window}{stride}"


def _seconds_a_call(call: Callable[[], object]) -> float:
    """The mean over a burst, after one untimed call: clock reads would weigh on the shortest kernels."""
    call()
    start = time.perf_counter()
    call()
    runs = max(1, int(_BURST_SECONDS / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(runs):
        call()
    return (time.perf_counter() - start) / runs


@contextmanager
def _one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
