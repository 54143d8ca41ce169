"""Measuring on this machine: costs of good candidates, and the errors of all kinds of bad ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import ARMV8_TARGETS
from tvm_dwfuse.tuning.measure import ERROR_KINDS, Measurement
from tvm_dwfuse.tuning.measure.local import LocalRunner

from . import faulty

TASK = faulty.task_for()

#: Good ones between the bad ones, which must not suffer from them.
ORDER = (
    faulty.NONE,
    faulty.REFUSED,
    faulty.WRONG,
    faulty.NONE,
    faulty.BESIDE,
    faulty.RAISING,
    faulty.CRASHING,
    faulty.NONE,
    faulty.HANGING,
    faulty.SEGFAULT,
    faulty.NONE,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    runner = LocalRunner(limit_s=4, kernel_at=faulty.kernel_at)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def measured(runner: LocalRunner) -> list[Measurement]:
    found = dict(runner.measure(TASK, [faulty.with_fault(TASK, fault) for fault in ORDER]))
    assert sorted(found) == list(range(len(ORDER)))
    return [found[index] for index in range(len(ORDER))]


def test_costs_are_seconds(measured: list[Measurement]) -> None:
    good = [measurement for measurement, fault in zip(measured, ORDER, strict=True) if fault == faulty.NONE]
    assert len(good) == 4
    for measurement in good:
        assert measurement.ok
        assert measurement.error == ""
        assert 5 <= len(measurement.costs) <= 10
        assert min(measurement.costs) <= measurement.cost <= max(measurement.costs)
        assert faulty.BLOCK.macs() / 1e12 < measurement.cost < 1e-2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faulty.REFUSED, "build: no such kernel"),
        (faulty.WRONG, "wrong: outputs differ by "),
        (faulty.BESIDE, "wrong: it writes outside of its output"),
        (faulty.RAISING, "crash: not on this machine"),
        (faulty.CRASHING, "crash: the run ended the process with SIGABRT"),
        (faulty.SEGFAULT, "crash: the run ended the process with SIGSEGV"),
        (faulty.HANGING, "timeout: the run took longer than 4 s"),
    ],
)
def test_a_failure_has_no_costs_and_says_why(measured: list[Measurement], fault: int, error: str) -> None:
    failed = measured[ORDER.index(fault)]
    assert failed.error.startswith(error)
    assert failed.error.startswith(ERROR_KINDS)
    assert "\n" not in failed.error
    assert not failed.ok
    assert failed.costs == ()
    assert failed.cost == float("inf")


def test_finalists_are_timed_in_turn(runner: LocalRunner) -> None:
    faults = (faulty.NONE, faulty.CRASHING, faulty.NONE, faulty.REFUSED)
    points = [faulty.with_fault(TASK, fault) for fault in faults]
    first, crashing, second, refused = runner.compare(TASK, points, rounds=3)
    assert len(first.costs) == len(second.costs) == 3
    assert first.cost == pytest.approx(second.cost, rel=0.5), "they are the same kernel"
    assert crashing.error == "crash: the keep ended the process with SIGABRT"
    assert refused.error == "build: no such kernel"


def test_kernels_for_another_architecture_are_refused(runner: LocalRunner) -> None:
    task = faulty.task_for(machine=ARMV8_TARGETS["cortex-a72"])
    message = "cortex-a72 is aarch64, this machine is .*: time its kernels on a board with --rpc-tracker"
    with pytest.raises(DwfuseError, match=message):
        runner.measure(task, [task.space.default])
    with pytest.raises(DwfuseError, match=message):
        runner.compare(task, [task.space.default])
