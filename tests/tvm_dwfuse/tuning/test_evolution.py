"""Candidates of the search: legal, new, as many as asked for, and better the more is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.tuning.evolution import CostModel, Effort, Evolution
from tvm_dwfuse.tuning.measure import Measurement

from .replay import TARGET, FormulaTask
from .test_tuner import valley

_VALUES = tuple(range(1, 21))
WIDE = Space({name: _VALUES for name in ("depth", "rows0", "pixels0")}, {"depth": 1, "rows0": 1, "pixels0": 1})
#: Lanes divide channels, which one change of a knob seldom keeps.
TIED = Space(
    {"channels0": tuple(range(1, 31)), "lanes0": tuple(range(1, 31))},
    {"channels0": 7, "lanes0": 7},
    lambda point: point["channels0"] == point["lanes0"],
)


def search_of(space: Space, cost: Callable[[Point], float] = valley, seed: int = 1) -> Evolution:
    return Evolution(FormulaTask(space, cost), CostModel(Effort(), seed), TARGET, Effort(), seed)


def learn(search: Evolution, points: list[Point], cost: Callable[[Point], float] = valley) -> None:
    search.learn(points, [Measurement((cost(point),)) for point in points])


def identities(points: list[Point]) -> set[tuple[int, ...]]:
    return {tuple(point.values()) for point in points}


@pytest.mark.parametrize("space", [WIDE, TIED], ids=["wide", "tied"])
def test_proposals_are_legal_and_new(space: Space) -> None:
    search = search_of(space, lambda point: 1.0)
    learn(search, [space.default], lambda point: 1.0)
    seen = [space.default]
    for count in (3, 8, 1, 5):
        points = search.propose(count)
        assert len(points) == count
        assert all(space.contains(point) for point in points)
        seen += points
        learn(search, points, lambda point: 1.0)
    assert len(identities(seen)) == len(seen)


def test_what_was_learnt_from_another_run_is_not_proposed() -> None:
    space = Space({"depth": (1, 2, 3, 4), "rows0": (1, 2)}, {"depth": 1, "rows0": 1})
    known = list(space.points())[:5]
    search = search_of(space)
    learn(search, known)
    points = search.propose(8)
    assert len(points) == 3
    assert not identities(points) & identities(known)
    learn(search, points)
    assert search.propose(8) == []


def test_all_of_a_space_without_neighbours_is_found() -> None:
    search = search_of(TIED, lambda point: 1.0)
    learn(search, [TIED.default], lambda point: 1.0)
    points = search.propose(29)
    assert len(points) == 29
    assert search.propose(1) == []


def test_proposals_become_better_than_chance() -> None:
    def cost(point: Point) -> float:
        return 1e-3 * (1 + abs(point["depth"] - 15) + abs(point["rows0"] - 5) + abs(point["pixels0"] - 10))

    search = search_of(WIDE, cost)
    learn(search, [WIDE.default], cost)
    means = []
    for _ in range(6):
        points = search.propose(8)
        learn(search, points, cost)
        means.append(sum(map(cost, points)) / len(points))
    by_chance = sum(map(cost, WIDE.points())) / WIDE.size
    assert means[-1] < 0.6 * by_chance


def test_failed_candidates_teach_too() -> None:
    """The half of a space that fails is left alone in the end."""
    search = search_of(WIDE)
    learn(search, [{**WIDE.default, "depth": 11}])
    failing: list[int] = []
    for _ in range(6):
        points = search.propose(8)
        failed = [point["depth"] <= 10 for point in points]
        measured = [Measurement((), "crash: it did") if fails else Measurement((1e-3,)) for fails in failed]
        search.learn(points, measured)
        failing.append(sum(failed))
    assert failing[0] > 0
    assert sum(failing[3:]) <= 6


def test_one_model_learns_from_all_tasks() -> None:
    model = CostModel(Effort(), 1)
    tasks = [FormulaTask(WIDE, valley, f'{{"task":"{name}"}}') for name in "ab"]
    searches = [Evolution(task, model, TARGET, Effort(), 1) for task in tasks]
    for search in searches:
        learn(search, [WIDE.default])
        learn(search, search.propose(4))
    assert model.model.data_size == 10
    assert set(model.tasks) == {task.key for task in tasks}
