"""A process that measures, seen from the process that tunes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import psutil

from tvm_dwfuse.errors import DwfuseError

from .failure import Failure

#: Seconds that a process has to start and import TVM.
START_LIMIT_S = 120.0

#: What :meth:`Child.receive` returns when the process is ready to work on what was sent.
NOT_YET = object()


class Child:
    """A server object in a process of its own, which with all that it starts is a process group.

    Args:
        folder: for its temporary files: it is killed, and cannot remove them itself.
        make: makes the server there, a function or class of a module.
        arguments: what ``make`` is called with.
    """

    def __init__(self, folder: str, make: Callable[..., object], *arguments: object) -> None:
        """Start the process, and do not wait for it."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.connection, far_end = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tvm_dwfuse.tuning.measure.worker", str(far_end.fileno())],
            pass_fds=[far_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**_environment(), "TMPDIR": folder},
            start_new_session=True,
        )
        far_end.close()
        self._ready = False
        self._doing = ""
        self._limit_s = self._total_s = 0.0
        self.deadline = 0.0
        self.connection.send((make, arguments))

    @property
    def ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self.connection.closed

    def ask(self, method: str, args: tuple[Any, ...], limit_s: float) -> Any:
        """Call a method of the server and wait for what it returns; see :meth:`send` and :meth:`receive`."""
        self.send(method, args, limit_s)
        while True:
            if not self.connection.poll(max(0.0, self.deadline - time.monotonic())):
                raise self.expire()
            if (value := self.receive()) is not NOT_YET:
                return value

    def send(self, method: str, args: tuple[Any, ...], limit_s: float, waiting_s: float = 0.0) -> None:
        """Call a method of the server. :meth:`receive` has what it returns, by :attr:`deadline` on the monotonic clock.

        ``waiting_s`` are seconds that it may take besides, for what is no part of the candidate.
        """
        self._doing, self._limit_s, self._total_s = method, limit_s, limit_s + waiting_s
        self.deadline = time.monotonic() + (self._total_s if self._ready else START_LIMIT_S)
        with suppress(OSError):  # a process that has ended is told by receive
            self.connection.send((method, args, self._total_s))

    def receive(self) -> Any:
        """What the method returned, or :data:`NOT_YET`.

        Raises:
            Failure: the candidate failed; where it ended the process, :attr:`ended` is true from now on.
            DwfuseError: nothing can be measured, or the process cannot start.
        """
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            raise self._end() from None
        self._ready = True
        if kind == "ready":
            self.deadline = time.monotonic() + self._total_s
            return NOT_YET
        if kind == "unable":
            raise DwfuseError(value)
        if kind == "failure":
            raise Failure(value)
        return value

    def expire(self) -> Failure:
        """End the process at the deadline; returns the failure to tell."""
        self.close()
        return Failure(f"timeout: the {self._doing} took longer than {self._limit_s:g} s")

    def close(self) -> None:
        """Kill the process and all that it started, what runs in a session of its own included."""
        self.connection.close()
        with suppress(psutil.NoSuchProcess):
            for started in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    started.kill()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _end(self) -> Exception:
        """What to raise now that the process has ended."""
        status, words = self._process.wait(), self._last_words()
        self.close()
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        if not self._ready:
            return DwfuseError(f"the process that measures does not start ({how}): {words}")
        return Failure(f"crash: the {self._doing} ended the process with {how}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _environment() -> dict[str, str]:
    """This package importable as it is here, and libraries kept from starting threads of their own."""
    package_root = str(Path(__file__).resolve().parents[3])
    paths = dict.fromkeys([package_root, *filter(None, sys.path)])
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths)}
