"""The typed call for tuning: from networks to a database of records that ``compile`` takes up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DwfuseError

if TYPE_CHECKING:
    import tvm

    from .api import Model, Shapes
    from .targets import CpuTarget
    from .tuning.measure import Runner
    from .tuning.scope import Scope
    from .tuning.tuner import OnProgress, Summary

#: What candidates can be measured with; None takes the first that fits the target.
RUNNERS = ("local", "rpc", "count", "gvsoc", "model")


@dataclass(frozen=True)
class Measuring:
    """What candidates are measured with.

    Args:
        runner: one of :data:`RUNNERS`. By default "local" for this machine, for another CPU "rpc" where a tracker is
            given and else "count", for a cluster "gvsoc" where it is installed and else "model".
        rpc_tracker: address ``HOST:PORT`` of TVM's RPC tracker.
        key: that the boards are registered with at the tracker.
        limit_s: seconds that building a candidate may take, and again running it; None for what suits the runner.
    """

    runner: str | None = None
    rpc_tracker: str | None = None
    key: str | None = None
    limit_s: float | None = None


def tune(
    models: Model | Sequence[Model],
    work_dir: str | Path,
    target: str = "host",
    trials: int = 500,
    threads: int | None = None,
    shapes: Shapes | None = None,
    measuring: Measuring | None = None,
    seed: int = 0,
    seconds: float | None = None,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Tune the kernels that networks could be made of; equal ones are tuned once.

    Args:
        models: one network or several, as for :func:`tvm_dwfuse.compile`; quantized ones for a cluster.
        work_dir: folder of the database; what is on record there counts as done.
        target: as for :func:`tvm_dwfuse.compile`.
        trials: that shall be on record for these networks in the end.
        threads: that each kernel uses; None as in :func:`tvm_dwfuse.compile`.
        shapes: shapes by input name, for inputs with dimensions left open.
        measuring: what candidates are measured with.
        seed: of the search.
        seconds: after which no new trial begins; None for no limit.
        on_progress: called after each trial.

    Raises:
        DwfuseError: a network, the target or an option is wrong, a tool is missing, nothing can be measured at all, or
            the database cannot be written.
    """
    _require_xgboost()
    from .targets import CLUSTER_TARGETS
    from .tuning.database import TuningDatabase
    from .tuning.tuner import Tuner

    if trials < 1:
        raise DwfuseError(f"{trials} trials: there must be one at least")
    each = list(models) if isinstance(models, (list, tuple)) else [models]
    prepare = _prepare_cluster if target in CLUSTER_TARGETS else _prepare_cpu
    database = TuningDatabase(Path(work_dir))
    database.check_writable()
    measuring = measuring or Measuring()
    name = measuring.runner or _fitting(target, measuring)
    _check(name, target, measuring)
    with closing(_make(name, measuring)) as runner:
        scope, tvm_target = prepare(each, target, threads, shapes, runner)
        return Tuner(scope, runner, database, tvm_target, seed).run(trials, on_progress, seconds)


def _fitting(target: str, measuring: Measuring) -> str:
    from .runners import gvsoc
    from .targets import CLUSTER_TARGETS, get_cpu

    if target in CLUSTER_TARGETS:
        return "gvsoc" if gvsoc.is_installed() else "model"
    if measuring.rpc_tracker:
        return "rpc"
    return "count" if get_cpu(target).triple else "local"


def _check(name: str, target: str, measuring: Measuring) -> None:
    """Refuse what does not go together."""
    from .targets import CLUSTER_TARGETS, get_cpu

    if name not in RUNNERS:
        raise DwfuseError(f"unknown runner {name!r}; known: {', '.join(RUNNERS)}")
    on_cluster = target in CLUSTER_TARGETS
    if on_cluster != (name in ("gvsoc", "model")):
        fitting = "gvsoc or model" if on_cluster else "local, rpc or count"
        raise DwfuseError(f"runner {name!r}: not for target {target}; choose {fitting}")
    if name != "rpc" and (measuring.rpc_tracker or measuring.key):
        raise DwfuseError(f"runner {name!r}: does not use a tracker; leave --rpc-tracker and --key out")
    if name == "local" and get_cpu(target).triple:
        raise DwfuseError(f"target {target!r}: not this machine; give --rpc-tracker and --key, or --runner count")


def _make(name: str, measuring: Measuring) -> Runner:
    limit: dict[str, Any] = {} if measuring.limit_s is None else {"limit_s": measuring.limit_s}
    if name == "local":
        from .tuning.measure.local import LocalRunner

        return LocalRunner(**limit)
    if name == "count":
        from .tuning.measure.count import CountRunner

        return CountRunner(**limit)
    if name == "rpc":
        from .tuning.measure.rpc import RpcRunner

        if not measuring.rpc_tracker or not measuring.key:
            raise DwfuseError("measuring on boards needs both --rpc-tracker HOST:PORT and --key; give both")
        return RpcRunner(measuring.rpc_tracker, measuring.key, **limit)
    from .tuning.measure.cluster import GvsocRunner, ModelRunner

    return GvsocRunner(**limit) if name == "gvsoc" else ModelRunner()


def _prepare_cpu(
    models: Sequence[Model], target: str, threads: int | None, shapes: Shapes | None, runner: Runner
) -> tuple[Scope, tvm.target.Target]:
    from .api import import_model
    from .targets import get_cpu
    from .threads import check, check_elsewhere
    from .tuning.scope import NetworkScope

    machine: CpuTarget = get_cpu(target)
    count = check_elsewhere(threads) if machine.triple else check(threads)
    modules = [import_model(model, shapes) for model in models]
    scope = NetworkScope(modules, machine, count, runner.unit)
    if not scope.tasks:
        raise DwfuseError("the network has no convolution or dense layer to tune")
    return scope, machine.tvm_target()


def _prepare_cluster(
    models: Sequence[Model], target: str, threads: int | None, shapes: Shapes | None, runner: Runner
) -> tuple[Scope, tvm.target.Target]:
    import tvm

    from .cluster_options import ClusterOptions
    from .codegen_gap8.build import import_network
    from .tuning.cluster_scope import ClusterScope
    from .tuning.measure.cluster import GvsocRunner

    if threads is not None:
        raise DwfuseError(f"--threads: no option of {target}; leave it out")
    networks = [import_network(model, shapes) for model in models]
    scope = ClusterScope(networks, ClusterOptions(target).machine(), runner.unit)
    if isinstance(runner, GvsocRunner):
        runner.expect(scope.tasks)
    return scope, tvm.target.Target("c")


def _require_xgboost() -> None:
    if find_spec("xgboost") is None:
        raise DwfuseError("tuning needs xgboost, which is not installed; pip install tvm-dwfuse[tune]")
