"""Kernels that compute the same block sum in the same order: their outputs are equal bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schedules import Knobs, build_kernel, default_knobs
from tests.blocks import block_for
from tests.reference import from_nhwc, random_operands, to_nhwc
from tests.schedules.kernels import evaluate
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import ORDERS, VARIANTS, Variant

SHAPES = {
    "relu6": {},
    "silu": {"stride": 2, "kernel": 5},
    "hardswish": {"dilation": 2, "multiplier": 2},
}


def block_of(variant: Variant, activation: str) -> Block:
    channels = (19, 40, 21)[: 3 if variant.order == "pwdwpw" else 2]
    block = block_for(variant, channels, (11, 13), **SHAPES[activation])
    stages = tuple(replace(stage, epilogue=("bias", activation)) for stage in block.stages)
    return replace(block, stages=stages)


def operands_of(block: Block) -> dict[str, np.ndarray]:
    """The same operands for a block whatever its layout."""
    operands = random_operands(replace(block, layout="NHWC"))
    return {**operands, "x": np.ascontiguousarray(from_nhwc(operands["x"], block.layout))}


def output(
    variant: Variant,
    activation: str,
    target: CpuTarget | None = None,
    threads: int = 1,
    knobs: Knobs | None = None,
) -> np.ndarray:
    block = block_of(variant, activation)
    kernel = build_kernel(block, variant, target or host_target(), threads, knobs)
    return to_nhwc(evaluate(kernel, operands_of(block), threads), block.layout)


def stage_by_stage(order: str, activation: str) -> np.ndarray:
    """The block computed by kernels of one stage each, in NHWC."""
    variant = next(variant for variant in VARIANTS.values() if variant.order == order)
    block = replace(block_of(variant, activation), layout="NHWC")
    operands = operands_of(block)
    x = operands["x"]
    for i, (stage, size) in enumerate(zip(block.stages, block.sizes(), strict=False)):
        single = Block((stage,), block.batch, *size)
        kernel = build_kernel(single, None, host_target())
        x = evaluate(kernel, {"x": x, "w0": operands[f"w{i}"], "b0": operands[f"b{i}"]})
    return x


@pytest.mark.parametrize("activation", SHAPES)
@pytest.mark.parametrize("order", ORDERS)
def test_variants_agree_with_each_other_and_with_single_stages(order: str, activation: str) -> None:
    expected = stage_by_stage(order, activation)
    for variant in VARIANTS.values():
        if variant.order == order:
            np.testing.assert_array_equal(output(variant, activation), expected, err_msg=variant.name)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_knobs_registers_and_threads_change_no_bit(variant: Variant) -> None:
    expected = output(variant, "silu")
    narrow = CpuTarget("narrow", host_target().mcpu, lanes=4, registers=16, cores=2, l2_bytes=2048)
    np.testing.assert_array_equal(output(variant, "silu", narrow), expected)
    knobs = replace(default_knobs(block_of(variant, "silu"), variant, host_target(), 2), depth=2)
    np.testing.assert_array_equal(output(variant, "silu", threads=2, knobs=knobs), expected)
