"""Measuring candidates of clusters: by the cost model, or on GVSOC, GreenWaves' simulator of GAP8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import gvsoc
from tvm_dwfuse.runners.layer import LayerCase, LayerResult, run_layers
from tvm_dwfuse.runners.process import ProgramError, TimeLimitError
from tvm_dwfuse.space import Point
from tvm_dwfuse.tiling.chain import Chain

from ..cluster_example import ClusterExample
from ..cluster_task import GVSOC_UNIT, MODEL_UNIT, ClusterTask
from . import Measurement
from .failure import first_line

#: Candidates in one program: more of them share its start, fewer are lost with one that crashes.
_BATCH = 8

_Candidate = tuple[ClusterTask, Chain]


class ModelRunner:
    """Costs are cycles by the model of :mod:`tvm_dwfuse.tiling.cost`."""

    unit = MODEL_UNIT

    def measure(self, task: ClusterTask, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        """See :meth:`tvm_dwfuse.tuning.measure.Runner.measure`."""
        for place, point in enumerate(points):
            try:
                yield place, Measurement((float(task.cost(point).cycles),))
            except ValueError as error:
                yield place, Measurement((), f"build: {error}")

    def close(self) -> None:
        """There is nothing to end."""


class GvsocRunner:
    """Costs are cycles of the simulated cluster for one call; every output is compared with the integer reference.

    Simulations are deterministic: points of the same plan are simulated once.
    """

    unit = GVSOC_UNIT

    def __init__(self, limit_s: float = 120.0, runner: str = "gvsoc") -> None:
        """Nothing is built yet.

        Args:
            limit_s: seconds that building and running one program may take.
            runner: where programs run; see :func:`tvm_dwfuse.runners.layer.run_layers`.

        Raises:
            DwfuseError: the GAP SDK is missing.
        """
        if runner == "gvsoc":
            gvsoc.require_sdk()
        self._limit_s = limit_s
        self._runner = runner
        self._known: dict[_Candidate, Measurement] = {}
        self._expected: list[_Candidate] = []

    def expect(self, tasks: Sequence[ClusterTask]) -> None:
        """Simulate the defaults of these tasks along with others: they will be asked for, one after the other."""
        self._expected = [(task, task.plan(task.space.default)) for task in tasks]

    def measure(self, task: ClusterTask, points: Sequence[Point]) -> Iterator[tuple[int, Measurement]]:
        """See :meth:`tvm_dwfuse.tuning.measure.Runner.measure`."""
        for start in range(0, len(points), _BATCH):
            batch = range(start, min(start + _BATCH, len(points)))
            yield from self._measure_batch(task, {place: points[place] for place in batch})

    def close(self) -> None:
        """There is nothing to end: no process outlives its batch."""

    def _measure_batch(self, task: ClusterTask, points: dict[int, Point]) -> Iterator[tuple[int, Measurement]]:
        plans: dict[int, Chain] = {}
        for place, point in points.items():
            try:
                plans[place] = task.plan(point)
            except ValueError as error:
                yield place, Measurement((), f"build: {error}")
        wanted = [each for each in dict.fromkeys((task, plan) for plan in plans.values()) if each not in self._known]
        if wanted:
            self._expected = [each for each in self._expected if each not in self._known and each not in wanted]
            wanted += self._expected[: _BATCH - len(wanted)]
            self._simulate(wanted)
        for place, plan in plans.items():
            yield place, self._known[task, plan]

    def _simulate(self, candidates: list[_Candidate]) -> None:
        cases: dict[_Candidate, LayerCase] = {}
        for task, plan in candidates:
            try:
                cases[task, plan] = _example(task).case(plan)
            except (ValueError, RuntimeError) as error:
                self._known[task, plan] = Measurement((), f"build: {first_line(error)}")
        for candidate, result in self._run(cases):
            self._known[candidate] = result if isinstance(result, Measurement) else _judged(candidate, result)

    def _run(self, cases: dict[_Candidate, LayerCase]) -> Iterator[tuple[_Candidate, LayerResult | Measurement]]:
        """The result of each case, or its error; where one of several fails, each half is run by itself."""
        if not cases:
            return
        try:
            results = run_layers(list(cases.values()), self._runner, time_limit=self._limit_s)
        except DwfuseError as error:
            if len(cases) == 1:
                yield next(iter(cases)), Measurement((), _reason(error))
                return
            each = list(cases.items())
            yield from self._run(dict(each[: len(each) // 2]))
            yield from self._run(dict(each[len(each) // 2 :]))
            return
        yield from zip(cases, results, strict=True)


def _judged(candidate: _Candidate, result: LayerResult) -> Measurement:
    task, plan = candidate
    if not _example(task).is_right(plan, result.output):
        return Measurement((), "wrong: the output differs from the integer reference")
    return Measurement((float(result.ticks),))


@lru_cache(maxsize=_BATCH)
def _example(task: ClusterTask) -> ClusterExample:
    return ClusterExample.of(task.stages, task.height, task.width)


def _reason(error: DwfuseError) -> str:
    """The error of a measurement: a program that says "case" has been built."""
    if isinstance(error, TimeLimitError):
        return f"timeout: {error.reason}"
    if isinstance(error, ProgramError) and "case 0" in error.log.splitlines():
        return f"crash: {error.reason}"
    return f"build: {first_line(error)}"
