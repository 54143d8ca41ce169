"""Schedules as TVM records them, and what a kernel offers to its caller."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import s_tir

from schedules import Kernel, build, build_kernel, default_knobs, legal_variants
from schedules.build import schedule_block
from schedules.knobs import stage_layouts
from tests.blocks import block_for, depthwise, full_conv, pointwise
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.kernels.definition import block_definition
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.variants import VARIANTS, Variant

SINGLE = {
    "dw": Block((depthwise(19),), 1, 7, 9),
    "pw_scaled": Block((pointwise(19, 24),), 2, 7, 9, prologue=("scale",)),
    "stem_chw": Block((full_conv(3, 16, stride=2),), 1, 9, 9, "NCHW"),
}


def fused_block(variant: Variant) -> Block:
    return block_for(variant, (19, 40, 21)[: 3 if variant.order == "pwdwpw" else 2], (9, 11), stride=2)


CASES = [(name, fused_block(variant)) for name, variant in VARIANTS.items()] + list(SINGLE.items())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "block"), CASES, ids=[name for name, _ in CASES])
def test_traces_replay_on_a_fresh_definition(name: str, block: Block, threads: int) -> None:
    variant = VARIANTS.get(name)
    knobs = default_knobs(block, variant, host_target(), threads)
    knobs = replace(knobs, depth=16 if variant and variant.traversal == "channels" else 2)
    scheduled = schedule_block(block, variant, host_target(), threads, knobs)
    tiles = [tile.channels for tile in knobs.tiles]
    definition = block_definition(block, stage_layouts(block, variant), tiles)

    fresh = s_tir.Schedule(definition)
    scheduled.trace.apply_to_schedule(fresh, remove_postproc=False)
    tvm.ir.assert_structural_equal(fresh.mod, scheduled.mod)

    from_log = s_tir.Schedule(definition)
    s_tir.schedule.Trace.apply_json_to_schedule(scheduled.trace.as_json(), from_log)
    tvm.ir.assert_structural_equal(from_log.mod, scheduled.mod)
    assert not tvm_ffi.structural_equal(s_tir.Schedule(definition).mod, scheduled.mod)


@pytest.mark.parametrize(("name", "block"), CASES, ids=[name for name, _ in CASES])
def test_parameters_are_the_operands_and_the_output(name: str, block: Block) -> None:
    kernel = build_kernel(block, VARIANTS.get(name), host_target())
    *operands, output = (param.name for param in kernel.func.params)
    assert operands == block.operands()
    assert output == f"out{len(block.stages) - 1}"


@pytest.mark.parametrize(("name", "block"), CASES, ids=[name for name, _ in CASES])
def test_kernels_run_in_parallel_if_they_have_threads_and_enough_to_do(
    name: str, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_parallel(threads: int) -> bool:
        return "T.parallel" in build_kernel(block, VARIANTS.get(name), host_target(), threads).func.script()

    assert is_parallel(2)
    assert not is_parallel(1)
    monkeypatch.setattr(build, "PARALLEL_MACS", block.macs() + 1)
    assert not is_parallel(2)


def test_pack_lays_out_weights_and_leaves_biases() -> None:
    kernel = build_kernel(
        fused_block(VARIANTS["dwpw_hwc_hwc_hwc_rows"]), VARIANTS["dwpw_hwc_hwc_hwc_rows"], host_target()
    )
    shapes = dict(
        zip(kernel.block.operands(), ([int(n) for n in param.shape] for param in kernel.func.params), strict=False)
    )
    assert list(kernel.pack("w0", np.zeros((19, 1, 3, 3), np.float32)).shape) == shapes["w0"]
    assert list(kernel.pack("w1", np.zeros((40, 19, 1, 1), np.float32)).shape) == shapes["w1"]
    bias = np.ones(40, np.float32)
    assert kernel.pack("b1", bias) is bias
    assert isinstance(kernel, Kernel)


def test_legal_variants_come_in_the_tables_order() -> None:
    names = [variant.name for variant in legal_variants(fused_block(VARIANTS["pwdw_hwc_hwc_hwc_rows"]))]
    assert names == [name for name in VARIANTS if name.startswith("pwdw_hwc")]
    nchw_triple = replace(fused_block(VARIANTS["pwdwpw_hwc_hwc_hwc_rows"]), layout="NCHW")
    assert legal_variants(nchw_triple) == []


@pytest.mark.parametrize("name", ["pwdw_hwc_hwc_hwc_rows", "pwdwpw_hwc_hwc_hwc_rows"])
def test_a_ring_of_rows_takes_no_tile_of_several(name: str) -> None:
    block = fused_block(VARIANTS[name])
    knobs = default_knobs(block, VARIANTS[name], host_target())
    taller = replace(knobs, tiles=(replace(knobs.tiles[0], rows=2), *knobs.tiles[1:]))
    with pytest.raises(ValueError, match="its first tile must have one row"):
        build_kernel(block, VARIANTS[name], host_target(), knobs=taller)
