"""The far end of a :class:`~tvm_dwfuse.tuning.measure.child.Child`: ``python -m tvm_dwfuse.tuning.measure.worker FD``.

The first message is a class and its arguments; each one after that is a method's name, its arguments and how many
seconds it may take. Replies are ``("ready", None)``, ``("ok", value)``, ``("failure", error of a measurement)`` and
``("unable", one line)`` where nothing can be measured at all.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tvm_dwfuse.errors import DwfuseError

from .failure import Failure, first_line

#: The near end kills this process at a time limit. Where that one is gone, this one ends itself, so much later.
_GRACE_S = 5.0


def serve(connection: Connection) -> None:
    """Answer messages until the other end closes."""
    make, arguments = connection.recv()
    server = make(*arguments)
    gc.freeze()  # collecting the cycles that a kernel leaves is quick when it passes over all of TVM
    connection.send(("ready", None))
    while True:
        method, args, limit_s = connection.recv()
        signal.setitimer(signal.ITIMER_REAL, limit_s + _GRACE_S)
        reply = _reply(getattr(server, method), args)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(reply)


def _reply(method: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, Any]:
    kind = "build: " if method.__name__ == "build" else "crash: "
    try:
        return "ok", method(*args)
    except Failure as error:
        return "failure", str(error)
    except DwfuseError as error:
        return "unable", str(error)
    except Exception as error:  # whatever a candidate raises is an answer, not the end of the process
        return "failure", kind + first_line(error)


if __name__ == "__main__":
    # tvm_ffi would import PyTorch where it is installed, to share tensors with it: as much again as all other imports.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        serve(Connection(int(sys.argv[1])))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)
