"""Records to compile with: the user's before those shipped, this CPU's before another's, and never an unfit one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.blocks import depthwise, pointwise
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import CpuTarget, get_target, host_target, target_names
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.records import SHIPPED, Record, Records
from tvm_dwfuse.tuning.task import KernelTask
from tvm_dwfuse.tuning.template import trace_at
from tvm_dwfuse.variants import VARIANTS

from .databases import KEY, SPACE, add, point

ZEN = CpuTarget("zen", "znver4", lanes=16, registers=32, cores=4)
SKYLAKE = replace(ZEN, name="skylake", mcpu="skylake-avx512")
HASWELL = CpuTarget("haswell", "haswell", lanes=8, registers=16, cores=4)
BLOCK = Block((depthwise(64), pointwise(64, 64)), 1, 56, 56)
SMALL = Block((depthwise(8), pointwise(8, 8)), 1, 4, 4)
VARIANT = "dwpw_hwc_hwc_hwc_rows"


def _points(task: KernelTask) -> list[Point]:
    """Some points besides the default."""
    points = (point for point in task.space.points() if point != task.space.default)
    return [next(points) for _ in range(4)]


def _task(machine: CpuTarget = ZEN, threads: int = 1, unit: str = "seconds", block: Block = BLOCK) -> KernelTask:
    return KernelTask(block, VARIANT, None, machine, threads, unit)


def _add(folder: Path, task: KernelTask, point: Point, cost: float = 1e-3, space: Space | None = None) -> None:
    trace = trace_at(space or task.space, task.key, point)
    TuningDatabase(folder).add(task.key, trace, Measurement((cost,)))


def _find(tmp_path: Path, machine: CpuTarget = ZEN, threads: int = 1, block: Block = BLOCK) -> Record | None:
    db = tmp_path / "db"
    return Records.open(db if db.exists() else None, tmp_path / "shipped").find(block, VARIANT, machine, threads)


def test_the_best_of_the_users_database_is_found(tmp_path: Path) -> None:
    slow, fast, shipped, _ = _points(_task())
    _add(tmp_path / "db", _task(), slow, 2e-3)
    _add(tmp_path / "db", _task(), fast, 1e-3)
    _add(tmp_path / "shipped" / "x", _task(), shipped, 1e-6)
    assert _find(tmp_path) == Record(fast, 1e-3, "seconds", f"tuned ({tmp_path / 'db'})")


def test_what_is_shipped_is_found(tmp_path: Path) -> None:
    first, *_ = _points(_task())
    _add(tmp_path / "shipped" / "x", _task(), first)
    assert _find(tmp_path) == Record(first, 1e-3, "seconds", "tuned (shipped, znver4)")


def test_another_cpu_of_the_same_registers_will_do(tmp_path: Path) -> None:
    first, second, third, _ = _points(_task())
    _add(tmp_path / "db", _task(SKYLAKE), first)
    _add(tmp_path / "shipped" / "haswell", _task(HASWELL), _points(_task(HASWELL))[0])
    assert _find(tmp_path) == Record(
        first, 1e-3, "seconds", f"tuned on skylake-avx512, this machine is znver4 ({tmp_path / 'db'})", here=False
    )
    _add(tmp_path / "shipped" / "zen", _task(), second)
    assert _find(tmp_path) == Record(second, 1e-3, "seconds", "tuned (shipped, znver4)")
    _add(tmp_path / "db", _task(), third)
    assert _find(tmp_path) == Record(third, 1e-3, "seconds", f"tuned ({tmp_path / 'db'})")


def test_another_instruction_set_will_not_do(tmp_path: Path) -> None:
    _add(tmp_path / "db", _task(HASWELL), _points(_task(HASWELL))[0])
    assert _find(tmp_path) is None
    assert _find(tmp_path, replace(HASWELL, mcpu="znver3")) is not None


def test_tiles_of_one_thread_are_better_than_none(tmp_path: Path) -> None:
    first, second, third, _ = _points(_task(threads=4))
    _add(tmp_path / "shipped" / "x", _task(SKYLAKE), first)
    assert _find(tmp_path, threads=4) == Record(
        first, 1e-3, "seconds", "tuned on skylake-avx512 for 1 thread, this machine is znver4 (shipped)", here=False
    )
    _add(tmp_path / "shipped" / "x", _task(), second)
    assert _find(tmp_path, threads=4) == Record(
        second, 1e-3, "seconds", "tuned for 1 thread (shipped, znver4)", here=False
    )
    _add(tmp_path / "shipped" / "x", _task(SKYLAKE, threads=4), third)
    assert _find(tmp_path, threads=4) == Record(
        third, 1e-3, "seconds", "tuned on skylake-avx512, this machine is znver4 (shipped)", here=False
    )
    assert _find(tmp_path, threads=2) == Record(
        second, 1e-3, "seconds", "tuned for 1 thread (shipped, znver4)", here=False
    )
    assert _find(tmp_path, threads=1) == Record(second, 1e-3, "seconds", "tuned (shipped, znver4)")


def test_what_one_thread_computes_anyway_is_of_one_thread(tmp_path: Path) -> None:
    first, *_ = _points(_task(block=SMALL))
    _add(tmp_path / "shipped" / "x", _task(block=SMALL), first)
    assert _find(tmp_path, threads=4, block=SMALL) == Record(first, 1e-3, "seconds", "tuned (shipped, znver4)")


def test_seconds_tell_more_than_instructions(tmp_path: Path) -> None:
    first, second, *_ = _points(_task())
    _add(tmp_path / "db", _task(unit="instructions"), first, 1e6)
    assert _find(tmp_path) == Record(first, 1e6, "instructions", f"tuned by instructions ({tmp_path / 'db'})")
    _add(tmp_path / "shipped" / "x", _task(), second)
    assert _find(tmp_path) == Record(second, 1e-3, "seconds", "tuned (shipped, znver4)")


def test_a_point_that_the_space_has_not_is_left_out(tmp_path: Path) -> None:
    good, *_ = _points(_task())
    unfit = {**good, "depth": 1009}
    wider = Space({name: (value,) for name, value in unfit.items()}, unfit)
    _add(tmp_path / "db", _task(), unfit, space=wider)
    with pytest.warns(UserWarning, match=r"record of dwpw_hwc_hwc_hwc_rows 56x56 64-64-64 .* left out; tune it again"):
        assert _find(tmp_path) is None
    _add(tmp_path / "shipped" / "x", _task(SKYLAKE), good)
    with pytest.warns(UserWarning, match="left out"):
        record = _find(tmp_path)
    assert record is not None
    assert record.point == good


def test_failures_alone_are_no_record(tmp_path: Path) -> None:
    first, *_ = _points(_task())
    TuningDatabase(tmp_path / "db").add(
        _task().key, trace_at(_task().space, _task().key, first), Measurement((), "crash: signal 11")
    )
    assert _find(tmp_path) is None


def test_the_source_layout_and_the_block_are_told_apart(tmp_path: Path) -> None:
    stem = KernelTask(Block((pointwise(8, 16),), 1, 14, 14), None, "NCHW", ZEN)
    _add(tmp_path / "db", stem, stem.space.default)
    records = Records.open(tmp_path / "db", tmp_path / "none")
    assert records.find(stem.block, None, ZEN, 1, "NCHW") is not None
    assert records.find(stem.block, None, ZEN, 1) is None
    assert records.find(replace(stem.block, height=7), None, ZEN, 1, "NCHW") is None


def test_a_cluster_is_asked_for_by_key(tmp_path: Path) -> None:
    key = '{"cluster":"gap8","l1":65536,"unit":"cycles"}'
    db, shipped = TuningDatabase(tmp_path / "db"), TuningDatabase(tmp_path / "shipped" / "gap8")
    add(shipped, 7, 100.0, key)
    records = Records.open(tmp_path / "db" if (tmp_path / "db").exists() else None, tmp_path / "shipped")
    assert records.best(key) == Record(point(7), 100.0, "cycles", "tuned (shipped, gap8)")
    assert records.best(key.replace("gap8", "gap9")) is None
    add(db, 8, 200.0, key)
    own = Records.open(tmp_path / "db", tmp_path / "shipped").best(key)
    assert own == Record(point(8), 200.0, "cycles", f"tuned ({tmp_path / 'db'})")


def test_other_keys_are_no_hindrance(tmp_path: Path) -> None:
    add(TuningDatabase(tmp_path / "db"), 0, 1.0, KEY)
    assert _find(tmp_path) is None
    assert SPACE.contains(point(0))


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for db in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(DwfuseError, match="holds no tuning database; name the --work-dir"):
            Records.open(db)


@pytest.mark.parametrize("folder", sorted(SHIPPED.glob("*/")), ids=lambda folder: folder.name)
def test_every_shipped_record_fits_its_space(folder: Path) -> None:
    """Whoever changes a space so that it does not, tunes again."""
    told: list[str] = []
    database = TuningDatabase(folder, warn=told.append)
    assert told == []
    assert database.keys()
    for key in database.keys():  # noqa: SIM118
        best = database.best(key)
        assert best is not None
        task = _task_of(json.loads(key))
        assert task is None or task.space.contains(best.point), (task, best)


def _task_of(fields: dict[str, Any]) -> KernelTask | None:
    """The task of a CPU's key; None for a cluster's."""
    if "cpu" not in fields:
        return None
    block = Block.from_json(json.dumps(fields["shape"]))
    variant = fields["variant"] if fields["variant"] in VARIANTS else None
    arch, lanes, registers = re.fullmatch(r"(\w+)/(\d+)x(\d+)", fields["isa"]).groups()
    fallback = CpuTarget("", fields["cpu"], int(lanes), int(registers), cores=1, triple=f"{arch}-linux-gnu")
    known = (host_target(), *map(get_target, target_names()))
    machine = next((cpu for cpu in known if isinstance(cpu, CpuTarget) and cpu.mcpu == fields["cpu"]), fallback)
    return KernelTask(block, variant, fields["source"], machine, fields["threads"], fields["unit"])
