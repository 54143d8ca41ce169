"""Builds as they lie on disk, small and with every number given by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tvm_dwfuse import __version__, artifact
from tvm_dwfuse.artifact import Manifest, TargetInfo, TensorInfo
from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.choice import Costs
from tvm_dwfuse.chosen import Choice, RunnerUp, Step
from tvm_dwfuse.cluster_artifact import ClusterManifest, GroupReport, Port, Way
from tvm_dwfuse.cluster_artifact import RunnerUp as ClusterRunnerUp
from tvm_dwfuse.integer_network import Activation

IMAGE = TensorInfo("x", (1, 8, 12, 10), "float32")
EXPAND = Conv(8, 16, epilogue=("bias", "relu6"))
DEPTHWISE = Conv(16, 16, (3, 3), (2, 2), (1, 1, 1, 1), groups=16, epilogue=("bias", "relu6"))
PROJECT = Conv(16, 8, epilogue=("bias",))


#: Of a fused block; costs are not those of its group, as these have transfers of L3 in them.
ALTERNATIVES = (
    Way("pwdw_hwc_hwc_hwc_rows", 70_000, 9_000, 0, 0),
    Way("pwdw_hwc_chw_hwc_rows", 75_000, 9_500, 0, 0),
    Way("unfused", 80_000, 19_000, 0, 0),
)


def group(number: int, kind: str, count: int, reads: tuple[str, ...], writes: str, **changes: object) -> GroupReport:
    """A group with numbers of its own."""
    common = {
        "name": f"g{number:02d}_{kind}",
        "layers": tuple(f"/layer{number}/{part}" for part in range(count)),
        "variant": "unfused" if count == 1 else f"{kind}_hwc_hwc_hwc_rows",
        "tile": f"{number + 1}/12 rows x 8/8 channels",
        "buffers": {"x": 1000 + number, "m1": 2000, "y": 3000, "w0": 400, "q0": 50, "scratch": 6},
        "l2": {**dict.fromkeys(reads, 0), writes: 4096},
        "l1_bytes": 6456 + number,
        "activation_bytes": 10_000 + number,
        "constant_bytes": 2_000 + number,
        "l3_bytes": 300 + number,
        "macs": 5_000,
        "cycles": 70_000 + 1_000 * number,
        "stalls": 0,
    }
    return GroupReport(**{**common, **changes})


def cluster_manifest(groups: tuple[GroupReport, ...] | None = None) -> ClusterManifest:
    """A layer, a fused block, and a sum of both their outputs."""
    port = Port(IMAGE, Activation("x", 12, 10, 8, 0.5, 10))
    other = ClusterRunnerUp(("p", "q", "r"), Way("pwdw", 60, 5, 0, 0), Way("one", 50, 9, 0, 0))
    groups = groups or (
        group(0, "pw", 1, ("x",), "a", runner_up=other),
        group(1, "pwdw", 2, ("a",), "b", alternatives=ALTERNATIVES, origin="tuned (db/)"),
        group(2, "add", 1, ("a", "b"), "y"),
    )
    options = {"target": "gap8", "objective": "latency", "variant": None, "l1_bytes": 9000, "double_buffer": True}
    return ClusterManifest("toy & co", options, port, port, groups, 6457, 20_000, 0, {}, __version__)


def cpu_manifest(choice: Choice | None) -> Manifest:
    """An artifact for this machine's kind."""
    target = TargetInfo("host", "x86_64", "znver4", ())
    return Manifest(
        "toy & co", target, 1, (IMAGE,), (IMAGE,), version("apache-tvm"), __version__, {"a_variant": 3}, choice=choice
    )


def choice() -> Choice:
    """A pointwise layer, and a fused block that reads it twice."""
    pointwise = Block((replace(EXPAND, out_channels=8),), 1, 12, 10)
    block = Block((EXPAND, DEPTHWISE, PROJECT), 1, 12, 10)
    alone = step(pointwise, (-1,), None, 1e-5)
    fused = replace(
        step(block, (0, 0), "pwdwpw_hwc_hwc_hwc_rows", 4e-5),
        origin="tuned (db/)",
        measured=True,
        intermediate_bytes=7_000,
        unfused=Costs(6e-5, 90_000, 0, 0),
        runner_up=RunnerUp(("pwdw_hwc_hwc_hwc_rows", "pw"), ("a", "b", "c"), costs(4.5e-5), costs(4e-5)),
    )
    return Choice(
        "latency", "cheapest", costs(5e-5), costs(7e-5, 110_000), costs(5.5e-5), (alone, fused), 32_768, 1_048_576
    )


def costs(latency: float, traffic: float = 40_000) -> Costs:
    return Costs(latency, traffic, 1e-6, 50_000)


def step(block: Block, inputs: tuple[int, ...], variant: str | None, seconds: float) -> Step:
    """A step with default knobs, estimated."""
    return Step(
        kernel=f"{variant or block.order}_12x10",
        layers=tuple(f"lv{i}" for i in range(len(block.stages))),
        block=json.loads(block.to_json()),
        inputs=inputs,
        variant=variant,
        source=None,
        knobs={"depth": 2, "rows0": 1},
        origin="default",
        measured=False,
        costs=costs(seconds, 20_000),
        intermediate_bytes=0,
    )


def write_cpu(folder: Path, manifest: Manifest | None = None) -> Path:
    """An artifact whose library is empty."""
    folder.mkdir()
    (folder / artifact.LIBRARY).write_bytes(b"")
    (folder / artifact.MANIFEST).write_text((manifest or cpu_manifest(choice())).to_json())
    return folder


def write_cluster(folder: Path, manifest: ClusterManifest | None = None) -> Path:
    """An application that is no more than its manifest."""
    folder.mkdir()
    (manifest or cluster_manifest()).write(folder)
    return folder
