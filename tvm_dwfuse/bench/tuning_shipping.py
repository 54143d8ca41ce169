"""From a tuning database to one that the package ships: small, and choosing the same kernels.

What is fused is chosen by the costs of all kernels that a network could be made of, estimated where there is no record.
A database of the chosen kernels alone would have their rivals estimated, and some of them for too cheap. So a rival's
record is kept as well where, without it, the rival would be chosen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import tvm

import relay_passes
from relay_passes.choose_fusion import FusionPlanner
from relay_passes.fusion_runs import Candidate
from relay_passes.price_candidates import KernelPrices
from schedules.build import worthwhile_threads
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.tuning.database import Trial, TuningDatabase
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.records import Records, Source
from tvm_dwfuse.tuning.scope import Scope
from tvm_dwfuse.tuning.task import KernelTask, Task, isa
from tvm_dwfuse.tuning.template import trace_at

#: A point that gains less than this part over the default by itself may lose it in a network: the default is shipped.
MARGIN = 0.03


def shipped_name(machine: CpuTarget) -> str:
    """The folder of the records for CPUs of that instruction set, such as ``x86_64-16x32``."""
    return isa(machine).replace("/", "-")


def worth_shipping(database: TuningDatabase, task: Task) -> tuple[Point, float] | None:
    """The best point of a task and its cost, or the default's where the best does not beat that by :data:`MARGIN`.

    None where nothing was measured.
    """
    best = database.best(task.key)
    if best is None or best.cost is None:
        return None
    default = _last_of(database.trials(task.key), task.space.default)
    if default is not None and best.cost > (1 - MARGIN) * default:
        return task.space.default, default
    return best.point, best.cost


def ship_cpu(
    modules: Sequence[tvm.IRModule],
    scope: Scope,
    machine: CpuTarget,
    threads: int,
    database: TuningDatabase,
    folder: Path,
) -> int:
    """Write the records that networks need to be compiled as with all of ``database``; returns how many.

    Args:
        modules: the imported networks,
        scope: of which these are the tasks.
        machine, threads: that they were tuned for.
        database: all that was measured.
        folder: a database in it is replaced.

    Raises:
        DwfuseError: the folder cannot be written.
    """
    canonical = [tvm.transform.Sequential(relay_passes.canonicalize_passes())(module) for module in modules]
    shipment = _Shipment(scope, database, machine.tvm_target())

    def chosen(keys: Iterable[str]) -> set[str]:
        """The tasks that the networks are made of when there are records of those."""
        with tempfile.TemporaryDirectory(prefix="dwfuse-") as staging:
            prices = KernelPrices(machine, threads, Records([Source("shipped", shipment.fill(Path(staging), keys))]))
            plans = [FusionPlanner(prices).plan(module) for module in canonical]
        unit = next((task.unit for task in scope.tasks if isinstance(task, KernelTask)), "seconds")
        used = {_key(kernel.candidate, machine, threads, unit) for plan in plans for kernel in plan.kernels}
        return used & shipment.keys

    kept: set[str] = set()
    wanted = chosen(shipment.keys)
    while not wanted <= kept:
        kept |= wanted
        wanted = chosen(kept)
    shipment.write(folder, kept)
    return len(kept)


def ship_cluster(scope: Scope, database: TuningDatabase, folder: Path) -> int:
    """Write the records of plans that are better than the default by :data:`MARGIN`; returns how many.

    A cluster's choice takes the model's cycles where there is no record, and they are those of the default.

    Raises:
        DwfuseError: the folder cannot be written.
    """
    shipment = _Shipment(scope, database, tvm.target.Target("c"))
    better = [task.key for task in scope.tasks if shipment.is_better(task)]
    shipment.write(folder, better)
    return len(better)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def _last_of(trials: Iterable[Trial], point: Point) -> float | None:
    costs = [trial.cost for trial in trials if trial.point == point and trial.cost is not None]
    return costs[-1] if costs else None


def _key(candidate: Candidate, machine: CpuTarget, threads: int, unit: str) -> str:
    variant = candidate.variant.name if candidate.variant else None
    used = worthwhile_threads(candidate.block, threads)
    return KernelTask(candidate.block, variant, candidate.source, machine, used, unit).key


class _Shipment:
    """What may be shipped: a point and its cost for each task that was measured."""

    def __init__(self, scope: Scope, database: TuningDatabase, target: tvm.target.Target) -> None:
        self._tasks = {task.key: task for task in scope.tasks}
        found = ((key, worth_shipping(database, task)) for key, task in self._tasks.items())
        self._worth = {key: worth for key, worth in found if worth}
        self._target = target

    @property
    def keys(self) -> set[str]:
        return set(self._worth)

    def is_better(self, task: Task) -> bool:
        """Whether it is another point than the default."""
        return task.key in self._worth and self._worth[task.key][0] != task.space.default

    def fill(self, folder: Path, keys: Iterable[str]) -> TuningDatabase:
        """A database of these tasks."""
        database = TuningDatabase(folder)
        for key in sorted(keys):
            point, cost = self._worth[key]
            trace = trace_at(self._tasks[key].space, key, point)
            database.add(key, trace, Measurement((cost,)), self._target)
        return database

    def write(self, folder: Path, keys: Iterable[str]) -> None:
        """The same, as it is shipped."""
        with tempfile.TemporaryDirectory(prefix="dwfuse-") as staging:
            self.fill(Path(staging), keys).pruned_to(folder)
