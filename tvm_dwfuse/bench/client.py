"""The near end of a worker: starts its process, sends requests, and turns whatever goes wrong into one line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from tvm_dwfuse.errors import DwfuseError

from .engines import Job


class Remote:
    """A server in a process of its own, pinned to ``cores``; see :mod:`.worker`. The process ends when it is closed.

    Args:
        name: what errors call it.
        server: its class, as ``module:class``.
        cores: the cores it may use, as many as it has threads.
        time_limit: seconds that an answer may take.
        environment: environment variables set for it.

    Raises:
        DwfuseError: (from every method) the server failed, its process died, or it took longer than the time limit.
    """

    def __init__(
        self,
        name: str,
        server: str,
        cores: Sequence[int],
        time_limit: float = 900.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process."""
        self.engine = name
        self._time_limit = time_limit
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._connection, far_end = Pipe()
        worker = [sys.executable, "-m", "tvm_dwfuse.bench.worker"]
        self._process = subprocess.Popen(
            [*worker, str(far_end.fileno()), ",".join(map(str, cores)), server],
            pass_fds=[far_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**_environment(len(cores)), **(environment or {})},
        )
        far_end.close()

    def ask(self, method: str, *args: Any) -> Any:
        """Call a method of the server and wait for what it returns."""
        self.send(method, *args)
        return self.receive()

    def send(self, method: str, *args: Any) -> None:
        """Call a method of the server; :meth:`receive` waits for what it returns."""
        try:
            self._connection.send((method, args))
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> Any:
        """What the method called last returned."""
        try:
            if not self._connection.poll(self._time_limit):
                raise DwfuseError(f"engine {self.engine}: no answer within {self._time_limit:.0f} s")
            status, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if status == "error":
            raise DwfuseError(f"engine {self.engine}: {value}")
        return value

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _ended(self) -> DwfuseError:
        return DwfuseError(f"engine {self.engine}: its process ended: {self._last_words()}")

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"status {status}")


class Client(Remote):
    """An engine that runs a network."""

    def __init__(self, engine: str, cores: Sequence[int], job: Job, time_limit: float = 900.0) -> None:
        """Start the process; :meth:`load` loads the engine."""
        super().__init__(engine, "tvm_dwfuse.bench.worker:NetworkServer", cores, time_limit)
        self._job = job

    def load(self) -> None:
        """Load or compile the network."""
        self.ask("load", self.engine, self._job)

    def outputs(self) -> list[np.ndarray]:
        """The network's outputs."""
        return self.ask("outputs")

    def burst(self, seconds: float, most: int) -> list[float]:
        """Seconds of each timed run: one or more, for about that long, after one untimed run."""
        return self.ask("burst", seconds, most)


def _environment(threads: int) -> dict[str, str]:
    """The same number of threads for every library, and this package importable as it is here."""
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS"), str(threads))
    return {**os.environ, **limits, "TVM_BIND_THREADS": "0", "PYTHONPATH": os.pathsep.join(paths)}
