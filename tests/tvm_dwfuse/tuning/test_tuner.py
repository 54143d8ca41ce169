"""The loop that tunes: what is tried, what is on record, when it ends, and where the trials go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.tuner import Progress, Tuner

from .replay import TARGET, FormulaTask, ReplayRunner, WeightedScope

_VALUES = tuple(range(1, 11))
SPACE = Space({"depth": _VALUES, "rows0": _VALUES}, {"depth": 1, "rows0": 1})


def valley(point: Point) -> float:
    """Least, 1 ms, at (7, 4)."""
    return 1e-3 * (1 + 0.1 * abs(point["depth"] - 7) + 0.05 * abs(point["rows0"] - 4))


def task_of(cost=valley, name: str = "a", space: Space = SPACE) -> FormulaTask:
    return FormulaTask(space, cost, f'{{"task":"{name}"}}')


def tuner_of(folder: Path, runner, *tasks: FormulaTask, seed: int = 0) -> Tuner:
    scope = WeightedScope(dict.fromkeys(tasks, 1.0))
    return Tuner(scope, runner, TuningDatabase(folder), TARGET, seed)


def points_on_record(folder: Path, task: FormulaTask) -> list[Point]:
    return [trial.point for trial in TuningDatabase(folder).trials(task.key)]


def no_point_twice(points: Sequence[Point]) -> bool:
    return len({tuple(point.values()) for point in points}) == len(points)


def test_the_default_comes_first_and_all_trials_are_on_record(tmp_path: Path) -> None:
    task, runner = task_of(), ReplayRunner()
    summary = tuner_of(tmp_path, runner, task).run(21)
    points = points_on_record(tmp_path, task)
    assert points[0] == SPACE.default
    assert len(points) == summary.trials == 21
    assert [point for _, point in runner.asked] == points
    assert no_point_twice(points)
    assert summary.default == valley(SPACE.default)
    assert summary.now == TuningDatabase(tmp_path).best(task.key).cost == min(runner.costs)
    assert summary.now < 1.2e-3


def test_a_run_goes_on_where_another_ended(tmp_path: Path) -> None:
    task = task_of()
    tuner_of(tmp_path, ReplayRunner(), task).run(13)
    seen: list[Progress] = []
    runner = ReplayRunner()
    summary = tuner_of(tmp_path, runner, task).run(30, seen.append)
    assert (summary.trials, summary.resumed) == (17, 13)
    assert len(runner.asked) == 17
    assert no_point_twice(points_on_record(tmp_path, task))
    assert [progress.done for progress in seen] == [*range(14, 31), 30], "the last is that of the finals"
    assert {progress.total for progress in seen} == {30}


def test_nothing_is_measured_when_the_trials_are_on_record(tmp_path: Path) -> None:
    task, runner = task_of(), ReplayRunner()
    tuner_of(tmp_path, ReplayRunner(), task).run(10)
    summary = tuner_of(tmp_path, runner, task).run(10)
    assert runner.asked == []
    assert (summary.trials, summary.resumed) == (0, 10)
    assert summary.now < summary.default


def test_equal_seeds_try_the_same_points(tmp_path: Path) -> None:
    tried = {}
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        runner = ReplayRunner()
        tuner_of(tmp_path / name, runner, task_of(), seed=seed).run(20)
        tried[name] = runner.asked
    assert tried["one"] == tried["two"]
    assert tried["one"] != tried["three"]


def test_progress_tells_the_best_so_far(tmp_path: Path) -> None:
    seen: list[Progress] = []
    tuner_of(tmp_path, ReplayRunner(), task_of(), task_of(name="b")).run(12, seen.append)
    assert [progress.done for progress in seen] == [*range(1, 13), 12, 12], "the last two are those of the finals"
    assert "measuring the defaults" in seen[0].to_text()
    bests = [progress.now for progress in seen[1:]]
    assert bests == sorted(bests, reverse=True)
    assert {progress.default for progress in seen[1:]} == {2 * valley(SPACE.default)}
    assert "by default" in seen[-1].to_text()


def test_failed_candidates_are_on_record_and_the_run_goes_on(tmp_path: Path) -> None:
    task = task_of(lambda point: float("inf") if point["rows0"] % 2 == 0 else valley(point))
    summary = tuner_of(tmp_path, ReplayRunner(), task).run(30)
    trials = TuningDatabase(tmp_path).trials(task.key)
    failed = [trial for trial in trials if trial.cost is None]
    assert len(trials) == 30
    assert 0 < summary.failed == len(failed)
    assert {trial.error for trial in failed} == {"crash: as it was told to"}
    assert all(trial.point["rows0"] % 2 == 0 for trial in failed)
    assert summary.now < summary.default
    assert tuner_of(tmp_path, ReplayRunner(), task).run(30).failed == len(failed)


def test_a_task_whose_candidates_all_fail_leaves_the_trials_to_others(tmp_path: Path) -> None:
    good, bad = task_of(), task_of(lambda point: float("inf"), "bad")
    summary = tuner_of(tmp_path, ReplayRunner(), bad, good).run(25)
    assert len(points_on_record(tmp_path, good)) == 24
    assert summary.failed == 1


def test_exhausted_spaces_end_the_run(tmp_path: Path) -> None:
    small = Space({"depth": (1, 2, 3), "rows0": (1, 2)}, SPACE.default, lambda point: point["depth"] >= point["rows0"])
    task = task_of(space=small)
    summary = tuner_of(tmp_path, ReplayRunner(), task).run(100)
    assert summary.trials == 5
    assert summary.now == min(map(valley, small.points()))
    assert tuner_of(tmp_path, ReplayRunner(), task).run(100).trials == 0


class SlowRunner(ReplayRunner):
    """Moves a clock on by a second for each candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def measure(self, task, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        for each in super().measure(task, points):
            self.now += 1.0
            yield each


def test_no_round_begins_after_the_budget_of_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = SlowRunner()
    monkeypatch.setattr("tvm_dwfuse.tuning.tuner.time.monotonic", lambda: runner.now)
    summary = tuner_of(tmp_path, runner, task_of()).run(100, seconds=20)
    assert 20 <= summary.trials <= 28
    assert summary.seconds == summary.trials


class ComparingRunner(ReplayRunner):
    """Its first timings are lucky for one point; compared, all points cost what they cost."""

    def __init__(self, lucky: Point) -> None:
        super().__init__()
        self._lucky = lucky
        self.compared: list[list[Point]] = []

    def measure(self, task, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        for index, measurement in super().measure(task, points):
            lucky = points[index] == self._lucky
            yield index, Measurement((measurement.cost / 4,)) if lucky else measurement

    def compare(self, task, points: Sequence[Point]) -> list[Measurement]:
        self.compared.append(list(points))
        return [Measurement((task.cost(point),)) for point in points]


def test_finalists_are_measured_again_and_the_last_cost_counts(tmp_path: Path) -> None:
    small = Space({"depth": _VALUES, "rows0": (3, 4)}, {"depth": 1, "rows0": 3})
    lucky = {"depth": 2, "rows0": 3}
    task, runner = task_of(space=small), ComparingRunner(lucky)
    summary = tuner_of(tmp_path, runner, task).run(20)
    first = runner.compared[0]
    assert first[0] == lucky
    assert small.default in first
    assert summary.now == 1e-3
    assert TuningDatabase(tmp_path).best(task.key).point == {"depth": 7, "rows0": 4}
    times = Counter(tuple(point.values()) for point in points_on_record(tmp_path, task))
    assert all(times[tuple(point.values())] > 1 for point in first)
    assert summary.trials == 20, "to measure again is no trial"
    again = ComparingRunner(lucky)
    tuner_of(tmp_path, again, task).run(20)
    assert again.compared == [], "the best is known well"


def test_the_best_in_the_end_was_measured_twice(tmp_path: Path) -> None:
    """More points were lucky than there are finalists at a time."""
    task, runner = task_of(), ComparingRunner({})
    compare = runner.compare
    runner.compare = lambda task, points: [Measurement((2 * each.cost,)) for each in compare(task, points)]
    tuner_of(tmp_path, runner, task).run(9)
    assert len(runner.compared) > 1
    assert len({tuple(point.values()) for points in runner.compared for point in points}) > len(runner.compared[0])


class LosingRunner(ReplayRunner):
    """Loses every ``each``-th measurement."""

    def __init__(self, each: int) -> None:
        super().__init__()
        self._each = each

    def measure(self, task, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        for index, measurement in super().measure(task, points):
            lost = len(self.asked) % self._each == 0
            yield index, Measurement((), "lost: the server went away") if lost else measurement


def test_what_was_lost_is_not_on_record_and_tried_again_by_another_run(tmp_path: Path) -> None:
    small = Space({"depth": _VALUES, "rows0": (3,)}, {"depth": 1, "rows0": 3})
    task, runner = task_of(space=small), LosingRunner(3)
    summary = tuner_of(tmp_path, runner, task).run(100)
    assert len(runner.asked) == 10, "a run asks for no point again"
    assert summary.trials == len(points_on_record(tmp_path, task)) == 7
    assert summary.failed == 0
    assert tuner_of(tmp_path, ReplayRunner(), task).run(100).trials == 3


def test_a_default_that_was_lost_is_the_first_of_another_run(tmp_path: Path) -> None:
    task = task_of()
    runner = LosingRunner(1)
    with pytest.raises(DwfuseError, match=r"24 measurements in a row were lost \(the server went away\)"):
        tuner_of(tmp_path, runner, task).run(100)
    assert points_on_record(tmp_path, task) == []
    again = ReplayRunner()
    tuner_of(tmp_path, again, task).run(3)
    assert again.asked[0] == (task.key, SPACE.default)


def test_trials_go_to_the_task_with_the_most_to_gain(tmp_path: Path) -> None:
    """One has ten times the time of the others, one gains nothing whatever is tried."""
    heavy = task_of(lambda point: 10 * valley(point), "heavy")
    light = task_of(valley, "light")
    flat = task_of(lambda point: 2e-3, "flat")
    tuner_of(tmp_path, ReplayRunner(), light, flat, heavy).run(75)
    trials = {task.key: len(points_on_record(tmp_path, task)) for task in (light, flat, heavy)}
    assert trials[heavy.key] > 2 * trials[light.key]
    assert trials[heavy.key] > 2 * trials[flat.key]
    assert min(trials.values()) >= 1


def test_trials_of_another_space_do_not_count(tmp_path: Path) -> None:
    """Such as those of a version whose knobs had other values."""
    wide = Space({"depth": (*_VALUES, 99), "rows0": _VALUES}, {"depth": 99, "rows0": 1})
    tuner_of(tmp_path, ReplayRunner(), task_of(space=wide)).run(1)
    runner = ReplayRunner()
    summary = tuner_of(tmp_path, runner, task_of()).run(2)
    assert (summary.trials, summary.resumed) == (2, 0)
    assert runner.asked[0][1] == SPACE.default
