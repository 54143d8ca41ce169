"""Sums and global average pools equal the numpy reference, bit for bit: as TensorIR under LLVM and as C."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm

from schedules.cluster import build_group
from tvm_dwfuse.codegen_gap8.expand_intrinsics import expand_intrinsics
from tvm_dwfuse.codegen_gap8.printer import print_function
from tvm_dwfuse.groups import Group
from tvm_dwfuse.integer_network import Add, AveragePool, Layer
from tvm_dwfuse.quantization import run_layer
from tvm_dwfuse.runners.layer import LayerCase, run_layers
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.elementwise import AddPlan, PoolPlan
from tvm_dwfuse.tuning.cluster_example import stored

from .groups import needs_rv32


def add_group(elements: int, chunk: int, double: bool) -> Group:
    multiplier, offset = np.array([3000, 5000], np.int32), np.array([-60_000], np.int32)
    layer = Layer("add", Add(1, 1, elements), ("a", "b"), "y", multiplier, offset, 13)
    return Group("sum", (layer,), "unfused", AddPlan(elements, chunk, double))


def pool_group(height: int, width: int, channels: int, layout: str, tile: int, double: bool) -> Group:
    multiplier, offset = np.array([70_000 // (height * width)], np.int32), np.array([32_768], np.int32)
    layer = Layer("pool", AveragePool(height, width, channels), ("x",), "y", multiplier, offset, 16)
    return Group("pool", (layer,), "unfused", PoolPlan(height, width, channels, layout, tile, double))


GROUPS = [
    add_group(40, 40, True),
    add_group(41, 12, True),
    add_group(301, 64, False),
    pool_group(4, 4, 12, "hwc", 12, True),
    pool_group(7, 5, 13, "hwc", 4, True),
    pool_group(7, 7, 21, "chw", 8, False),
    pool_group(3, 3, 9, "chw", 5, True),
]


def inputs(group: Group) -> list[np.ndarray]:
    """The group's inputs, HWC."""
    draw = np.random.default_rng(3)
    operator = group.layers[0].operator
    shape = (operator.height, operator.width, operator.channels)
    return [draw.integers(0, 256, shape, dtype=np.uint8) for _ in group.layers[0].inputs]


def arguments(group: Group) -> list[np.ndarray | int]:
    layout = getattr(group.plan, "layout", "hwc")
    end = group.layers[0].operator.channels
    return [*(stored(array, layout) for array in inputs(group)), np.zeros(end, np.uint8), 0, end]


def expected(group: Group) -> np.ndarray:
    return run_layer(group.layers[0], *inputs(group)).reshape(-1)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: str(group.plan))
def test_llvm(group: Group) -> None:
    module = tvm.compile(tvm.IRModule({group.name: expand_intrinsics(build_group(group))}), target="llvm")
    args = arguments(group)
    module[group.name](*args)
    np.testing.assert_array_equal(args[-3], expected(group))


def test_sum_in_pieces() -> None:
    group = add_group(41, 8, True)
    compiled = tvm.compile(tvm.IRModule({"sum": expand_intrinsics(build_group(group))}), target="llvm")["sum"]
    a, b, y, _, _ = arguments(group)
    for begin, end in ((0, 16), (16, 41)):
        compiled(a[begin:end], b[begin:end], y[begin:end], begin, end)
    np.testing.assert_array_equal(y, expected(group))


@pytest.mark.parametrize("runner", ["host", pytest.param("rv32", marks=needs_rv32)])
def test_c(runner: str) -> None:
    functions = [print_function(build_group(group), replace(GAP8, cores=8)) for group in GROUPS]
    cases = [
        LayerCase(
            f'#include "dwfuse_scalar.h"\n{f.text}', f.name, tuple(arguments(g)), len(arguments(g)) - 3, f.l1_bytes
        )
        for f, g in zip(functions, GROUPS, strict=True)
    ]
    for group, result in zip(GROUPS, run_layers(cases, runner=runner, dma_late=True), strict=True):
        np.testing.assert_array_equal(result.output, expected(group), err_msg=str(group.plan))
        moved = [transfer for where in group.plan.iterations() for transfer in group.plan.transfers(*where)]
        assert result.counters["activation_in"] == sum(t.bytes for t in moved if t.inward)
        assert result.counters["activation_out"] == sum(t.bytes for t in moved if not t.inward)
