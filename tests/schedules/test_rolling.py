"""No intermediate element is computed twice, except the rows that two threads both need."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st

from schedules import Kernel, build_kernel, default_knobs
from schedules.rolling import roll_rows
from tests.blocks import block_for, separable_blocks
from tests.schedules.counting import count_executions, count_stores_by_walk
from tests.schedules.lowered import allocations
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.variants import VARIANTS, Variant

CASES = {
    "stride_1": {},
    "stride_2": {"stride": 2, "height": 16},
    "kernel_5_stride_2": {"kernel": 5, "stride": 2, "padding": (1, 2, 2, 1)},
    "dilation_2": {"dilation": 2},
    "unpadded_batch_2": {"padding": (0, 0, 0, 0), "batch": 2},
    "nothing_shared": {"kernel": 2, "stride": 2, "padding": (0, 0, 1, 1)},
}

BY_ROWS = [name for name, variant in VARIANTS.items() if variant.order != "dwpw" and variant.traversal == "rows"]

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def kernel_for(variant: Variant, case: str, depth: int, threads: int = 1) -> Kernel:
    channels = (5, 24, 7)[: 3 if variant.order == "pwdwpw" else 2]
    attrs = {"height": 13, **CASES[case]}
    block = block_for(variant, channels, (attrs.pop("height"), 9), **attrs)
    return kernel_of_depth(block, variant, depth, threads)


def kernel_of_depth(block: Block, variant: Variant, depth: int, threads: int) -> Kernel:
    knobs = replace(default_knobs(block, variant, host_target(), threads), depth=depth)
    return build_kernel(block, variant, host_target(), threads, knobs)


def rows_read(block: Block, rows: range) -> set[int]:
    """Rows of the depthwise stage's input that rows of its output read, borders left out."""
    conv, (height, _) = block.stages[1], block.sizes()[1]
    taps = {
        row * conv.strides[0] + tap * conv.dilation[0] - conv.padding[0]
        for row in rows
        for tap in range(conv.kernel[0])
    }
    reach = range(min(taps), max(taps) + 1)
    return {row for row in reach if 0 <= row < height}


@pytest.mark.parametrize("case", CASES)
@every_variant
def test_one_thread_computes_no_element_twice(variant: Variant, case: str) -> None:
    kernel = kernel_for(variant, case, depth=8 if variant.traversal == "channels" else 2)
    assert all((counts == 1).all() for counts in count_executions(kernel))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_products_are_summed_once(variant: Variant) -> None:
    kernel = kernel_for(variant, "stride_2", depth=8 if variant.traversal == "channels" else 3)
    names = [f"acc{i}_update" for i in range(len(kernel.block.stages))]
    for stage, counts in zip(kernel.block.stages, count_executions(kernel, *names), strict=True):
        assert (counts == stage.kernel[0] * stage.kernel[1] * stage.in_channels // stage.groups).all()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", BY_ROWS)
def test_two_threads_share_exactly_the_rows_at_the_chunk_border(name: str, case: str) -> None:
    depth = 2
    kernel = kernel_for(VARIANTS[name], case, depth, threads=2)
    rows = kernel.block.sizes()[-1][0]
    border = -(-rows // (2 * depth)) * depth
    first, second = rows_read(kernel.block, range(border)), rows_read(kernel.block, range(border, rows))
    intermediate, *others = count_executions(kernel)
    counts = intermediate.max(axis=(0, 2, 3))
    assert {row for row, count in enumerate(counts) if count == 2} == first & second
    assert {row for row, count in enumerate(counts) if count >= 1} == first | second
    conv = kernel.block.stages[1]
    assert len(first & second) == max(0, conv.dilation[0] * (conv.kernel[0] - 1) + 1 - conv.strides[0])
    assert counts.max() <= 2
    assert all((counts == 1).all() for counts in others)


@pytest.mark.parametrize("name", [name for name in BY_ROWS if "_chw_" not in name])
def test_two_threads_share_no_row_where_few_rows_make_them_split_the_channels(name: str) -> None:
    block = block_for(VARIANTS[name], (5, 40, 40)[: len(name.split("_")[0]) // 2], (7, 9))
    kernel = kernel_of_depth(block, VARIANTS[name], 2, threads=2)
    assert "T.parallel" in kernel.func.script()
    assert all((counts == 1).all() for counts in count_executions(kernel))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in BY_ROWS])
def test_other_traversals_share_nothing_between_threads(name: str) -> None:
    kernel = kernel_for(VARIANTS[name], "stride_1", depth=8 if "channels" in name else 2, threads=2)
    assert all(counts.max() == 1 for counts in count_executions(kernel))


@pytest.mark.parametrize("name", BY_ROWS)
@settings(max_examples=4)
@given(data=st.data())
def test_generated_shapes_compute_no_element_twice(name: str, data: st.DataObject) -> None:
    variant = VARIANTS[name]
    block = data.draw(separable_blocks(variant).filter(variant.supports), label="block")
    depth = data.draw(st.integers(1, block.sizes()[-1][0]), label="depth")
    assert all(counts.max() == 1 for counts in count_executions(kernel_of_depth(block, variant, depth, 1)))


@pytest.mark.parametrize("name", BY_ROWS)
def test_threads_keep_their_rows_apart(name: str) -> None:
    kernel = kernel_for(VARIANTS[name], "stride_1", 2, threads=2)
    stores = count_stores_by_walk(kernel, "out0", 1 if VARIANTS[name].mid == "hwc" else 2, walks=2)
    first, second = stores > 0
    assert first.sum() == second.sum() == 2 + 2
    assert not (first & second).any()


def test_each_image_has_rings_of_its_own() -> None:
    """Threads may walk through two images at once."""
    kernel = kernel_for(VARIANTS["pwdw_hwc_hwc_hwc_rows"], "unpadded_batch_2", 1, threads=2)
    (ring,) = allocations(kernel)["out0"]
    assert ring[:2] == (2, 3 * 2)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", BY_ROWS)
def test_ring_holds_one_window_for_each_thread(name: str, depth: int, threads: int) -> None:
    kernel = kernel_for(VARIANTS[name], "dilation_2", depth, threads)
    window = depth - 1 + 5
    ring = (1, window * threads, 9, 24) if VARIANTS[name].mid == "hwc" else (1, 24, window * threads, 9)
    assert allocations(kernel)["out0"] == [ring]


def test_a_function_without_marks_is_returned_as_it_is() -> None:
    func = kernel_for(VARIANTS["dwpw_hwc_hwc_hwc_rows"], "stride_1", 2).func
    tvm.ir.assert_structural_equal(roll_rows(func), func)
    assert roll_rows(func).same_as(func)
