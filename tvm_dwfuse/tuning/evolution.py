"""MetaSchedule's evolutionary search and XGBoost model, given what it has to know of our tasks.

The space generator samples knobs, the post-processor refuses what makes no kernel, the mutator changes one decision,
and the features come from the task: there are no loops in a workload to extract them from.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import s_tir
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.logging import get_logger, get_logging_func

from tvm_dwfuse.space import Point

from .measure import Measurement
from .task import Task
from .template import point_of, sample_knobs, schedule_at, workload

#: Cost that MetaSchedule's model takes for a candidate that failed.
FAILED = 1e10

#: A mutation goes to a neighbouring value of the knob that often, else to any value.
_NEIGHBOUR = 0.6

#: A mutation ends with one knob that often; some only fit together, such as lanes and the channels that they divide.
_ONE_KNOB = 0.6

#: Part of each round that is taken by chance from what was bred: one of four, or else a wrong model is never found out.
_EXPLORED = 0.25

#: Spaces of up to so many points are enumerated where chance has to find one that is still unknown.
_ENUMERABLE = 100_000
#: Else so many draws are made for each point.
_DRAWS = 200

#: Trees that the model grows in vain before it stops: it is judged by what it was fitted to, and so does not come back.
_PATIENCE = 10

#: The end of the trials is the caller's affair.
_NO_END = 1 << 30


@derived_object
class _LegalPoints(ms.postproc.PyPostproc):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """Nothing to prepare."""

    def apply(self, sch: s_tir.Schedule) -> bool:
        return self.task.space.legal(point_of(sch))

    def clone(self) -> ms.postproc.Postproc:
        return _LegalPoints(self.task)


@derived_object
class _ChangeOneKnob(ms.mutator.PyMutator):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """Nothing to prepare."""

    def apply(self, trace: s_tir.schedule.Trace, _: int) -> s_tir.schedule.Trace | None:
        decided = [(inst, int(decision)) for inst, decision in trace.decisions.items() if len(inst.attrs[0]) > 1]
        if not decided:
            return None
        inst, decision = self.random.choice(decided)
        changed = trace.with_decision(inst, self._other(decision, len(inst.attrs[0])), remove_postproc=True)
        return changed if self.random.random() < _ONE_KNOB else self.apply(changed, 0)

    def _other(self, decision: int, count: int) -> int:
        if self.random.random() < _NEIGHBOUR:
            step = self.random.choice((-1, 1))
            return decision + step if 0 <= decision + step < count else decision - step
        return self.random.choice([index for index in range(count) if index != decision])

    def clone(self) -> ms.mutator.Mutator:
        return _ChangeOneKnob(self.random.randrange(1 << 30))


@derived_object
class _KnobFeatures(ms.feature_extractor.PyFeatureExtractor):
    def __init__(self, tasks: dict[str, Task]) -> None:
        super().__init__()
        self.tasks = tasks

    def extract_from(self, context: ms.TuneContext, candidates: list[ms.MeasureCandidate]) -> list[tvm.runtime.Tensor]:
        task = self.tasks[context.task_name]
        rows = [task.features(point_of(candidate.sch)) for candidate in candidates]
        return [tvm.runtime.tensor(np.array([row], "float32")) for row in rows]


class _Context(ms.TuneContext):
    """A context of one thread. The constructor that this replaces imports TVM's tensor intrinsics, which takes half a
    minute, and no kernel of ours uses one.
    """

    def __init__(
        self,
        key: str,
        target: tvm.target.Target,
        generator: ms.space_generator.SpaceGenerator,
        strategy: ms.search_strategy.SearchStrategy,
        seed: int,
    ) -> None:
        logger = get_logger(__name__)
        logger.setLevel(logging.ERROR)  # it warns where evolution has nothing new; then chance has
        arguments = (workload(key), target, generator, strategy, key, 1, seed, get_logging_func(logger))
        self.__init_handle_by_constructor__(ms._ffi_api.TuneContext, *arguments)
        ms._ffi_api.TuneContextInitialize(self)


@dataclass(frozen=True)
class Effort:
    """How hard each round of the search thinks.

    ``population`` candidates are bred in each of so many ``generations``, from the best that were measured and from
    ``fresh`` ones by chance, or more.
    """

    population: int = 32
    generations: int = 4
    fresh: int = 8


class CostModel:
    """One XGBoost model for all tasks of a run: what it learns of one it knows of the next."""

    def __init__(self, effort: Effort, seed: int) -> None:
        self.tasks: dict[str, Task] = {}
        self.model = ms.cost_model.XGBModel(
            extractor=_KnobFeatures(self.tasks),
            config=ms.cost_model.xgb_model.XGBConfig(seed=seed, nthread=1),
            num_warmup_samples=1,  # before that its predictions are by chance, and no seed makes them come again
            early_stopping_rounds=_PATIENCE,
            verbose_eval=0,
        )


class Evolution:
    """The search of one task.

    Points come by :meth:`propose`, what became of them goes back by :meth:`learn`; points measured in an earlier run
    are learnt the same way.
    """

    def __init__(self, task: Task, model: CostModel, target: tvm.target.Target, effort: Effort, seed: int) -> None:
        self.task = task
        self._model = model
        model.tasks[task.key] = task
        self._database = ms.database.MemoryDatabase()
        self._workload = self._database.commit_workload(workload(task.key))
        self._target = target
        generator = ms.space_generator.ScheduleFn(
            lambda sch: sample_knobs(sch, task.space),
            sch_rules=[],
            postprocs=[_LegalPoints(task)],
            mutator_probs={_ChangeOneKnob(seed): 1.0},
        )
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=effort.population,
            init_min_unmeasured=effort.fresh,
            max_fail_count=50,
            genetic_num_iters=effort.generations,
            eps_greedy=_EXPLORED,
        )
        self._context = _Context(task.key, target, generator, strategy, seed + 1)
        self._random = random.Random(seed)
        self._known: set[tuple[int, ...]] = set()
        self._started = False

    def propose(self, count: int) -> list[Point]:
        """Up to ``count`` legal points of which nothing is known, fewer only where there are no more.

        Where evolution has nothing new to offer, as when all that it breeds has been measured, chance does.
        """
        self._start(count)
        candidates = self._context.search_strategy.generate_measure_candidates() or []
        if candidates:
            # Their results come by :meth:`learn`; this only counts them.
            self._context.search_strategy.notify_runner_results(candidates, [])
        bred = list(map(point_of, (each.sch for each in candidates)))[:count]
        points = [point for point in bred if self._is_new(point)]
        return points + [point for point in self._drawn(count - len(points)) if self._is_new(point)]

    def learn(self, points: Sequence[Point], measurements: Sequence[Measurement]) -> None:
        """Take up what was measured."""
        schedules = [schedule_at(self.task.space, self.task.key, point) for point in points]
        for sch, point, measurement in zip(schedules, points, measurements, strict=True):
            self._is_new(point)
            record = ms.database.TuningRecord(sch.trace, self._workload, _costs(measurement), self._target, [])
            self._database.commit_tuning_record(record)
        candidates = [ms.MeasureCandidate(sch, []) for sch in schedules]
        results = [ms.runner.RunnerResult(_costs(each), each.error or None) for each in measurements]
        self._model.model.update(self._context, candidates, results)

    def _start(self, count: int) -> None:
        if self._started:
            return
        self._started = True
        self._context.search_strategy.pre_tuning(
            max_trials=_NO_END,
            num_trials_per_iter=count,
            design_spaces=self._context.generate_design_space(),
            database=self._database,
            cost_model=self._model.model,
        )

    def _drawn(self, count: int) -> Iterator[Point]:
        """Up to ``count`` unknown legal points by chance."""
        space = self.task.space
        if count <= 0:
            return
        if space.size <= _ENUMERABLE:
            unknown = [point for point in space.points() if tuple(point.values()) not in self._known]
            yield from self._random.sample(unknown, min(count, len(unknown)))
            return
        for _ in range(_DRAWS * count):
            point = {name: self._random.choice(values) for name, values in space.choices.items()}
            if space.legal(point):
                yield point
                count -= 1
            if not count:
                return

    def _is_new(self, point: Point) -> bool:
        """Whether nothing was known of ``point``; from now on something is."""
        key = tuple(point[name] for name in self.task.space.choices)
        if key in self._known:
            return False
        self._known.add(key)
        return True


def _costs(measurement: Measurement) -> list[float]:
    return list(measurement.costs) if measurement.ok else [FAILED]
