"""Tuning without a machine: tasks whose costs are known beforehand, and a database that keeps nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import tvm

from schedules import default_knobs
from schedules.space import point_of
from tvm_dwfuse.bench.tuning_tables import CostTable
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.tuning.features import kernel_features
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.scope import Costs
from tvm_dwfuse.tuning.task import Task
from tvm_dwfuse.tuning.tuner import Tuner
from tvm_dwfuse.variants import VARIANTS

TARGET = tvm.target.Target("llvm")


class WeightedScope:
    """Tasks that are all in use, each as often as its weight says."""

    def __init__(self, weights: Mapping[Task, float]) -> None:
        self.tasks = list(weights)
        self._weights = {task.key: weight for task, weight in weights.items()}

    def shares(self, costs: Costs) -> dict[str, float]:
        """See :class:`tvm_dwfuse.tuning.scope.Scope`."""
        del costs
        return dict(self._weights)

    def total(self, costs: Costs) -> float:
        """See :class:`tvm_dwfuse.tuning.scope.Scope`."""
        return sum(weight * costs[key] for key, weight in self._weights.items())


class TableTask:
    """The kernel of a table, which starts from the point of median cost: some defaults leave nothing to find."""

    def __init__(self, name: str, table: CostTable) -> None:
        self.key = f'{{"table":"{name}"}}'
        self._table = table
        self._features: dict[tuple[int, ...], list[float]] = {}
        variant = VARIANTS[table.variant] if table.variant else None
        self._others = point_of(default_knobs(table.block, variant, table.machine))
        choices = {knob: tuple(sorted({values[i] for values in table.costs})) for i, knob in enumerate(table.knobs)}
        ranked = sorted(table.costs, key=table.costs.__getitem__)
        start = table.point(ranked[len(ranked) // 2])
        self.space = Space(choices, start, lambda point: table.values(point) in table.costs)
        self.points = [table.point(values) for values in ranked]
        self.best = table.cost(self.points[0])

    def cost(self, point: Point) -> float:
        return self._table.cost(point)

    def features(self, point: Point) -> list[float]:
        values = self._table.values(point)
        if values not in self._features:
            table = self._table
            whole = {**self._others, **point}  # with the knobs that have come since the table was made
            self._features[values] = kernel_features(table.block, table.variant, table.machine, whole)
        return self._features[values]

    def describe(self) -> str:
        return self.key


class FormulaTask:
    """A space made up, whose costs are a function of the point; the cost model learns from the values themselves."""

    def __init__(self, space: Space, cost: Callable[[Point], float], key: str = '{"task":"formula"}') -> None:
        self.key = key
        self.space = space
        self.cost = cost

    def features(self, point: Point) -> list[float]:
        return [float(value) for value in point.values()]

    def describe(self) -> str:
        return self.key


class ReplayRunner:
    """Tells what a task's ``cost`` says, infinite for a candidate that fails; ``asked`` is all that was measured."""

    unit = "seconds"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Point]] = []
        self.costs: list[float] = []

    def measure(self, task, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        for index, point in enumerate(points):
            cost = task.cost(point)
            self.asked.append((task.key, point))
            self.costs.append(cost)
            yield index, Measurement((cost,)) if cost < float("inf") else Measurement((), "crash: as it was told to")

    def close(self) -> None:
        pass


class NoDatabase:
    """Forgets everything at once."""

    def trials(self, key: str) -> list:
        return []

    def add(self, *record: object) -> None:
        pass


def search(task, trials: int, seed: int) -> float:
    """The best cost that a tuner finds by so many trials."""
    runner = ReplayRunner()
    Tuner(WeightedScope({task: 1.0}), runner, NoDatabase(), TARGET, seed).run(trials)
    assert len(runner.costs) == min(trials, len(set(map(repr, runner.asked))))
    return min(runner.costs)


def draw(task, trials: int, seed: int) -> float:
    """The best cost among the start and points by chance, as many trials in all."""
    generator = random.Random(seed)
    found = [task.space.default]
    while len(found) < trials:
        point = {name: generator.choice(values) for name, values in task.space.choices.items()}
        if point not in found and task.space.legal(point):
            found.append(point)
    return min(map(task.cost, found))
