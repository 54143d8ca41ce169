"""What a kernel costs on a CPU by a model: for kernels that nobody has measured, and to compare them with those.

The latency is a sum of counts, each multiplied by cycles: vectors multiplied and added, vectors of activations, cache
lines from beyond the L2 cache, and calls. The counts follow from the block, the variant and the depth of a step; the
cycles were fitted to measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from schedules import by_lane
from schedules.build import worthwhile_threads
from schedules.knobs import step_bytes

from .blocks import Block, Conv
from .choice import Costs
from .targets import CpuTarget
from .variants import Variant

#: Cycles a second of the machine that the model was fitted on, taken for every other one too: its vectors and caches
#: make the order of kernels, which is what is asked for, and no description of a machine tells its clock.
_CLOCK = 3.7e9

#: Cycles of each count that :func:`work` makes, for vectors of any width. Fitted (least squares of relative errors,
#: none below 0) to all 697 kernels that nine networks of the zoo could be computed by, with default knobs, each by
#: itself on one core of a Zen 4 at 3.7 GHz with 16 lanes. The estimates are off by 13% (rms): by 3 to 7% for fused
#: kernels with NHWC intermediates, 13 to 16% for those with NCHW ones, 16% for depthwise and 18% for pointwise stages
#: alone, where those of a few microseconds are worst.
CYCLES: dict[str, float] = {
    "call": 57,
    "product": 1.04,
    "window product": 1.17,
    "streamed weight": 2.3,
    "depthwise tap": 0.91,
    "depthwise input": 1.48,
    "fused depthwise tap": 0.84,
    "fused depthwise input": 1.48,
    "depthwise tap along rows": 2.3,
    "transposed": 1.8,
    "hard activation": 1.8,
    "exponential": 16,
    "line": 0.26,
    "again": 1.3,
}

#: The same for machines that multiply by lane (``fma_by_lane``): half of the instructions, which a core that finishes
#: two a cycle would take. Fitted to 140 kernels of five networks, counted under qemu for a Cortex-A72. Off by 12%
#: (rms), those by lane by 6 to 9%; lines and exponentials are guessed.
BY_LANE_CYCLES: dict[str, float] = {
    "call": 310,
    "product": 0.98,
    "product by lane": 0.63,
    "window product": 0.82,
    "streamed weight": 0.79,
    "depthwise tap": 0.82,
    "depthwise input": 0.52,
    "fused depthwise tap": 0.87,
    "fused depthwise input": 2.7,
    "depthwise by lane tap": 0.74,
    "depthwise by lane input": 0.62,
    "depthwise tap along rows": 0.84,
    "transposed": 3.6,
    "hard activation": 0,
    "exponential": 11,
    "line": 0.26,
    "again": 1.5,
}

#: Seconds to hand a kernel's work to the threads of the pool and to wait for them: with two threads a kernel of 17 us
#: gains nothing (see ``schedules.tile.PARALLEL_MACS``).
_FORK_SECONDS = 8.5e-6

# What a kernel takes longer in a network than by itself, where its operands and its code lie in the caches: fitted to
# the kernels of MobileNetV1 and V2 at 224 pixels, fused and unfused, on one core of a Zen 4, each timed in its network.

#: Seconds to call any kernel.
_CALL_SECONDS = 2.5e-6
#: Cycles of a line of tensors that do not fit the L2 cache together, and of one more where a depthwise stage alone,
#: which computes little on each, reads and writes them.
_COLD_LINE, _STREAMED_LINE = 0.9, 2.2

#: Bytes of a cache line.
_LINE = 64

# Energy, 45 nm at 0.9 V: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure
# 1.1.9. A float32 product takes 3.7 pJ and a sum 0.9 pJ; 64 bits from a cache of 32 KB 20 pJ, of 1 MB 100 pJ, from
# DRAM 1.3 to 2.6 nJ. What an instruction costs besides is shared by the lanes of its vectors, and left out.
_JOULES_MAC = 4.6e-12
_JOULES_L1_BYTE = 20e-12 / 8
_JOULES_L2_BYTE = 100e-12 / 8
_JOULES_MEMORY_BYTE = 1.3e-9 / 8

_HARD = ("hardsigmoid", "hardswish")
_EXPONENTIAL = ("sigmoid", "silu")


def latency(block: Block, variant: Variant | None, depth: int, machine: CpuTarget, threads: int = 1) -> float:
    """Seconds that a kernel takes, its call not included.

    Args:
        block: what it computes.
        variant: None for a single stage.
        depth: of a step; see :class:`schedules.Knobs`.
        machine: that it runs on.
        threads: that there are.
    """
    table = cycles_of(machine)
    cycles = sum(table[name] * count for name, count in work(block, variant, depth, machine).items())
    used = worthwhile_threads(block, threads)
    return cycles / _CLOCK / used + (_FORK_SECONDS if used > 1 else 0)


def cycles_of(machine: CpuTarget) -> dict[str, float]:
    """Cycles of each count that :func:`work` makes for a machine."""
    return BY_LANE_CYCLES if machine.fma_by_lane else CYCLES


def latency_in_network(block: Block, machine: CpuTarget) -> float:
    """Seconds that a kernel takes in a network besides those that it takes by itself with warm caches."""
    lines = _tensor_bytes(block) / _LINE if _tensor_bytes(block) > machine.l2_bytes else 0
    cycles = _COLD_LINE + (_STREAMED_LINE if block.order == "dw" else 0)
    return _CALL_SECONDS + lines * cycles / _CLOCK


def work(block: Block, variant: Variant | None, depth: int, machine: CpuTarget) -> dict[str, float]:
    """The counts that a kernel's latency is estimated from, by the names in :func:`cycles_of` the machine."""
    counts: dict[str, float] = {"call": 1}
    sizes = block.sizes()
    lane = by_lane.computes(block, variant, machine, None)
    for stage, source, sink in zip(block.stages, sizes[:-1], sizes[1:], strict=True):
        for name, count in _stage_work(stage, source, sink, variant, machine, lane):
            counts[name] = counts.get(name, 0) + block.batch * count
    if _tensor_bytes(block) + _weight_bytes(block) > machine.l2_bytes:
        counts["line"] = (_tensor_bytes(block) + _weight_bytes(block)) / _LINE
    if variant is not None and variant.mid != variant.source:
        counts["transposed"] = sum(_inner_elements(block))
    if variant is not None and variant.traversal == "channels":
        counts["again"] = (_steps(block, variant, depth) - 1) * _input_bytes(block) / _LINE
    return counts


def _stage_work(
    stage: Conv,
    source: tuple[int, int],
    sink: tuple[int, int],
    variant: Variant | None,
    machine: CpuTarget,
    lane: bool,
) -> Iterator[tuple[str, float]]:
    """The counts of one stage and image.

    Args:
        stage: the convolution.
        source, sink: (height, width) of its input and output.
        variant: of the kernel.
        machine: that it runs on.
        lane: whether the kernel is computed by lane, see ``schedules/by_lane``.
    """
    pixels = sink[0] * sink[1]
    vectors = pixels * _vectors(stage.out_channels, machine)
    terms = stage.kernel[0] * stage.kernel[1] * stage.in_channels // stage.groups
    if stage.is_depthwise and variant is not None and variant.mid == "chw":
        lanes = max(lanes for lanes in range(1, machine.lanes + 1) if sink[1] % lanes == 0)
        yield "depthwise tap along rows", pixels // lanes * stage.out_channels * terms
    elif stage.is_depthwise:
        kind = "depthwise" if variant is None else "depthwise by lane" if lane else "fused depthwise"
        taps = vectors * terms if variant else _taps_inside(stage, source, sink) * vectors / pixels
        yield f"{kind} tap", taps
        yield f"{kind} input", source[0] * source[1] * _vectors(stage.in_channels, machine)
    elif pixels == 1:
        yield "streamed weight", vectors * terms
    else:
        kind = "window product" if stage.kernel != (1, 1) else "product by lane" if lane else "product"
        yield kind, vectors * terms
    yield "hard activation", vectors * sum(step in _HARD for step in stage.epilogue)
    yield "exponential", vectors * sum(step in _EXPONENTIAL for step in stage.epilogue)


def _taps_inside(stage: Conv, source: tuple[int, int], sink: tuple[int, int]) -> int:
    """Taps of all outputs of an image that do not fall on padding: a depthwise stage alone leaves the others out."""
    inside = 1
    for axis in range(2):
        stride, dilation, before = stage.strides[axis], stage.dilation[axis], stage.padding[axis]
        starts = (out * stride - before for out in range(sink[axis]))
        reach = stage.kernel[axis] * dilation
        inside *= sum(0 <= at < source[axis] for start in starts for at in range(start, start + reach, dilation))
    return inside


def _vectors(channels: int, machine: CpuTarget) -> float:
    """Vectors that hold so many channels; half a vector counts as half where it takes half the time."""
    if machine.half_vectors_are_cheap:
        return ceil(channels / (machine.lanes // 2)) / 2
    return ceil(channels / machine.lanes)


def _steps(block: Block, variant: Variant, depth: int) -> int:
    if variant.traversal == "channels":
        return ceil(block.stages[-1].out_channels / depth)
    return block.batch * ceil(block.sizes()[-1][0] / depth)


def traffic(block: Block, variant: Variant | None, depth: int, machine: CpuTarget) -> int:
    """Bytes of activations that a kernel reads and writes, its own intermediates not included.

    An input that does not fit half of the L2 cache is read again by every step of channels.
    """
    moved = _tensor_bytes(block)
    if variant is not None and variant.traversal == "channels" and 2 * _input_bytes(block) > machine.l2_bytes:
        moved += (_steps(block, variant, depth) - 1) * _input_bytes(block)
    return moved


def energy(block: Block, variant: Variant | None, depth: int, machine: CpuTarget) -> float:
    """Joules that products and the movement of data take: cached tensors cost that of their cache, weights memory's."""
    level = _JOULES_L2_BYTE if _tensor_bytes(block) <= machine.l2_bytes else _JOULES_MEMORY_BYTE
    kept = intermediate_bytes(block, variant, depth)
    inner = _JOULES_L1_BYTE if kept <= machine.l1_bytes else _JOULES_L2_BYTE
    return (
        block.macs() * _JOULES_MAC
        + traffic(block, variant, depth, machine) * level
        + 2 * 4 * sum(_inner_elements(block)) * inner
        + _weight_bytes(block) * _JOULES_MEMORY_BYTE
    )


def scaling(block: Block, machine: CpuTarget) -> Costs:
    """Costs of a kernel that multiplies a block's input by one factor a channel, as squeeze-and-excite does."""
    moved = 2 * _input_bytes(block)
    beyond = moved > machine.l2_bytes
    cycles = cycles_of(machine)["call"] + moved / _LINE
    joules = _JOULES_MEMORY_BYTE if beyond else _JOULES_L2_BYTE
    return Costs(cycles / _CLOCK + _CALL_SECONDS, moved, moved * joules, _input_bytes(block))


def intermediate_bytes(block: Block, variant: Variant | None, depth: int) -> int:
    """Bytes that one step of the schedule keeps between the stages; 0 for a single stage."""
    if variant is None:
        return 0
    if variant.traversal == "rows":
        return step_bytes(block, min(depth, block.sizes()[-1][0]))
    height, width = block.sizes()[1]
    return 4 * height * width * max(1, depth // block.stages[-1].channel_multiplier)


def _tensor_bytes(block: Block) -> int:
    """Of input, residuals and output."""
    sizes = block.sizes()
    total = _input_bytes(block)
    for stage, (height, width) in zip(block.stages, sizes[1:], strict=True):
        count = stage.epilogue.count("add") + (stage is block.stages[-1])
        total += 4 * block.batch * height * width * stage.out_channels * count
    return total


def _input_bytes(block: Block) -> int:
    return 4 * block.batch * block.height * block.width * block.stages[0].in_channels


def _weight_bytes(block: Block) -> int:
    return 4 * sum(
        stage.out_channels * stage.in_channels // stage.groups * stage.kernel[0] * stage.kernel[1]
        for stage in block.stages
    )


def _inner_elements(block: Block) -> list[int]:
    """Elements of each tensor between two stages."""
    sizes = block.sizes()[1:-1]
    return [
        block.batch * height * width * stage.out_channels
        for stage, (height, width) in zip(block.stages[:-1], sizes, strict=True)
    ]
