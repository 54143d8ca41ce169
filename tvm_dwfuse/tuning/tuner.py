"""Tuning a network: which task gets the next trials, until there are no more; what is recorded, and when to stop.

Every trial is in the database when the next one begins. A tuning run that was killed goes on where it was: the trials
on record count, and the search learns from them before it proposes new ones.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import tvm

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point

from .database import TuningDatabase
from .evolution import CostModel, Effort, Evolution
from .measure import Measurement, Runner
from .scope import Scope
from .task import Task
from .template import trace_at

#: Candidates that the search proposes at a time: it learns from them before it proposes more.
ROUND = 4
#: Points of each task that are measured again at the end, the default among them.
_FINALISTS = 3
#: What the best must save of the default's cost, lest noise alone make it the best.
_WORTH_A_FINAL = 0.005
#: Times that the best of a task may turn out not to be, once it is measured again.
_FINALS = 3
#: Measurements lost one after the other that mean that nothing measures any more.
_MOST_LOST = 24
#: How much of the gain that is expected of a round follows from the gain of the rounds before.
_TREND = 0.5
#: Share of its time that a task may be expected to gain from its first round beyond the default.
_FIRST_GAIN = 0.15


@dataclass(frozen=True)
class Progress:
    """How far a run is: ``now`` is what all that is tuned costs by the best on record, ``default`` by the defaults."""

    done: int
    total: int
    task: str
    default: float
    now: float
    failed: int
    unit: str

    def to_text(self) -> str:
        """Such as ``pw 14x14 96-576: best 5.42 ms of 5.47 by default (0.9% less)``."""
        return f"{self.task}: {_gain_text(self.default, self.now, self.unit)}"


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Summary:
    """What a run did: ``trials`` of its own and those ``resumed`` from earlier runs, of which ``failed`` gave no cost.

    ``default`` and ``now`` are as of :class:`Progress`; ``best`` has the best cost of each task and its default's.
    """

    trials: int
    resumed: int
    failed: int
    default: float
    now: float
    best: dict[str, tuple[float, float]]
    seconds: float
    unit: str

    def to_text(self) -> str:
        """What to tell at the end: the gain, the trials, and how many tasks have become faster."""
        better = sum(best < default for best, default in self.best.values())
        before = f", {self.resumed} on record before" if self.resumed else ""
        failed = f", {self.failed} failed" if self.failed else ""
        told = math.isfinite(self.default)
        gain = _gain_text(self.default, self.now, self.unit) if told else "too few trials to measure all defaults"
        return (
            f"{gain}\n"
            f"{self.trials} trials in {self.seconds:.0f} s{before}{failed}; "
            f"{better} of {len(self.best)} kernels have better knobs than the default"
        )


def _gain_text(default: float, now: float, unit: str) -> str:
    if not math.isfinite(default):
        return "measuring the defaults"
    less = f"{100 * (1 - now / default):.1f}% less"
    if unit == "seconds":
        return f"best {1e3 * now:.3f} ms of {1e3 * default:.3f} by default ({less})"
    return f"best {now:,.0f} {unit} of {default:,.0f} by default ({less})"


@dataclass
class _Job:
    task: Task
    search: Evolution
    costs: dict[tuple[int, ...], float] = field(default_factory=dict)
    points: dict[tuple[int, ...], Point] = field(default_factory=dict)
    times_measured: Counter[tuple[int, ...]] = field(default_factory=Counter)
    default: float = float("inf")
    best: float = float("inf")
    trend: float = _FIRST_GAIN
    exhausted: bool = False

    @property
    def trials(self) -> int:
        """Points that were tried, those that failed included."""
        return len(self.times_measured)

    @property
    def failed(self) -> int:
        """Points that have no cost."""
        return self.trials - len(self.costs)

    def take(self, point: Point, cost: float | None) -> None:
        """Count what was measured; None is the cost of a failed candidate, and of several costs the last one counts."""
        key = _identity(point)
        self.times_measured[key] += 1
        if cost is None:
            return
        self.costs[key], self.points[key] = cost, point
        if point == self.task.space.default:
            self.default = cost
        self.best = min(self.costs.values())

    def finalists(self) -> list[Point]:
        """The best few points and the default; [] where the default is as good, or the best was measured twice."""
        ranked = sorted(self.costs, key=lambda key: self.costs[key])[:_FINALISTS]
        if not ranked or self.times_measured[ranked[0]] > 1 or self.best > (1 - _WORTH_A_FINAL) * self.default:
            return []
        points = [self.points[key] for key in ranked]
        default = self.task.space.default
        return points if default in points else [*points, default]

    def knows(self, point: Point) -> bool:
        """Whether it was tried."""
        return _identity(point) in self.times_measured

    def expected_gain(self, share: float) -> float:
        """Of the next round: weighted cost times what recent rounds gained, less with every trial."""
        if self.exhausted or self.best == float("inf"):
            return 0.0
        hope = _FIRST_GAIN / (1 + self.trials / ROUND)
        return share * self.best * (_TREND * self.trend + (1 - _TREND) * hope)


def _identity(point: Point) -> tuple[int, ...]:
    return tuple(point[name] for name in sorted(point))


class Tuner:
    """Tunes the tasks of a scope together, one XGBoost model for all of them.

    Args:
        scope: the tasks, and how much each counts.
        runner: measures candidates.
        database: takes every trial, and has those of earlier runs.
        target: the TVM target that records name.
        seed: of the search.
        effort: of the search between measurements.
    """

    def __init__(
        self,
        scope: Scope,
        runner: Runner,
        database: TuningDatabase,
        target: tvm.target.Target,
        seed: int = 0,
        effort: Effort | None = None,
    ) -> None:
        effort = effort or Effort()
        model = CostModel(effort, seed)
        self._scope, self._runner, self._database, self._target = scope, runner, database, target
        self._jobs = {
            task.key: _Job(task, Evolution(task, model, target, effort, seed + i)) for i, task in enumerate(scope.tasks)
        }
        self._resumed = sum(self._resume(job) for job in self._jobs.values())
        self._lost_in_a_row = 0

    def run(self, trials: int, on_progress: OnProgress | None = None, seconds: float | None = None) -> Summary:
        """Measure until so many trials are on record for these tasks, or that many seconds have passed.

        The defaults come first, then rounds of the task with the most to gain; at the end the best few points of each
        task and its default are measured once more, in turns, and these last measurements count.

        A measurement that was lost, because what it ran on went away, is no trial: it is not on record, and a later run
        may try that point again.

        Raises:
            DwfuseError: one measurement after the other was lost, nothing can be measured at all, or the database
                cannot be written.
        """
        start = time.monotonic()
        deadline = float("inf") if seconds is None else start + seconds
        report = on_progress or (lambda progress: None)

        def tell(job: _Job) -> None:
            report(self._progress(trials, job))

        def goes_on() -> bool:
            return self._count() < trials and time.monotonic() < deadline

        for job in self._jobs.values():
            if not job.knows(job.task.space.default) and goes_on():
                self._measure(job, [job.task.space.default], tell)
        while goes_on() and (chosen := self._next_job()):
            self._round(chosen, min(ROUND, trials - self._count()), tell)
        shares = self._scope.shares(self._best())
        for key, job in self._jobs.items():
            if shares.get(key, 0.0) > 0:
                self._measure_finalists(job)
                tell(job)
        return self._summary(time.monotonic() - start)

    def _resume(self, job: _Job) -> int:
        """Take up what is on record; returns the number of trials."""
        completed = [(job.task.space.completed(trial.point), trial) for trial in self._database.trials(job.task.key)]
        on_record = [(point, trial) for point, trial in completed if point is not None]
        for point, trial in on_record:
            job.take(point, trial.cost)
        if on_record:
            measured = [
                Measurement((), trial.error) if trial.cost is None else Measurement((trial.cost,))
                for _, trial in on_record
            ]
            job.search.learn([point for point, _ in on_record], measured)
        return job.trials

    def _count(self) -> int:
        return sum(job.trials for job in self._jobs.values())

    def _next_job(self) -> _Job | None:
        """The task with the most to gain, None where no task has anything left to try."""
        shares = self._scope.shares(self._best())
        gains = {key: job.expected_gain(shares.get(key, 0.0)) for key, job in self._jobs.items()}
        key = max(gains, key=lambda each: gains[each])
        if gains[key] > 0:
            return self._jobs[key]
        return next((job for job in self._jobs.values() if not job.exhausted), None)

    def _round(self, job: _Job, count: int, tell: Callable[[_Job], None]) -> None:
        points = job.search.propose(count)
        if not points:
            job.exhausted = True
            return
        before = job.best
        self._measure(job, points, tell)
        gained = 0.0 if before == float("inf") else 1 - job.best / before
        job.trend = _TREND * job.trend + (1 - _TREND) * gained

    def _measure(self, job: _Job, points: list[Point], tell: Callable[[_Job], None]) -> None:
        measured: dict[int, Measurement] = {}
        for index, measurement in self._runner.measure(job.task, points):
            if self._is_lost(measurement):
                continue
            self._record(job, points[index], measurement)
            job.take(points[index], measurement.cost if measurement.ok else None)
            measured[index] = measurement
            tell(job)
        job.search.learn([points[index] for index in measured], list(measured.values()))

    def _is_lost(self, measurement: Measurement) -> bool:
        """Whether it says nothing of the candidate."""
        if not measurement.error.startswith("lost: "):
            self._lost_in_a_row = 0
            return False
        self._lost_in_a_row += 1
        if self._lost_in_a_row < _MOST_LOST:
            return True
        reason = measurement.error.removeprefix("lost: ")
        raise DwfuseError(
            f"{_MOST_LOST} measurements in a row were lost ({reason}); see to what they run on, then go on"
        )

    def _record(self, job: _Job, point: Point, measurement: Measurement) -> None:
        trace = trace_at(job.task.space, job.task.key, point)
        self._database.add(job.task.key, trace, measurement, self._target)

    def _measure_finalists(self, job: _Job) -> None:
        """Time the best points and the default in turns: the best of many noisy timings is a lucky one.

        Where a point then falls behind one that was measured only once, that one's turn comes too.
        """
        compare = getattr(self._runner, "compare", None)
        if compare is None:
            return
        for _ in range(_FINALS):
            points = job.finalists()
            for point, measurement in zip(points, compare(job.task, points) if points else (), strict=True):
                if measurement.ok:
                    self._record(job, point, measurement)
                    job.take(point, measurement.cost)

    def _best(self) -> dict[str, float]:
        return {key: job.best for key, job in self._jobs.items()}

    def _totals(self) -> tuple[float, float]:
        """What the scope costs by the defaults, and by the best on record."""
        defaults = {key: job.default for key, job in self._jobs.items()}
        return self._scope.total(defaults), self._scope.total(self._best())

    def _failed(self) -> int:
        return sum(job.failed for job in self._jobs.values())

    def _progress(self, total: int, job: _Job) -> Progress:
        return Progress(
            min(self._count(), total), total, job.task.describe(), *self._totals(), self._failed(), self._runner.unit
        )

    def _summary(self, seconds: float) -> Summary:
        best = {key: (job.best, job.default) for key, job in self._jobs.items()}
        trials = self._count() - self._resumed
        return Summary(trials, self._resumed, self._failed(), *self._totals(), best, seconds, self._runner.unit)
