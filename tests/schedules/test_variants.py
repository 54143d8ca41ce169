"""Every fused variant against float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedules import build_kernel, default_knobs
from tests.blocks import block_for, pointwise, separable_blocks
from tests.reference import random_operands
from tests.schedules.kernels import check, evaluate
from tvm_dwfuse.blocks import ACTIVATIONS, Block
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import VARIANTS, Variant

#: Input channels, those after the pointwise stages, size and what else is special.
CASES = {
    "vectors": ((16, 32, 16), (8, 8), {}),
    "channels_without_a_vector": ((3, 5, 2), (7, 9), {}),
    "tails": ((19, 35, 21), (9, 11), {}),
    "half_vectors": ((24, 40, 24), (10, 6), {}),
    "stride_2_odd": ((8, 24, 19), (11, 13), {"stride": 2}),
    "kernel_5_asymmetric": ((16, 32, 8), (9, 8), {"kernel": 5, "stride": 2, "padding": (1, 2, 2, 1)}),
    "kernel_7_batch_2": ((5, 16, 12), (8, 10), {"kernel": 7, "batch": 2}),
    "dilation_multiplier": ((8, 16, 10), (9, 7), {"dilation": 2, "multiplier": 2}),
    "unpadded_batch_3": ((16, 12, 16), (6, 7), {"padding": (0, 0, 0, 0), "batch": 3}),
    "one_pixel": ((16, 24, 8), (1, 1), {}),
}

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def case_block(variant: Variant, case: str) -> Block:
    channels, size, attrs = CASES[case]
    return block_for(variant, channels[: 3 if variant.order == "pwdwpw" else 2], size, **attrs)


@pytest.mark.parametrize("case", CASES)
@every_variant
def test_fixed_shapes(variant: Variant, case: str) -> None:
    """In steps of two rows, or of as few channels as there are whole tiles in."""
    block = case_block(variant, case)
    knobs = default_knobs(block, variant, host_target())
    check(block, variant, knobs=replace(knobs, depth=2 if variant.traversal == "rows" else knobs.depth))


@every_variant
@settings(max_examples=12)
@given(data=st.data())
def test_generated_shapes(variant: Variant, data: st.DataObject) -> None:
    block = data.draw(separable_blocks(variant).filter(variant.supports), label="block")
    threads = data.draw(st.sampled_from([1, 2]), label="threads")
    knobs = default_knobs(block, variant, host_target(), threads)
    most = block.stages[-1].out_channels if variant.traversal == "channels" else block.sizes()[-1][0]
    depth = data.draw(st.one_of(st.just(knobs.depth), st.integers(1, most)), label="depth")
    check(block, variant, threads=threads, knobs=replace(knobs, depth=depth))


@pytest.mark.parametrize("step", [*ACTIVATIONS, "add"])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("name", ["dwpw_hwc_hwc_hwc_rows", "pwdw_chw_chw_chw_channels"])
def test_epilogue_steps(name: str, stage: int, step: str) -> None:
    block = block_for(VARIANTS[name], (12, 19), (5, 6))
    stages = list(block.stages)
    stages[stage] = replace(stages[stage], epilogue=("bias", step))
    check(replace(block, stages=tuple(stages)), VARIANTS[name])


#: AVX2-like and Advanced SIMD-like registers; LLVM still generates for the machine at hand.
LIKE = {"avx2": (8, 16), "neon": (4, 32)}


@pytest.mark.parametrize("like", LIKE)
@pytest.mark.parametrize("case", ["tails", "half_vectors"])
@every_variant
def test_other_registers(variant: Variant, case: str, like: str) -> None:
    lanes, registers = LIKE[like]
    target = CpuTarget(like, host_target().mcpu, lanes, registers, cores=2, l1_bytes=1024, l2_bytes=8 * 1024)
    check(case_block(variant, case), variant, target, threads=2)


def test_residual_of_the_input() -> None:
    """The inverted residual proper: the block's input comes back as its last operand."""
    variant = VARIANTS["pwdwpw_hwc_hwc_hwc_rows"]
    block = block_for(variant, (16, 48, 16), (14, 14))
    last = pointwise(48, 16, ("bias", "add"))
    block = replace(block, stages=(*block.stages[:2], last))
    operands = random_operands(block)
    operands["r2"] = operands["x"]
    knobs = replace(default_knobs(block, variant, host_target()), depth=3)
    kernel = build_kernel(block, variant, host_target(), 1, knobs)
    plain = replace(block, stages=(*block.stages[:2], replace(last, epilogue=("bias",))))
    without = evaluate(build_kernel(plain, variant, host_target(), 1, knobs), operands)
    np.testing.assert_array_equal(evaluate(kernel, operands), without + operands["x"])


def test_a_variant_refuses_a_block_of_another_order_or_layout() -> None:
    variant = VARIANTS["dwpw_hwc_hwc_hwc_rows"]
    for other in ("pwdw_hwc_hwc_hwc_rows", "dwpw_chw_hwc_chw_rows"):
        block = block_for(VARIANTS[other], (8, 8), (4, 4))
        with pytest.raises(ValueError, match="dwpw_hwc_hwc_hwc_rows does not compute a"):
            build_kernel(block, variant, host_target())
