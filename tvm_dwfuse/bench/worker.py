"""One engine in a process of its own, so that thread pools do not meet.

``python -m tvm_dwfuse.bench.worker FD CORES MODULE:CLASS`` makes a server of that class and serves one
:class:`~tvm_dwfuse.bench.client.Remote`. A request is a method name of the server and its arguments, a reply is
``("ok", value)`` or ``("error", one line)``.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from .engines import ENGINES, Job, Running


class NetworkServer:
    """Runs a network on an engine of :data:`~tvm_dwfuse.bench.engines.ENGINES`."""

    def __init__(self) -> None:
        self._running: Running | None = None

    def load(self, engine: str, job: Job) -> None:
        """Load or compile the network."""
        self._running = ENGINES[engine].start(job)

    def outputs(self) -> list[np.ndarray]:
        """The network's outputs."""
        return [np.array(array) for array in self._loaded().outputs()]

    def burst(self, seconds: float, most: int) -> list[float]:
        """See :func:`burst`."""
        return burst(self._loaded().call, seconds, most)

    def _loaded(self) -> Running:
        if self._running is None:
            raise RuntimeError("no engine is loaded")
        return self._running


def burst(call: Callable[[], Any], seconds: float, most: int) -> list[float]:
    """Seconds of each timed run: one to ``most``, for about ``seconds``, after one untimed run."""
    estimate = _timed(call)
    runs = max(1, min(most, int(seconds / estimate)))
    return [_timed(call) for _ in range(runs)]


def serve(connection: Connection, server: object) -> None:
    """Answer requests until the other end closes."""
    while True:
        try:
            method, args = connection.recv()
        except EOFError:
            return
        try:
            reply = ("ok", getattr(server, method)(*args))
        except Exception as error:  # whatever an engine raises is the answer, not the end of the worker
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            reply = ("error", first_line)
        connection.send(reply)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(core) for core in sys.argv[2].split(",")})
    module, _, class_name = sys.argv[3].partition(":")
    serve(Connection(int(sys.argv[1])), getattr(importlib.import_module(module), class_name)())
