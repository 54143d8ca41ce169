"""Chains of convolutions equal the numpy reference, bit for bit: as TensorIR under LLVM and as C."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.groups import Group
from tvm_dwfuse.runners.layer import LayerResult, run_layers
from tvm_dwfuse.tiling.chain import Tile
from tvm_dwfuse.tuning.cluster_example import group_arguments

from .cases import random_groups, variant_groups
from .groups import (
    chain_group,
    loaded,
    needs_rv32,
    random_input,
    reference,
    run_by_llvm,
    run_calls_by_llvm,
    to_case,
)


@pytest.mark.parametrize(
    "group", variant_groups(2, seed=1) + random_groups(20, seed=2), ids=lambda group: str(group.plan.tile)
)
def test_llvm(group: Group) -> None:
    x = random_input(group)
    np.testing.assert_array_equal(run_by_llvm(group, x), reference(group, x))


@pytest.mark.parametrize(("cores", "dma_late"), [(8, False), (8, True), (1, True)])
def test_c_on_the_host(cores: int, dma_late: bool) -> None:
    groups = variant_groups(6, seed=3 + cores, cores=cores) + random_groups(60, seed=4 + cores, cores=cores)
    check(groups, run_layers([to_case(group) for group in groups], cores=cores, dma_late=dma_late))


@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
def test_c_under_sanitizers(sanitize: str) -> None:
    groups = variant_groups(1, seed=5) + random_groups(8, seed=6)
    check(groups, run_layers([to_case(group) for group in groups], sanitize=sanitize, dma_late=True))


@needs_rv32
def test_c_on_rv32() -> None:
    groups = variant_groups(1, seed=7) + random_groups(10, seed=8)
    check(groups, run_layers([to_case(group) for group in groups], runner="rv32"))


def check(groups: list[Group], results: list[LayerResult]) -> None:
    """Outputs equal the reference, and the bytes counted equal the plan's."""
    for group, result in zip(groups, results, strict=True):
        chain = group.plan
        shape = (*chain.sizes[-1], chain.tensor_channels[-1])
        actual = loaded(result.output, shape, chain.layouts[-1])
        np.testing.assert_array_equal(actual, reference(group, random_input(group)), err_msg=str(chain))
        moved = [transfer for where in chain.iterations() for transfer in chain.transfers(*where)]
        expected = {
            "activation_in": sum(t.bytes for t in moved if t.kind == "activation" and t.inward),
            "activation_out": sum(t.bytes for t in moved if t.kind == "activation" and not t.inward),
            "constant_in": sum(t.bytes for t in moved if t.kind == "constant"),
            "dma_transfers": len(moved),
        }
        assert {name: result.counters[name] for name in expected} == expected, str(chain)


def depthwise(channels: int, kernel: int = 3, stride: int = 1) -> Conv:
    pad = kernel // 2
    return Conv(channels, channels, (kernel, kernel), (stride, stride), (pad, pad, pad, pad), groups=channels)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize(
    "stages",
    [(Conv(6, 9), depthwise(9, stride=2)), (depthwise(6, 5), Conv(6, 7)), (Conv(6, 9), depthwise(9), Conv(9, 4))],
    ids=["pwdw", "dwpw", "pwdwpw"],
)
def test_rows_in_bands(stages: tuple[Conv, ...], rows: int) -> None:
    """Calls for bands of rows, each with only the rows of input and output it needs, make the whole."""
    group = chain_group(stages, 13, 6, ("hwc",) * (len(stages) + 1), whole_tile(stages, rows))
    x = random_input(group)
    chain = group.plan
    calls = [(begin, min(begin + 2 * rows, chain.out_rows), 0, 1) for begin in range(0, chain.out_rows, 2 * rows)]
    np.testing.assert_array_equal(run_calls_by_llvm(group, x, calls), reference(group, x))


@pytest.mark.parametrize("rows", [3, 7])
def test_channels_in_pieces(rows: int) -> None:
    """Calls for some of the blocks of channels, each with those blocks' constants alone, make the whole."""
    stages = (Conv(6, 19), depthwise(19, stride=2))
    group = chain_group(stages, 13, 6, ("hwc", "hwc", "chw"), Tile(rows, 4, (4, 4)))
    x = random_input(group)
    calls = [(0, group.plan.out_rows, begin, min(begin + 2, 5)) for begin in range(0, 5, 2)]
    np.testing.assert_array_equal(run_calls_by_llvm(group, x, calls), reference(group, x))


def whole_tile(stages: tuple[Conv, ...], rows: int) -> Tile:
    return Tile(rows, stages[-1].out_channels, tuple(stage.out_channels for stage in stages))


def test_arguments_follow_the_parameters() -> None:
    group = chain_group((Conv(6, 9),), 3, 3, ("hwc", "hwc"), whole_tile((Conv(6, 9),), 3))
    assert [type(argument) for argument in group_arguments(group, random_input(group))] == [np.ndarray] * 4 + [int] * 6
