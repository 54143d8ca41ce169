"""Layer groups of any geometry with random constants, and their execution through LLVM."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import pytest
import tvm

from schedules.cluster import build_group
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.codegen_gap8.expand_intrinsics import expand_intrinsics
from tvm_dwfuse.groups import Group
from tvm_dwfuse.quantization import run_layer
from tvm_dwfuse.runners.layer import LayerCase
from tvm_dwfuse.tiling.chain import Chain, Tile
from tvm_dwfuse.tuning.cluster_example import group_arguments, group_case, random_layer

needs_rv32 = pytest.mark.skipif(
    not (shutil.which("riscv64-unknown-elf-gcc") and shutil.which("qemu-system-riscv32")),
    reason="needs gcc-riscv64-unknown-elf, picolibc-riscv64-unknown-elf and qemu-system-misc",
)


def chain_group(
    stages: Sequence[Conv],
    height: int,
    width: int,
    layouts: Sequence[str],
    tile: Tile,
    seed: int = 0,
    **options: object,
) -> Group:
    """A group that computes ``stages`` as ``tile`` says."""
    rng = np.random.default_rng(seed)
    layers = tuple(random_layer(f"conv{i}", conv, rng) for i, conv in enumerate(stages))
    chain = Chain(tuple(stages), height, width, tuple(layouts), tile, **options)
    return Group("group", layers, "test", chain)


def random_input(group: Group, seed: int = 1) -> np.ndarray:
    """uint8, HWC."""
    chain = group.plan
    shape = (chain.height, chain.width, chain.tensor_channels[0])
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def reference(group: Group, x: np.ndarray) -> np.ndarray:
    """What the group computes, by the numpy reference; HWC in and out."""
    for layer in group.layers:
        x = run_layer(layer, x)
    return x


def loaded(flat: np.ndarray, shape: tuple[int, int, int], layout: str) -> np.ndarray:
    """The HWC array that lies in L2 as ``flat``."""
    height, width, channels = shape
    if layout == "hwc":
        return flat.reshape(shape)
    return flat.reshape(channels, height, width).transpose(1, 2, 0)


def run_by_llvm(group: Group, x: np.ndarray) -> np.ndarray:
    """The group's output, HWC, of its schedule compiled by LLVM."""
    return run_calls_by_llvm(group, x, [(0, group.plan.out_rows, 0, group.plan.blocks)])


def run_calls_by_llvm(group: Group, x: np.ndarray, calls: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    """The output, HWC, of calls for (row begin, row end, block begin, block end), each with only what it needs."""
    chain = group.plan
    function = expand_intrinsics(build_group(group))
    compiled = tvm.compile(tvm.IRModule({group.name: function}), target="llvm")[group.name]
    *operands, y, _, _, _, _, _, _ = group_arguments(group, x)
    x_row, y_row = (width * channels for (_, width), channels in ends(chain))
    for row_begin, row_end, block_begin, block_end in calls:
        x_row0, x_end = chain.first_row(0, row_begin), chain.end_row(0, row_end)
        bands = row_begin > 0 or row_end < chain.out_rows
        taken = [operands[0][x_row0 * x_row : x_end * x_row] if bands else operands[0]]
        taken += pieces(group, operands[1:], block_begin * chain.tile.channels, block_end * chain.tile.channels)
        target = y[row_begin * y_row : row_end * y_row] if bands else y
        origins = (x_row0, row_begin) if bands else (0, 0)
        compiled(*taken, target, row_begin, row_end, *origins, block_begin, block_end)
    return loaded(y, (*chain.sizes[-1], chain.tensor_channels[-1]), chain.layouts[-1])


def ends(chain: Chain) -> list[tuple[tuple[int, int], int]]:
    """Size and channels of the first and the last tensor."""
    return [(chain.sizes[i], chain.tensor_channels[i]) for i in (0, -1)]


def pieces(group: Group, constants: Sequence[np.ndarray], begin: int, end: int) -> list[np.ndarray]:
    """The constants of channels [begin, end), where the chain has blocks of channels; else all of them."""
    if group.plan.blocks == 1:
        return list(constants)
    channels = group.plan.tensor_channels[-1]
    return [np.ascontiguousarray(a.reshape(channels, -1)[begin:end]).reshape(-1) for a in constants]


def to_case(group: Group) -> LayerCase:
    """A call of the group's C function on its random input."""
    return group_case(group, random_input(group))
