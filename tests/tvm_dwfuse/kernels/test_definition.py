from __future__ import annotations

import numpy as np
import pytest
import tvm

from tests.blocks import depthwise, full_conv, pointwise
from tests.reference import random_operands, reference
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.kernels.definition import block_definition, pack_weight, packed_shape
from tvm_dwfuse.targets import host_target

BLOCKS = {
    "dwpw": Block((depthwise(5, 3, 2, padding=(0, 1, 2, 1)), pointwise(5, 7, ("bias", "silu"))), 2, 7, 6),
    "pwdw_chw": Block((pointwise(4, 6), depthwise(6, 5, dilation=2, multiplier=2)), 1, 9, 8, "NCHW"),
    "triple": Block((pointwise(4, 12), depthwise(12), pointwise(12, 4, ("bias", "add"))), 1, 5, 6),
    "scaled": Block((pointwise(6, 5, ()),), 2, 3, 4, prologue=("scale",)),
    "grouped": Block((full_conv(6, 9, groups=3),), 1, 5, 5),
}


@pytest.mark.parametrize("tile", [1, 4, 16])
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_definition_computes_the_block_as_it_stands(block: Block, tile: int) -> None:
    """Unscheduled, with whatever tile the weights are packed for."""
    tiles = [tile] * len(block.stages)
    func = block_definition(block, [block.layout] * (len(block.stages) + 1), tiles)
    library = tvm.compile(tvm.IRModule({"main": func}), target=host_target().tvm_target())
    operands = random_operands(block)
    expected = reference(block, operands)
    for i, stage in enumerate(block.stages):
        operands[f"w{i}"] = pack_weight(stage, operands[f"w{i}"], tile)
    output = tvm.runtime.tensor(np.full(expected.shape, np.nan, np.float32))
    library["main"](*(tvm.runtime.tensor(operands[name]) for name in block.operands()), output)
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_an_intermediate_may_have_a_layout_of_its_own() -> None:
    block = Block((pointwise(4, 6, ()), depthwise(6, epilogue=())), 1, 5, 7)
    func = block_definition(block, ["NHWC", "NCHW", "NHWC"], [4, 4])
    writes = {
        str(sblock.name_hint): [int(extent) for extent in sblock.writes[0].source.shape] for sblock in blocks_of(func)
    }
    assert writes["out0"] == [1, 6, 5, 7]
    assert writes["out1"] == [1, 5, 7, 6]


def test_blocks_are_called_as_documented() -> None:
    block = BLOCKS["scaled"]
    names = [str(sblock.name_hint) for sblock in blocks_of(block_definition(block, ["NHWC"] * 2, [4]))]
    assert names == ["scaled", "acc0", "out0"]
    triple = block_definition(BLOCKS["triple"], ["NHWC"] * 4, [4, 4, 4])
    names = [str(sblock.name_hint) for sblock in blocks_of(triple)]
    assert names == ["acc0", "out0", "pad1", "acc1", "out1", "acc2", "out2"]


def blocks_of(func: tvm.tirx.PrimFunc) -> list[tvm.s_tir.SBlock]:
    sch = tvm.s_tir.Schedule(func)
    return [sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root"))]


def test_depthwise_weights_have_channels_last() -> None:
    conv = depthwise(5, (3, 1), multiplier=2)
    weight = np.arange(10 * 3, dtype=np.float32).reshape(10, 1, 3, 1)
    packed = pack_weight(conv, weight, tile=4)
    assert packed.shape == packed_shape(conv, 4) == (3, 1, 10)
    assert packed[2, 0, 7] == weight[7, 0, 2, 0]


@pytest.mark.parametrize(
    ("conv", "tile", "shape"),
    [
        (pointwise(6, 8), 4, (2, 1, 1, 6, 4)),
        (pointwise(6, 9), 4, (3, 1, 1, 6, 4)),
        (full_conv(3, 5, 3), 8, (1, 3, 3, 3, 8)),
        (full_conv(6, 10, 3, groups=2), 4, (4, 3, 3, 3, 4)),
    ],
)
def test_dense_weights_come_in_tiles_filled_up_with_zeros(conv: Conv, tile: int, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    group_in, group_out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    weight = generator.uniform(1, 2, (conv.out_channels, group_in, *conv.kernel)).astype(np.float32)
    packed = pack_weight(conv, weight, tile)
    assert packed.shape == packed_shape(conv, tile) == shape
    assert packed.flags.c_contiguous
    tiles = shape[0] // conv.groups
    for channel in range(conv.out_channels):
        group, inside = divmod(channel, group_out)
        np.testing.assert_array_equal(
            packed[group * tiles + inside // tile, ..., inside % tile], weight[channel].transpose(1, 2, 0)
        )
    assert np.count_nonzero(packed) == weight.size
