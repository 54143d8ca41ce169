"""Blocks of one stage against float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedules import default_knobs
from tests.blocks import depthwise, full_conv, pointwise, single_blocks
from tests.schedules.kernels import check
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.targets import CpuTarget, host_target

STAGES = {
    "dw": depthwise(19),
    "dw_stride_2_kernel_5": depthwise(24, 5, 2),
    "dw_multiplier": depthwise(8, multiplier=2, padding=(0, 1, 1, 0)),
    "pw": pointwise(16, 40),
    "pw_tails": pointwise(19, 35),
    "pw_two_channels": pointwise(5, 2),
    "stem": full_conv(3, 32, stride=2, padding=(0, 0, 1, 1)),
    "stem_one_channel": full_conv(1, 24, 5),
    "conv_strided_1x1": full_conv(16, 24, 1, 2),
    "conv_padded_1x1": full_conv(16, 24, 1, padding=(1, 0, 0, 1)),
    "grouped": full_conv(12, 20, groups=4),
    "grouped_1x1": full_conv(16, 48, 1, groups=2),
}


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_fixed_shapes(stage: Conv, layout: str) -> None:
    check(Block((stage,), 2, 9, 11, layout))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [16, 19])
def test_scale_before_pointwise(channels: int, layout: str) -> None:
    check(Block((pointwise(channels, 24),), 2, 5, 7, layout, prologue=("scale",)), threads=2)


@pytest.mark.parametrize("rows", [1, 3])
def test_dense_layer(rows: int) -> None:
    check(Block((pointwise(70, 101, ("bias",)),), 1, 1, rows))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stage", ["stem", "stem_one_channel", "conv_strided_1x1"])
def test_change_of_layout_taken_in(stage: str, threads: int) -> None:
    check(Block((STAGES[stage],), 2, 9, 11), threads=threads, source="NCHW")


@pytest.mark.parametrize("height", [1, 3, 7])
@pytest.mark.parametrize("stage", ["pw", "pw_tails", "dw", "grouped"])
def test_rows_that_threads_cannot_share_evenly(stage: str, height: int) -> None:
    check(Block((STAGES[stage],), 1, height, 11), threads=2)


def test_weights_larger_than_the_nearest_cache_are_prefetched() -> None:
    tiny = CpuTarget("tiny", host_target().mcpu, 8, 16, cores=1, l1_bytes=512)
    for stage in (STAGES["pw_tails"], STAGES["stem"]):
        assert "prefetch" in str(check(Block((stage,), 1, 5, 6), target=tiny).func)
    large = CpuTarget("large", host_target().mcpu, 8, 16, cores=1, l1_bytes=1 << 20)
    assert "prefetch" not in str(check(Block((STAGES["pw_tails"],), 1, 5, 6), target=large).func)


@pytest.mark.parametrize("registers", [(8, 16), (4, 32)], ids=["avx2", "neon"])
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_other_registers(stage: Conv, registers: tuple[int, int]) -> None:
    target = CpuTarget("other", host_target().mcpu, *registers, cores=2, l2_bytes=4096)
    check(Block((stage,), 1, 7, 10), target=target)


@pytest.mark.parametrize("kind", ["dw", "pw", "conv", "grouped"])
@settings(max_examples=12)
@given(data=st.data())
def test_generated_shapes(kind: str, data: st.DataObject) -> None:
    block = data.draw(single_blocks(kind), label="block")
    threads = data.draw(st.sampled_from([1, 2]), label="threads")
    knobs = default_knobs(block, None, host_target(), threads)
    depth = data.draw(st.one_of(st.just(knobs.depth), st.integers(1, block.sizes()[-1][0])), label="depth")
    check(block, threads=threads, knobs=replace(knobs, depth=depth))
