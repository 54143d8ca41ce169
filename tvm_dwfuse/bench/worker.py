"""One engine in a process of its own, so that thread pools do not meet: ``python -m tvm_dwfuse.bench.worker FD``.

It serves one :class:`~tvm_dwfuse.bench.client.Client`. A request is a method name of :class:`_Server` and its
arguments, a reply is
``("ok", value)`` or ``("error", one line)``.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from .engines import ENGINES, Job, Running


class _Server:
    def __init__(self) -> None:
        self._running: Running | None = None

    def load(self, engine: str, job: Job) -> None:
        self._running = ENGINES[engine].start(job)

    def outputs(self) -> list[np.ndarray]:
        return [np.array(array) for array in self._loaded().outputs()]

    def burst(self, seconds: float, most: int) -> list[float]:
        call = self._loaded().call
        estimate = _timed(call)
        runs = max(1, min(most, int(seconds / estimate)))
        return [_timed(call) for _ in range(runs)]

    def _loaded(self) -> Running:
        if self._running is None:
            raise RuntimeError("no engine is loaded")
        return self._running


def serve(connection: Connection) -> None:
    """Answer requests until the other end closes."""
    server = _Server()
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


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(core) for core in sys.argv[2].split(",")})
    serve(Connection(int(sys.argv[1])))
