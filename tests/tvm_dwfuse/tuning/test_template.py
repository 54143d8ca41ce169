"""Traces of tasks: a point survives becoming one and back, as text too, and stands for the same kernel."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
import tvm
import tvm_ffi
from tvm import s_tir
from tvm.s_tir import meta_schedule as ms

from schedules import build_kernel
from tests.blocks import block_for, depthwise, full_conv, pointwise
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.targets.armv8 import ARMV8_TARGETS
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.measure.kernels import kernel_at
from tvm_dwfuse.tuning.task import KernelTask
from tvm_dwfuse.tuning.template import KEY_ATTR, point_in, point_of, sample_knobs, schedule_at, trace_at, workload
from tvm_dwfuse.variants import VARIANTS

X86 = CpuTarget("avx512", "znver4", lanes=16, registers=32, cores=2, half_vectors_are_cheap=True)
ARM = ARMV8_TARGETS["cortex-a72"]


def fused(variant: str, channels: tuple[int, ...], machine: CpuTarget = X86, **depthwise_attrs: int) -> KernelTask:
    return KernelTask(block_for(VARIANTS[variant], channels, (14, 14), **depthwise_attrs), variant, None, machine)


def single(stage, layout: str = "NHWC", machine: CpuTarget = X86, source: str | None = None) -> KernelTask:
    return KernelTask(Block((stage,), 1, 14, 14, layout), None, source, machine)


TASKS = {
    "pw": single(pointwise(32, 48)),
    "pw, NCHW": single(pointwise(32, 48), "NCHW"),
    "pw, another layout in": single(pointwise(32, 48), source="NCHW"),
    "stem": single(full_conv(3, 16, stride=2)),
    "direct dw": single(depthwise(64)),
    "dw, NCHW": single(depthwise(64), "NCHW"),
    "dwpw": fused("dwpw_hwc_hwc_hwc_rows", (32, 48)),
    "dwpw, NCHW": fused("dwpw_chw_hwc_chw_rows", (32, 48)),
    "pwdw by rows": fused("pwdw_hwc_hwc_hwc_rows", (16, 64)),
    "pwdw by channels": fused("pwdw_hwc_chw_hwc_channels", (16, 64), stride=2),
    "triple": fused("pwdwpw_hwc_hwc_hwc_rows", (16, 64, 24)),
    "Arm pw": single(pointwise(32, 48), machine=ARM),
    "Arm dw": single(depthwise(64), machine=ARM),
    "Arm dwpw": fused("dwpw_hwc_hwc_hwc_rows", (32, 48), ARM),
    "Arm triple": fused("pwdwpw_hwc_hwc_hwc_rows", (16, 64, 24), ARM),
}


def some_points(space: Space, count: int = 2) -> list[Point]:
    """The default and legal points by chance."""
    generator = random.Random(0)
    drawn = ({name: generator.choice(values) for name, values in space.choices.items()} for _ in range(5000))
    return [space.default, *islice((point for point in drawn if space.legal(point)), count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has some points of each task."""
    folder = tmp_path_factory.mktemp("db")
    database = TuningDatabase(folder)
    for task in TASKS.values():
        for point in some_points(task.space):
            trace = trace_at(task.space, task.key, point)
            database.add(task.key, trace, Measurement((1e-3,)), task.machine.tvm_target())
    return folder


@pytest.fixture(scope="module")
def replayed(folder: Path) -> dict[str, list[s_tir.Schedule]]:
    """Schedules by the records that MetaSchedule itself reads back, by task."""
    schedules: dict[str, list[s_tir.Schedule]] = {}
    for record in ms.database.JSONDatabase(work_dir=str(folder)).get_all_tuning_records():
        sch = s_tir.Schedule(record.workload.mod)
        record.trace.apply_to_schedule(sch, remove_postproc=False)
        schedules.setdefault(str(record.workload.mod["main"].attrs[KEY_ATTR]), []).append(sch)
    return schedules


@pytest.mark.parametrize("name", TASKS)
def test_a_trace_that_was_written_and_read_makes_the_same_kernel(
    name: str, folder: Path, replayed: dict[str, list[s_tir.Schedule]]
) -> None:
    task, points = TASKS[name], some_points(TASKS[name].space)
    assert [trial.point for trial in TuningDatabase(folder).trials(task.key)] == points
    schedules = replayed[task.key]
    assert [point_of(sch) for sch in schedules] == points
    for sch, point in list(zip(schedules, points, strict=True))[:2]:
        tvm.ir.assert_structural_equal(kernel_at(task, point_of(sch)).func, kernel_at(task, point).func)


@pytest.mark.parametrize("name", TASKS)
def test_the_default_is_what_compiles_untuned(name: str) -> None:
    task = TASKS[name]
    untuned = build_kernel(task.block, task.fused_variant, task.machine, task.threads, source=task.source)
    kernel = kernel_at(task, point_of(schedule_at(task.space, task.key, task.space.default)))
    tvm.ir.assert_structural_equal(kernel.func, untuned.func)
    assert kernel.knobs == untuned.knobs


def test_points_differ_in_their_kernels() -> None:
    task = TASKS["triple"]
    funcs = [kernel_at(task, point).func for point in some_points(task.space)]
    assert not tvm_ffi.structural_equal(funcs[0], funcs[1])


def test_sampling_stays_among_the_choices() -> None:
    space = TASKS["dwpw"].space
    seen = set()
    for seed in range(1, 21):
        sch = s_tir.Schedule(workload("key"), seed=seed)
        sample_knobs(sch, space)
        point = point_of(sch)
        assert all(point[name] in values for name, values in space.choices.items())
        seen.add(tuple(point.values()))
    assert len(seen) > 10


def test_a_value_that_is_no_choice_is_refused() -> None:
    space = Space({"depth": (1, 2)}, {"depth": 1})
    with pytest.raises(ValueError, match="not in tuple"):
        schedule_at(space, "key", {"depth": 3})


@pytest.mark.parametrize("form", [None, [], [[], [[0, 1]]], [[["Annotate", ["b0", "v9"], ["dwfuse.depth"], []]], []]])
def test_what_is_no_trace_of_knobs_is_refused(form: object) -> None:
    with pytest.raises(ValueError, match="does not consist of knobs"):
        point_in(form)


def test_equal_tasks_have_equal_workloads() -> None:
    again = KernelTask(TASKS["pw"].block, None, None, X86)
    tvm.ir.assert_structural_equal(workload(again.key), workload(TASKS["pw"].key))
    assert len({task.key for task in TASKS.values()}) == len(TASKS)


def test_features_are_as_many_for_every_point() -> None:
    counts = {len(task.features(point)) for task in TASKS.values() for point in some_points(task.space)}
    assert len(counts) == 1
