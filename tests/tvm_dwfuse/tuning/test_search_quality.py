"""How good the search is: against all points of three kernels' spaces, and against chance in a space made up.

The costs of all points were measured once, by ``scripts/bench_tuning.py --enumerate``, and are looked up here.
"""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

import pytest

from tvm_dwfuse.bench.tuning_tables import CostTable
from tvm_dwfuse.space import Point, Space

from .replay import FormulaTask, TableTask, draw, search

DATA = Path(__file__).resolve().parents[2] / "data"
SPACES = ("dw_16x16", "dwpw_25x5", "pwdw_8x8")
SEEDS = range(10)
#: The mean of chance is not to depend on how lucky ten seeds are.
CHANCES = range(200)


@cache
def task_of(name: str) -> TableTask:
    return TableTask(name, CostTable.from_json((DATA / f"costs_{name}.json").read_text()))


@cache
def found(name: str) -> list[float]:
    """The best found with 15% of the points as trials, by the least of all costs, for each seed."""
    task = task_of(name)
    return [search(task, len(task.points) * 15 // 100, seed) / task.best for seed in SEEDS]


@cache
def drawn(name: str) -> list[float]:
    task = task_of(name)
    return [draw(task, len(task.points) * 15 // 100, seed) / task.best for seed in CHANCES]


@pytest.mark.parametrize("name", SPACES)
def test_tables_leave_something_to_find(name: str) -> None:
    task = task_of(name)
    assert 70 <= len(task.points) <= 400
    assert task.cost(task.space.default) > 1.04 * task.best
    assert task.cost(task.points[-1]) > 1.5 * task.best


@pytest.mark.parametrize("name", SPACES)
def test_the_search_comes_within_five_percent_of_all_points(name: str) -> None:
    assert max(found(name)) <= 1.05
    assert statistics.mean(found(name)) <= 1.015


@pytest.mark.parametrize("name", SPACES)
def test_no_space_is_searched_worse_than_by_chance(name: str) -> None:
    assert statistics.mean(found(name)) <= statistics.mean(drawn(name)) + 0.005


def test_the_search_is_better_than_chance() -> None:
    """What is left to gain after the search, over all spaces and seeds, is a quarter less than by chance."""
    left = statistics.mean(cost - 1 for name in SPACES for cost in found(name))
    left_by_chance = statistics.mean(cost - 1 for name in SPACES for cost in drawn(name))
    assert left < 0.75 * left_by_chance


LARGE = Space(
    {name: tuple(range(1, 13)) for name in ("depth", "rows0", "pixels0", "channels0", "lanes0")},
    {"depth": 12, "rows0": 12, "pixels0": 1, "channels0": 1, "lanes0": 12},
    lambda point: point["rows0"] * point["pixels0"] <= 60 and point["channels0"] % point["lanes0"] in (0, 2),
)


def made_up(point: Point) -> float:
    """Registers that spill, loads a product, and a step that caches hold: as costs of kernels come about."""
    outputs = point["rows0"] * point["pixels0"]
    vectors = 1 + point["channels0"] // point["lanes0"]
    spilled = max(0, outputs * vectors + vectors - 30)
    loads = (outputs + vectors) / (outputs * vectors)
    return 1e-3 * (1 + loads + 0.05 * spilled + 0.03 * abs(point["depth"] - 5) + 0.1 / point["lanes0"])


def test_chance_is_clearly_beaten_in_a_large_space() -> None:
    assert LARGE.size > 100_000
    task = FormulaTask(LARGE, made_up)
    best = min(map(made_up, LARGE.points()))
    searched = [search(task, 40, seed) / best for seed in range(3)]
    by_chance = [draw(task, 40, seed) / best for seed in range(50)]
    assert statistics.mean(searched) - 1 < 0.6 * (statistics.mean(by_chance) - 1)
