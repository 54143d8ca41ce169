"""Timing depthwise layers on this project's kernels and on PyTorch, taking turns."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from tvm_dwfuse.kernels.depthwise import PROCEDURES

from .client import Remote
from .depthwise_engines import OURS, PEERS, Case
from .depthwise_layers import Layer
from .depthwise_report import LayerTime

_SERVERS = {"dwfuse": "DwfuseServer", "torch": "TorchServer"}
# TVM's idle threads look for work 300 000 times, some 140 ms, unless told otherwise: they would take the cores from
# PyTorch's. This is 5 ms, as long as the OpenMP library of PyTorch does.
_SPIN = {"TVM_THREAD_POOL_SPIN_COUNT": "10000"}


@dataclass(frozen=True)
class Effort:
    """How long to measure: in each of ``rounds`` every engine runs for about ``burst_seconds``, ``burst_runs`` at most.

    ``pause_seconds`` pass between two libraries that have several threads, so that the threads of one stop looking for
    work before the other begins. An engine that has used ``engine_seconds`` in two rounds or more takes no further
    part.
    """

    rounds: int = 9
    burst_seconds: float = 0.006
    burst_runs: int = 200
    pause_seconds: float = 0.01
    engine_seconds: float = 0.5


#: For a run of less than a minute.
QUICK_EFFORT = Effort(rounds=3, burst_seconds=0.002, engine_seconds=0.05)

#: Called with what is going on, the steps done and the steps there are.
Progress = Callable[[str, int, int], None]


def missing_peers() -> dict[str, str]:
    """The peers that cannot take part, and how to get them."""
    return {} if importlib.util.find_spec("torch") else dict.fromkeys(PEERS, "not installed: pip install torch")


def list_cases(
    layers: Sequence[Layer], threads: Sequence[int], batches: Sequence[int], both_layouts: bool = True
) -> list[Case]:
    """Every procedure of every layer, number of threads and batch size."""
    return [
        Case(layer.name, procedure, replace(layer.conv, batch=batch), count, both_layouts)
        for count in threads
        for layer in layers
        for procedure in PROCEDURES
        for batch in batches
    ]


def measure(cases: Sequence[Case], effort: Effort, progress: Progress) -> Iterator[list[LayerTime]]:
    """Time the cases; yields the rows of one after the other.

    Kernels are compiled first, those for different numbers of threads at the same time. Each library and number of
    threads has a process of its own, pinned to as many cores.

    Raises:
        DwfuseError: an engine failed.
    """
    libraries = [name for name in _SERVERS if name == "dwfuse" or not missing_peers()]
    with _servers(libraries, {case.threads for case in cases}) as servers:
        ours = {count: at["dwfuse"] for count, at in servers.items()}
        _compile(ours, cases, progress)
        limits = {count: server.ask("limits", count) for count, server in ours.items()}
        for done, case in enumerate(cases):
            progress(f"{case.layer}, {case.procedure}, threads {case.threads}", done, len(cases))
            yield _measure_one(servers[case.threads], case, limits[case.threads].least_ms(case.conv), effort)
        progress("done", len(cases), len(cases))


@contextmanager
def _servers(libraries: Sequence[str], counts: Iterable[int]) -> Iterator[dict[int, dict[str, Remote]]]:
    """The process of each library by number of threads."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        servers: dict[int, dict[str, Remote]] = {count: {} for count in counts}
        for count, at in servers.items():
            for library in libraries:
                server = f"tvm_dwfuse.bench.depthwise_engines:{_SERVERS[library]}"
                at[library] = Remote(library, server, cores[-count:], environment=_SPIN)
                stack.callback(at[library].close)
        yield servers


def _compile(servers: dict[int, Remote], cases: Sequence[Case], progress: Progress) -> None:
    queues = {count: [case for case in cases if case.threads == count] for count in servers}
    longest = max(map(len, queues.values()))
    for at in range(longest):
        busy = [count for count in servers if at < len(queues[count])]
        progress("compiling", at, longest)
        for count in busy:
            servers[count].send("compile", queues[count][at])
        for count in busy:
            servers[count].receive()


def _measure_one(servers: dict[str, Remote], case: Case, least_ms: float, effort: Effort) -> list[LayerTime]:
    engines = {"dwfuse": list(case.ours()), "torch": list(PEERS)}
    for server in servers.values():
        server.send("start", case)
    for server in servers.values():
        server.receive()
    samples = {name: servers[library].ask("samples", name) for library in servers for name in engines[library]}
    times: dict[str, list[float]] = {name: [] for name in samples}
    for turn in range(effort.rounds):
        libraries = list(servers) if turn % 2 else list(servers)[::-1]
        for library in libraries:
            wanted = [name for name in engines[library] if turn < 2 or sum(times[name]) < effort.engine_seconds]
            if wanted and case.threads > 1:
                time.sleep(effort.pause_seconds)
            for name in wanted if turn % 2 else wanted[::-1]:
                times[name] += servers[library].ask("burst", name, effort.burst_seconds, effort.burst_runs)
    return _rows(case, least_ms, times, samples)


def _rows(
    case: Case, least_ms: float, times: dict[str, list[float]], samples: dict[str, np.ndarray]
) -> list[LayerTime]:
    layouts = {**OURS, **PEERS}
    reference = samples.get("torch", next(iter(samples.values()))).astype(np.float64)
    scale = np.abs(reference).max()
    rows = [
        LayerTime(
            layer=case.layer,
            procedure=case.procedure,
            threads=case.threads,
            batch=case.conv.batch,
            engine=engine,
            median_ms=float(np.median(seconds)) * 1e3,
            layout=layouts[engine],
            runs=len(seconds),
            error=float(np.abs(samples[engine] - reference).max() / scale),
            least_ms=least_ms,
        )
        for engine, seconds in times.items()
    ]
    preferred = next(row for row in rows if row.engine == next(iter(case.ours())))
    return [replace(preferred, engine="dwfuse"), *rows]
