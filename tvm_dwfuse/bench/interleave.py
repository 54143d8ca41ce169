"""Taking turns: in every round each engine runs a short burst, so that all of them see the same machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_dwfuse.errors import DwfuseError

from .client import Client
from .engines import ENGINES, Job
from .report import Missing, Result, Row

REFERENCE = "onnxruntime"


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    A burst lasts about ``burst_seconds``, at most ``burst_runs`` runs, and comes ``pause_seconds`` after the last
    engine's, whose threads may still spin, waiting for work. An engine that has used ``engine_seconds`` and has
    ``least_runs`` runs takes no further part: that keeps a very slow one from taking all the time.
    """

    rounds: int = 15
    burst_seconds: float = 0.15
    burst_runs: int = 50
    pause_seconds: float = 0.03
    engine_seconds: float = 6.0
    least_runs: int = 5


#: Called with what is going on, the steps done and the steps there are.
Progress = Callable[[str, int, int], None]


def benchmark(
    model: str | Path,
    engines: Sequence[str],
    inputs: Mapping[str, np.ndarray],
    target: str = "host",
    threads: int = 1,
    plan: Plan | None = None,
    progress: Progress | None = None,
    db: str | None = None,
) -> Result:
    """Time an ONNX file on several engines, interleaved, each in a process pinned to the same ``threads`` cores.

    Args:
        model: path of the ONNX file.
        engines: names from :data:`ENGINES`. ONNX Runtime also gives the reference outputs when it is not among them.
        inputs: array for each input, by name.
        target: what dwfuse and TVM compile for.
        threads: number of threads and of cores.
        plan: how long to measure.
        progress: told about every step.
        db: tuning database for dwfuse; None for the records that the package ships.

    Raises:
        DwfuseError: an engine's name is unknown, or there are fewer cores. An engine that is not installed, or fails,
            is listed in ``Result.missing``; ours failing is an error.
    """
    _check_names(engines)
    plan = plan or Plan()
    job = Job(str(model), target, threads, dict(inputs), db)
    session = _Session(job, engines, plan, progress or (lambda text, done, total: None))
    with session:
        session.load()
        samples = session.measure()
    rows = [
        Row(name, _median_ms(times), min(times) * 1e3, session.error(name)) for name, times in samples.items() if times
    ]
    return Result(Path(model).stem, target, threads, tuple(rows), tuple(session.missing))


class _Session:
    """The workers of one benchmark."""

    def __init__(self, job: Job, engines: Sequence[str], plan: Plan, progress: Progress) -> None:
        self.missing: list[Missing] = []
        self._job = job
        self._engines = engines
        self._plan = plan
        self._progress = progress
        self._cores = sorted(os.sched_getaffinity(0))[-job.threads :]
        self._clients: dict[str, Client] = {}
        self._outputs: dict[str, list[np.ndarray]] = {}

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *exception: object) -> None:
        for client in self._clients.values():
            client.close()

    def load(self) -> None:
        """Load every engine, one after the other, and take its outputs."""
        names = list(dict.fromkeys((*self._engines, REFERENCE)))
        for at, name in enumerate(names):
            self._progress(f"loading {name}", at, len(names))
            self._load_one(name)
        if REFERENCE in self._clients and REFERENCE not in self._engines:
            self._clients.pop(REFERENCE).close()

    def measure(self) -> dict[str, list[float]]:
        """Seconds of every timed run, by engine."""
        samples: dict[str, list[float]] = {name: [] for name in self._clients}
        for turn in range(self._plan.rounds):
            self._progress("measuring", turn, self._plan.rounds)
            for name in _rotated(list(samples), turn):
                if self._is_done(samples[name]):
                    continue
                time.sleep(self._plan.pause_seconds)
                samples[name] += self._clients[name].burst(self._plan.burst_seconds, self._plan.burst_runs)
        self._progress("measuring", self._plan.rounds, self._plan.rounds)
        return samples

    def error(self, name: str) -> float | None:
        """Largest absolute difference from ONNX Runtime's outputs, or None without them."""
        if REFERENCE not in self._outputs:
            return None
        pairs = zip(self._outputs[name], self._outputs[REFERENCE], strict=True)
        return max(float(np.max(np.abs(ours.astype(np.float64) - theirs))) for ours, theirs in pairs)

    def _load_one(self, name: str) -> None:
        engine = ENGINES[name]
        if not engine.is_installed():
            self.missing.append(Missing(name, f"not installed: {engine.install}"))
            return
        client = Client(name, self._cores, self._job)
        try:
            client.load()
            self._outputs[name] = client.outputs()
        except DwfuseError as failure:
            client.close()
            if not engine.packages:
                raise
            self.missing.append(Missing(name, str(failure)))
            return
        self._clients[name] = client

    def _is_done(self, times: list[float]) -> bool:
        return len(times) >= self._plan.least_runs and sum(times) > self._plan.engine_seconds


def _check_names(engines: Sequence[str]) -> None:
    for name in engines:
        if name not in ENGINES:
            raise DwfuseError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")


def _rotated(names: list[str], turn: int) -> list[str]:
    first = turn % len(names) if names else 0
    return names[first:] + names[:first]


def _median_ms(times: list[float]) -> float:
    return float(np.median(times)) * 1e3
