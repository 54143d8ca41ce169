"""What the page shows is what the manifests and the database say."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from tests.tvm_dwfuse.report_page.builds import choice, cluster_manifest, cpu_manifest, group
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.network import OperatorTime
from tvm_dwfuse.report_page.model import CYCLES, Curve, Trial, percent
from tvm_dwfuse.report_page.of_cluster import LEVELS, cluster_build
from tvm_dwfuse.report_page.of_cpu import LEVEL, cpu_build
from tvm_dwfuse.report_page.tables import choice_table


def test_blocks_of_a_cluster() -> None:
    manifest = cluster_manifest()
    build = cluster_build(manifest)
    assert (build.model, build.target, build.unit) == ("toy & co", "gap8", CYCLES)
    assert [limit.bytes for limit in build.limits] == [9000]
    for block, found in zip(build.blocks, manifest.groups, strict=True):
        assert (block.name, block.variant, block.cost, block.tile) == (
            found.name,
            found.variant,
            found.cycles,
            found.tile,
        )
        assert [layer.name for layer in block.layers] == list(found.layers)
        assert dict(block.moved) == dict(
            zip(LEVELS, (found.activation_bytes, found.constant_bytes, found.l3_bytes), strict=True)
        )
        assert {buffer.name: buffer.bytes for buffer in block.buffers} == found.buffers
        assert block.fused == (len(found.layers) > 1)
    assert [[layer.kind for layer in block.layers] for block in build.blocks] == [["pw"], ["pw", "dw"], ["add"]]
    assert [(block.reads, block.writes) for block in build.blocks] == [
        (("x",), "a"),
        (("a",), "b"),
        (("a", "b"), "y"),
    ]
    assert build.totals[0].cost == manifest.cycles


def test_kinds_of_l1_buffers() -> None:
    names = ("x", "a", "b", "m1", "m2", "y", "w", "w0", "q1", "scratch")
    manifest = cluster_manifest((group(0, "pw", 1, ("x",), "y", buffers=dict.fromkeys(names, 1)),))
    (block,) = cluster_build(manifest).blocks
    kinds = [buffer.kind for buffer in block.buffers]
    assert kinds == [*["input"] * 3, *["between stages"] * 2, "output", *["constants"] * 3, "scratch"]
    assert block.bytes_of("constants") == 3


def test_what_an_application_of_before_does_not_tell() -> None:
    build = cluster_build(cluster_manifest((group(0, "pwdw", 2, ("x",), "y"),)))
    assert [total.name for total in build.totals] == ["as chosen"]
    assert "Compile the model again" in build.missing[0]
    assert choice_table(build).rows[-1].cells[4].text == "\N{EN DASH}"
    assert cluster_build(cluster_manifest()).missing == ()


def test_totals_of_a_cluster() -> None:
    chosen, unfused = cluster_build(cluster_manifest()).totals
    assert (unfused.cost - chosen.cost, unfused.moved - chosen.moved) == (10_000, 10_000)


def test_kinds_of_layers_by_their_shape() -> None:
    stages = [asdict(Conv(3, 8, (3, 3), (2, 2))), asdict(Conv(8, 8, (3, 3), groups=8))]
    shape = {"height": 12, "width": 10, "layouts": ["hwc", "chw", "hwc"], "stages": stages}
    manifest = cluster_manifest((group(0, "pwdw", 2, ("x",), "y", shape=shape),))
    (block,) = cluster_build(manifest).blocks
    assert [(layer.kind, layer.size) for layer in block.layers] == [("conv", "3x3/2 3→8"), ("dw", "3x3 8")]


def test_all_l1_where_nothing_else_was_asked_for() -> None:
    manifest = cluster_manifest()
    from tvm_dwfuse.targets.gap8 import GAP8

    build = cluster_build(replace(manifest, options={**manifest.options, "l1_bytes": None}))
    assert [limit.bytes for limit in build.limits] == [GAP8.l1_bytes]


def test_blocks_of_a_cpu() -> None:
    made = choice()
    build = cpu_build(cpu_manifest(made), [OperatorTime("pwdwpw_hwc_hwc_hwc_rows_12x10", 2, 0.1)])
    alone, fused = build.blocks
    assert (alone.name, alone.variant, alone.unfused, alone.runner_up, alone.measured) == (
        "k00_pw",
        "unfused",
        None,
        None,
        None,
    )
    assert (fused.name, fused.cost, fused.origin) == ("k01_pwdwpw", 4e-5, "tuned (db/)")
    assert fused.unfused is not None
    assert (fused.unfused.cost, fused.unfused.moved) == (6e-5, 90_000)
    assert fused.runner_up is not None
    assert fused.runner_up.name == "pwdw_hwc_hwc_hwc_rows + pw"
    assert fused.runner_up.extra == pytest.approx(5e-6)
    assert fused.moved == {LEVEL: 20_000}
    assert fused.buffer_bytes == 7_000
    assert fused.measured == pytest.approx(5e-5)
    assert [(layer.kind, layer.size) for layer in fused.layers] == [
        ("pw", "1x1 8→16"),
        ("dw", "3x3/2 16"),
        ("pw", "1x1 16→8"),
    ]
    assert (alone.reads, fused.reads, alone.writes) == ((), ("0", "0"), "0")
    assert [(total.cost, total.moved) for total in build.totals] == [
        (5e-5, 40_000),
        (7e-5, 110_000),
        (5.5e-5, 40_000),
    ]
    assert build.source == "tuned records (1 of 2 blocks) and estimate"


def test_an_artifact_that_does_not_say_what_was_chosen() -> None:
    build = cpu_build(cpu_manifest(None))
    assert build.blocks == ()
    assert "compile" in " ".join(build.missing).lower()
    assert ("Fused blocks", "3 a_variant") in build.facts


def test_curve() -> None:
    curve = Curve("k", CYCLES, tuple(map(Trial, (None, 9.0, 7.0, None, 8.0, 5.0))))
    assert curve.best == (None, 9.0, 7.0, 7.0, 7.0, 5.0)
    assert (curve.first, curve.failures) == (9.0, 2)
    assert Curve("k", CYCLES, (Trial(None),)).first is None


def test_percent() -> None:
    assert percent(0.0423) == "+4.2%"
    assert percent(-0.0001) == "0.0%"
    assert percent(-0.1, 0) == "\N{MINUS SIGN}10%"
