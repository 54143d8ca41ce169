"""Tuning zoo networks together for a target, and shipping what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tvm

from tvm_dwfuse import zoo
from tvm_dwfuse.api import Model, import_model
from tvm_dwfuse.api_tune import Measuring, tune
from tvm_dwfuse.cluster_options import ClusterOptions
from tvm_dwfuse.codegen_gap8.build import import_network
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import CLUSTER_TARGETS, get_cpu
from tvm_dwfuse.tuning.cluster_scope import ClusterScope
from tvm_dwfuse.tuning.database import TuningDatabase
from tvm_dwfuse.tuning.scope import NetworkScope
from tvm_dwfuse.tuning.tuner import OnProgress, Summary

from .cluster import BUILDABLE, quantized_zoo
from .suite import MODELS
from .tuning_shipping import ship_cluster, ship_cpu, shipped_name, size_of


@dataclass(frozen=True)
class Tuning:
    """How a target is tuned; see :func:`tvm_dwfuse.api_tune.tune`."""

    target: str
    trials: int
    threads: int = 1
    measuring: Measuring = field(default_factory=Measuring)
    seed: int = 0
    seconds: float | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether it is for quantized networks."""
        return self.target in CLUSTER_TARGETS

    @property
    def name(self) -> str:
        """Of the folder of its records."""
        return self.target if self.is_cluster else shipped_name(get_cpu(self.target))


class ZooTuner:
    """The zoo networks that can be read, and the database of a target; a context that holds their files.

    Args:
        tuning: how to tune.
        work_dir: holds a database for each target.
        networks: names; None for all of the zoo that the target's benchmark has.

    Attributes:
        failures: a line for each network that cannot be read.

    Raises:
        DwfuseError: (on entry) none can be read.
    """

    def __init__(self, tuning: Tuning, work_dir: Path, networks: Sequence[str] | None = None) -> None:
        """Nothing is built yet."""
        self.failures: list[str] = []
        self._tuning = tuning
        self._database = work_dir / tuning.name
        self._networks = networks or (BUILDABLE if tuning.is_cluster else MODELS)
        self._models: list[Model] = []
        self._unit = ""

    def __enter__(self) -> ZooTuner:
        """Build the networks."""
        self._folder = tempfile.TemporaryDirectory(prefix="dwfuse-")
        for name in self._networks:
            try:
                self._models.append(self._built(name))
            except DwfuseError as error:
                self.failures.append(f"{self._tuning.target}, {name}: {error}")
        if not self._models:
            self._folder.cleanup()
            raise DwfuseError("; ".join(self.failures))
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove their files."""
        self._folder.cleanup()

    def tune(self, on_progress: OnProgress | None = None) -> Summary:
        """Tune all of them together.

        Raises:
            DwfuseError: see :func:`tvm_dwfuse.api_tune.tune`.
        """
        each = self._tuning
        threads = None if each.is_cluster else each.threads
        summary = tune(
            self._models,
            self._database,
            each.target,
            each.trials,
            threads,
            measuring=each.measuring,
            seed=each.seed,
            seconds=each.seconds,
            on_progress=on_progress,
        )
        self._unit = summary.unit
        return summary

    def ship(self, folder: Path) -> str:
        """Write the records that these networks need into a folder of the target's name; a line that tells of it.

        Raises:
            DwfuseError: the folder cannot be written.
        """
        database, into = TuningDatabase(self._database), folder / self._tuning.name
        if self._tuning.is_cluster:
            networks = [import_network(model, None) for model in self._models]
            scope = ClusterScope(networks, ClusterOptions(self._tuning.target).machine(), self._unit)
            count = ship_cluster(scope, database, into)
        else:
            count = self._ship_cpu(database, into)
        return f"wrote {into}: {count} records, {size_of(into) / 1e3:.0f} kB"

    def _ship_cpu(self, database: TuningDatabase, folder: Path) -> int:
        machine, threads = get_cpu(self._tuning.target), self._tuning.threads
        modules = [model for model in self._models if isinstance(model, tvm.IRModule)]
        scope = NetworkScope(modules, machine, threads, self._unit)
        return ship_cpu(modules, scope, machine, threads, database, folder)

    def _built(self, name: str) -> Model:
        """A file for a cluster, else an imported module."""
        if not self._tuning.is_cluster:
            return import_model(zoo.build(name), None)
        path = quantized_zoo(name, Path(self._folder.name))
        import_network(path, None)
        return path
