"""Blocks computed by lane: against float64 on the machine at hand, and instructions counted on an emulated core."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schedules import Knobs, Tile, build_kernel, by_lane, default_knobs
from schedules.build import Kernel
from tests.armv8.tools import needs_qemu
from tests.blocks import block_for, depthwise, epilogues, full_conv, pointwise, sized, windows
from tests.reference import random_operands, reference
from tests.schedules.kernels import TOLERANCE, check, output_shape
from tvm_dwfuse.armv8.counting import Counts, count_kernel
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.targets import ARMV8_TARGETS, host_target
from tvm_dwfuse.variants import VARIANTS

#: LLVM generates for the machine at hand all the same: the functions hold nothing that only Armv8 has.
CORE = ARMV8_TARGETS["cortex-a72"]

#: Whole tiles of channels, and tails of one and two vectors behind them.
CHANNELS = st.sampled_from([4, 8, 12, 20, 24, 36, 64])

DWPW = VARIANTS["dwpw_hwc_hwc_hwc_rows"]
PWDWPW = VARIANTS["pwdwpw_hwc_hwc_hwc_rows"]


#: Kernels take a second to compile: no time to look for smaller counterexamples.
quickly = settings(max_examples=5, phases=[Phase.generate])


@quickly
@given(data=st.data())
def test_pointwise(data: st.DataObject) -> None:
    conv = Conv(data.draw(CHANNELS), data.draw(CHANNELS), epilogue=data.draw(epilogues(last=True)))
    prologue = data.draw(st.sampled_from([(), ("scale",)]))
    block = data.draw(sized((conv,), "NHWC", prologue))
    assert by_lane.computes(block, None, CORE, None)
    check(block, None, CORE, threads=data.draw(st.sampled_from([1, 2])))


@quickly
@given(data=st.data())
def test_depthwise_then_pointwise(data: st.DataObject) -> None:
    channels, out = data.draw(CHANNELS), data.draw(CHANNELS)
    first = Conv(channels, channels, groups=channels, epilogue=data.draw(epilogues()), **data.draw(windows()))
    block = data.draw(sized((first, Conv(channels, out, epilogue=data.draw(epilogues(last=True)))), "NHWC"))
    assert by_lane.computes(block, DWPW, CORE, None)
    check(block, DWPW, CORE, threads=data.draw(st.sampled_from([1, 2])))


@quickly
@given(data=st.data())
def test_inverted_residual(data: st.DataObject) -> None:
    channels, mid, out = data.draw(CHANNELS), data.draw(CHANNELS), data.draw(CHANNELS)
    first = Conv(channels, mid, epilogue=data.draw(epilogues()))
    middle = Conv(mid, mid, groups=mid, epilogue=data.draw(epilogues()), **data.draw(windows()))
    last = Conv(mid, out, epilogue=data.draw(epilogues(last=True)))
    block = data.draw(sized((first, middle, last), "NHWC").filter(PWDWPW.supports))
    assert by_lane.computes(block, PWDWPW, CORE, None)
    check(block, PWDWPW, CORE, threads=data.draw(st.sampled_from([1, 2, 3])))


@quickly
@given(data=st.data())
def test_stem(data: st.DataObject) -> None:
    conv = Conv(data.draw(st.sampled_from([1, 3])), data.draw(CHANNELS), epilogue=("bias",), **data.draw(windows()))
    block = data.draw(sized((conv,), "NHWC").filter(lambda block: block.order == "conv"))
    assert by_lane.computes(block, None, CORE, "NCHW")
    check(block, None, CORE, threads=data.draw(st.sampled_from([1, 2])), source="NCHW")


@pytest.mark.parametrize(
    ("pixels", "channels", "depth", "columns"),
    [(4, 4, 1, 1), (4, 24, 2, 3), (12, 8, 4, 4), (8, 8, 5, 2), (8, 12, 8, 8), (16, 4, 9, 1)],
)
def test_other_knobs(pixels: int, channels: int, depth: int, columns: int) -> None:
    block = Block((depthwise(20), pointwise(20, 36)), 1, 9, 11)
    tile = Tile(1, pixels, channels, 4)
    check(block, DWPW, CORE, knobs=Knobs(depth, (Tile(1, columns, 4, 4), tile)))


OTHERS = {
    "odd_channels": (Block((pointwise(18, 24),), 1, 5, 5), None, CORE),
    "nchw": (Block((pointwise(16, 24),), 1, 5, 5, "NCHW"), None, CORE),
    "multiplier": (block_for(DWPW, (8, 16), (6, 6), multiplier=2), DWPW, CORE),
    "inner_residual": (
        Block((depthwise(8, epilogue=("add",)), pointwise(8, 8)), 1, 6, 6),
        DWPW,
        CORE,
    ),
    "x86": (Block((pointwise(16, 24),), 1, 5, 5), None, replace(CORE, triple="x86_64-linux-gnu")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_fit_is_left_to_the_other_schedules(name: str) -> None:
    block, variant, target = OTHERS[name]
    assert not by_lane.computes(block, variant, target, None)
    check(block, variant, replace(target, triple=""))


def count(block: Block, kernel: Kernel) -> Counts:
    """What the kernel executes on the emulated core; its output is compared with the reference."""
    operands = random_operands(block)
    arrays = [kernel.pack(name, operands[name]) for name in block.operands()]
    counts = count_kernel(kernel.func, [*arrays, np.full(output_shape(block), np.nan, np.float32)], CORE)
    expected = reference(block, operands)
    assert np.abs(counts.outputs[0] - expected).max() <= TOLERANCE * np.abs(expected).max()
    return counts


@needs_qemu
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_runs_on_the_core(variant) -> None:
    block = block_for(variant, (8, 24, 16)[: 3 if variant.order == "pwdwpw" else 2], (9, 10), stride=2)
    count(block, build_kernel(block, variant, CORE))


#: Most instructions for a multiply-accumulate: 1/4 are the products, the rest loads, epilogues and loops.
BUDGETS = {
    "pointwise": (Block((pointwise(128, 96, ("bias", "relu")),), 1, 14, 16), None, 0.291),
    "dwpw": (Block((depthwise(128), pointwise(128, 96)), 1, 16, 16), DWPW, 0.315),
    "pwdwpw": (Block((pointwise(32, 96), depthwise(96), pointwise(96, 36, ("bias",))), 1, 16, 16), PWDWPW, 0.35),
}


@needs_qemu
@pytest.mark.parametrize("name", BUDGETS)
def test_hardly_anything_but_products_is_executed(name: str) -> None:
    block, variant, most = BUDGETS[name]
    assert count(block, build_kernel(block, variant, CORE)).instructions / block.macs() <= most


@needs_qemu
def test_the_stem_takes_the_change_of_layout_in() -> None:
    block = Block((full_conv(3, 24, 3, 2),), 1, 33, 64)
    kernel = build_kernel(block, None, CORE, source="NCHW")
    operands = random_operands(block)
    x = np.ascontiguousarray(operands["x"].transpose(0, 3, 1, 2))
    arrays = [x, kernel.pack("w0", operands["w0"]), operands["b0"], np.zeros(output_shape(block), np.float32)]
    counts = count_kernel(kernel.func, arrays, CORE)
    np.testing.assert_allclose(counts.outputs[0], reference(block, operands), atol=1e-4)
    assert counts.instructions / block.macs() <= 0.37


def test_default_tiles_fit_the_registers() -> None:
    for core in ARMV8_TARGETS.values():
        for pixels in (1, 3, 16, 49, 196, 3136):
            for channels in (4, 16, 24, 320, 1000):
                knobs = default_knobs(Block((pointwise(64, channels),), 1, 1, pixels), None, core)
                tile, lanes = knobs.tiles[0], core.lanes
                vectors = tile.pixels * tile.channels // lanes + tile.pixels // lanes + tile.channels // lanes
                assert vectors <= core.registers
    assert not by_lane.computes(Block((pointwise(64, 64),), 1, 5, 5), None, host_target(), None) or (
        host_target().fma_by_lane
    )
