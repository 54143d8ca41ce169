"""How many threads TVM's pool uses, and on which cores.

TVM sizes its pool when it is first used, from ``TVM_NUM_THREADS`` or else from half the processor's logical cores, and
pins each thread to a core of its own choice even when ``taskset`` gave the process others. Here the pool may grow to
every core of the process's affinity mask, each network uses as many as it was compiled for, and the mask is obeyed.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

from .errors import DwfuseError

#: The most threads that code for another machine may use.
MOST_ELSEWHERE = 64

_configured = threading.local()


def available() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def check(threads: int | None) -> int:
    """``threads``, or every available core for None.

    Raises:
        DwfuseError: the number is not between 1 and :func:`available`.
    """
    cores = available()
    if threads is None:
        return cores
    if not 1 <= threads <= cores:
        raise DwfuseError(f"threads: {threads} asked for, but this process can use 1 to {cores}")
    return threads


def check_elsewhere(threads: int | None) -> int:
    """``threads`` of a network for another machine, whose cores are not known here; 1 for None.

    Raises:
        DwfuseError: the number is not between 1 and :data:`MOST_ELSEWHERE`.
    """
    if threads is None:
        return 1
    if not 1 <= threads <= MOST_ELSEWHERE:
        raise DwfuseError(f"threads: {threads} asked for, but code for another machine can use 1 to {MOST_ELSEWHERE}")
    return threads


def prepare() -> None:
    """Set the environment that TVM reads when its pool starts; what the user set stays."""
    os.environ.setdefault("TVM_NUM_THREADS", str(available()))
    os.environ.setdefault("TVM_BIND_THREADS", "0")


def configure(threads: int) -> None:
    """Make the calling thread's pool use ``threads`` threads from now on; see :func:`size_pool`."""
    if getattr(_configured, "threads", None) == threads:
        return
    prepare()
    import tvm

    size_pool(tvm.get_global_func, threads, "TVM's thread pool", stacklevel=3)
    _configured.threads = threads


def size_pool(function: Callable[[str], Any], threads: int, pool: str, stacklevel: int = 2) -> None:
    """Make the ``pool`` of the runtime whose functions ``function`` gives by name use ``threads`` threads.

    TVM keeps one pool for each thread that calls it, and a started pool never grows: a smaller pool, started by other
    TVM code or capped by ``TVM_NUM_THREADS``, is used as it is, with a warning.
    """
    # Mode 1 prefers the big cores of a processor that has several kinds.
    function("runtime.config_threadpool")(1, threads)
    used = function("runtime.NumThreads")()
    if used != threads:
        warnings.warn(
            f"{pool} has {used} threads, {threads} were asked for: set TVM_NUM_THREADS={threads}",
            stacklevel=stacklevel + 1,
        )
