"""What is fused and how, from the outside: tuned records are replayed, and what was chosen is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import tvm_dwfuse
from tvm_dwfuse import DwfuseError
from tvm_dwfuse.artifact import Manifest
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.chosen import Choice, Step
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.task import KernelTask
from tvm_dwfuse.tuning.template import trace_at

from .commands import fail, succeed

MakeOnnx = Callable[..., Path]


def chosen(network: tvm_dwfuse.CompiledNetwork) -> Choice:
    assert network.manifest.choice is not None
    return network.manifest.choice


def task_of(step: Step) -> KernelTask:
    block = Block.from_json(json.dumps(step.block))
    return KernelTask(block, step.variant, None, host_target(), threads=1)


def singles_of(step: Step) -> list[KernelTask]:
    """The layers of a kernel alone; all are of one size."""
    stages = task_of(step).block.stages
    return [KernelTask(Block((stage,), 1, 12, 10), None, None, host_target(), threads=1) for stage in stages]


def add(folder: Path, task: KernelTask, point: Point, seconds: float) -> None:
    """Add a record to a database; the point need not be legal."""
    choices = {name: tuple(sorted({*values, point[name]})) for name, values in task.space.choices.items()}
    TuningDatabase(folder).add(task.key, trace_at(Space(choices, point), task.key, point), Measurement((seconds,)))


@pytest.fixture
def untuned(make_onnx: MakeOnnx) -> tvm_dwfuse.CompiledNetwork:
    return tvm_dwfuse.compile(make_onnx(), threads=1, tuned=False)


@pytest.fixture
def fused(untuned: tvm_dwfuse.CompiledNetwork) -> Step:
    """The kernel of the whole network, by default."""
    (step,) = chosen(untuned).steps
    return step


def test_untuned_takes_the_fixed_rule_and_default_knobs(untuned: tvm_dwfuse.CompiledNetwork, fused: Step) -> None:
    assert untuned.fused == {"pwdwpw_hwc_hwc_hwc_rows": 1}
    assert chosen(untuned).rule == "program order"
    assert (fused.origin, fused.measured, fused.inputs) == ("default", False, (-1,))
    assert fused.knobs == task_of(fused).space.default
    assert fused.kernel.startswith("pwdwpw_hwc_hwc_hwc_rows_12x10")
    assert fused.kernel in {row.name for row in untuned.profile(runs=1)}


def test_a_tuned_record_is_replayed(
    make_onnx: MakeOnnx, fused: Step, untuned: tvm_dwfuse.CompiledNetwork, x: np.ndarray, tmp_path: Path
) -> None:
    task = task_of(fused)
    point = next(point for point in task.space.points() if point != task.space.default)
    add(tmp_path / "db", task, point, seconds=1e-9)
    network = tvm_dwfuse.compile(make_onnx(), threads=1, db=tmp_path / "db")
    (step,) = chosen(network).steps
    assert (step.knobs, step.measured, step.origin) == (point, True, f"tuned ({tmp_path / 'db'})")
    assert step.runner_up is not None
    np.testing.assert_allclose(network.run(x)[0], untuned.run(x)[0], atol=1e-5)
    ignored = tvm_dwfuse.compile(make_onnx(), threads=1, tuned=False)
    assert chosen(ignored) == chosen(untuned)


def test_records_turn_the_choice(make_onnx: MakeOnnx, fused: Step, tmp_path: Path) -> None:
    task = task_of(fused)
    add(tmp_path / "db", task, task.space.default, seconds=1.0)
    for single in singles_of(fused):
        add(tmp_path / "db", single, single.space.default, seconds=1e-9)
    network = tvm_dwfuse.compile(make_onnx(), threads=1, db=tmp_path / "db")
    assert len(chosen(network).steps) > 1
    assert fused.variant not in network.fused


def test_foreign_knobs_fall_back_to_the_default(make_onnx: MakeOnnx, fused: Step, tmp_path: Path) -> None:
    task = task_of(fused)
    add(tmp_path / "db", task, {**task.space.default, "pixels0": 1000}, seconds=1e-9)
    with pytest.warns(UserWarning, match="tune it again"):
        network = tvm_dwfuse.compile(make_onnx(), threads=1, db=tmp_path / "db")
    assert chosen(network).tuned == 0
    (step,) = (step for step in chosen(network).steps if step.variant == fused.variant)
    assert step.knobs == fused.knobs


def test_fuse_and_variant_keep_their_meaning(make_onnx: MakeOnnx) -> None:
    unfused = chosen(tvm_dwfuse.compile(make_onnx(), threads=1, fuse=False))
    assert (unfused.rule, len(unfused.steps)) == ("unfused", 3)
    assert unfused.costs == unfused.unfused
    named = chosen(tvm_dwfuse.compile(make_onnx(), threads=1, variant="pwdwpw_hwc_hwc_hwc_rows"))
    assert (named.rule, len(named.steps)) == ("variant pwdwpw_hwc_hwc_hwc_rows", 1)


def test_choice_survives_the_manifest(untuned: tvm_dwfuse.CompiledNetwork, make_onnx: MakeOnnx) -> None:
    assert Manifest.from_json(untuned.manifest.to_json()) == untuned.manifest
    unfused = tvm_dwfuse.compile(make_onnx(), threads=1, fuse=False).manifest
    assert Manifest.from_json(unfused.to_json()) == unfused
    assert unfused.choice is not None
    assert all(step.runner_up for step in unfused.choice.steps)
    assert Choice.from_fields(json.loads(json.dumps(asdict(unfused.choice)))) == unfused.choice


def test_an_artifact_from_before_is_still_read(untuned: tvm_dwfuse.CompiledNetwork, tmp_path: Path) -> None:
    untuned.save(tmp_path / "build")
    path = tmp_path / "build" / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["choice"]
    path.write_text(json.dumps(fields))
    assert tvm_dwfuse.load(tmp_path / "build").manifest.choice is None


def test_explain_tells_knobs_costs_and_the_runner_up(make_onnx: MakeOnnx, fused: Step, tmp_path: Path) -> None:
    path = make_onnx()
    lines = succeed("explain", path, "--threads", 1, "--objective", "traffic").splitlines()
    assert lines[0].endswith("as pwdwpw_hwc_hwc_hwc_rows")
    assert lines[1].startswith("    knobs default: depth=")
    assert "; 9.6 kB estimated; runner-up " in lines[1]
    assert lines[3] == "kernels: 1, 0 of them tuned; chosen: cheapest, objective traffic"
    assert lines[4].startswith("convolutions and dense layers: 9.6 kB; all unfused ")
    add(tmp_path / "db", task_of(fused), task_of(fused).space.default, seconds=123e-6)
    for single in singles_of(fused):
        add(tmp_path / "db", single, single.space.default, seconds=1.0)
    tuned = succeed("explain", path, "--threads", 1, "--db", tmp_path / "db").splitlines()
    assert tuned[1].startswith(f"    knobs tuned ({tmp_path / 'db'}): depth=")
    assert "; 125.5 us measured; runner-up " in tuned[1]


def test_explain_prints_the_front(make_onnx: MakeOnnx) -> None:
    output = succeed("explain", make_onnx(), "--threads", 1, "--pareto")
    assert "plans none of which is as good as another in everything" in output
    assert "1 pwdwpw_hwc_hwc_hwc_rows" in output


def test_compile_takes_the_options(make_onnx: MakeOnnx, tmp_path: Path, fused: Step) -> None:
    add(tmp_path / "db", task_of(fused), task_of(fused).space.default, seconds=1e-9)
    options = ("--threads", 1, "-o", tmp_path / "build", "--db", tmp_path / "db", "--memory-limit", 10**6)
    output = succeed("compile", make_onnx(), *options, "--objective", "latency=1,traffic=0.2")
    assert "kernels: 1, 1 of them tuned; chosen: cheapest, objective latency=1,traffic=0.2" in output
    plain = succeed("compile", make_onnx(), "--threads", 1, "-o", tmp_path / "plain", "--no-tuned")
    assert "0 of them tuned; chosen: program order" in plain


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--objective", "speed"), "unknown objective 'speed'"),
        (("--db", "nowhere"), "nowhere: holds no tuning database"),
        (("--db", "nowhere", "--no-tuned"), "leave --db or --no-tuned out"),
        (("--memory-limit", 1000), "a memory limit of 1,000 bytes"),
    ],
    ids=["objective", "db", "both", "memory"],
)
@pytest.mark.parametrize("command", ["compile", "explain"])
def test_wrong_options_are_told(
    command: str, options: tuple[object, ...], error: str, make_onnx: MakeOnnx, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "build") if command == "compile" else ()
    assert error in fail(command, make_onnx(), "--threads", 1, *options, *output)


def test_memory_limit_must_be_reachable(make_onnx: MakeOnnx) -> None:
    with pytest.raises(DwfuseError, match="a memory limit of 1,000 bytes"):
        tvm_dwfuse.compile(make_onnx(), threads=1, memory_limit=1000)
