"""Running an artifact on another machine, through the RPC server of TVM that listens there.

``python -m tvm.exec.rpc_server --port 9090`` starts one. It runs whatever is sent to it, so it belongs in a network
that is trusted.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from . import artifact
from .artifact import TensorInfo
from .errors import DwfuseError
from .network import Inputs, Timing, check_inputs, random_inputs
from .threads import size_pool

CONNECT_LIMIT_S = 10
#: The server ends a session after so many seconds.
SESSION_LIMIT_S = 600


class RemoteNetwork:
    """An artifact that is loaded on a server and runs there, until :meth:`close` or the end of a ``with`` block."""

    def __init__(self, folder: str | Path, address: str) -> None:
        """Send the artifact ``folder`` to the RPC server at ``address``, which is ``HOST:PORT``.

        Raises:
            DwfuseError: not an artifact; or the address is malformed, no RPC server answers there within
                :data:`CONNECT_LIMIT_S` seconds, or it cannot load the library, being another architecture say.
        """
        folder = Path(folder)
        self.address = address
        self.manifest = artifact.read(folder)
        self._session: Any = _connect(address)
        with self._told("cannot load the network"):
            self._check_arch(folder)
            self._machine = self._load(folder / artifact.LIBRARY)

    def __enter__(self) -> RemoteNetwork:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape and dtype of each input, in order."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape and dtype of each output, in order."""
        return self.manifest.outputs

    def run(self, inputs: Inputs) -> list[np.ndarray]:
        """The outputs, in order, for ``inputs``: an array when there is one input, or arrays by input name.

        Raises:
            DwfuseError: an input is missing, unknown, or of another shape or dtype; or the server fails.
        """
        arrays = check_inputs(self.inputs, inputs)
        with self._told("failed"):
            self._machine.set_input("main", *self._send(arrays))
            self._machine.invoke_stateful("main")
            return [result.numpy() for result in self._results()]

    def time(self, inputs: Inputs | None = None, runs: int = 10) -> Timing:
        """Time ``runs`` runs by the server's clock after an untimed one, on ``inputs`` or else random ones.

        Raises:
            DwfuseError: see :meth:`run`.
        """
        arrays = check_inputs(self.inputs, random_inputs(self.inputs) if inputs is None else inputs)
        with self._told("failed"):
            self._machine.save_function("main", "timed", *self._send(arrays), include_return=False)
            evaluate = self._machine.time_evaluator("timed", self._session.cpu(), number=1, repeat=runs)
            return Timing(tuple(evaluate().results))

    def close(self) -> None:
        """End the session; the server forgets the network."""
        self._machine = self._session = None

    def _results(self) -> list[Any]:
        # VirtualMachine.get_outputs leaves a reference cycle, which keeps the session open until it is collected.
        arity, get = (self._machine.module[name] for name in ("get_output_arity", "get_output"))
        count = arity("main")
        return [get("main")] if count < 0 else [get("main", index) for index in range(count)]

    def _send(self, arrays: list[np.ndarray]) -> list[Any]:
        import tvm

        return [tvm.runtime.tensor(array, self._session.cpu()) for array in arrays]

    def _check_arch(self, folder: Path) -> None:
        """Refuse a server of another architecture, where it tells its own."""
        arch, target = server_arch(self._session), self.manifest.target
        if arch and arch != target.arch:
            raise DwfuseError(f"{folder}: compiled for {target.arch}, the machine at {self.address} is {arch}")

    def _load(self, library: Path) -> Any:
        from tvm import relax

        self._session.upload(str(library))
        size_pool(self._session.get_function, self.manifest.threads, f"the pool of the RPC server at {self.address}")
        return relax.VirtualMachine(self._session.load_module(library.name), self._session.cpu())

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say in one line what a server's failure was, and which TVM it should have."""
        try:
            yield
        except (RuntimeError, AttributeError, OSError) as error:
            raise DwfuseError(
                f"RPC server at {self.address} {what}: {reason_of(error)}; it needs TVM {self.manifest.tvm} and a CPU "
                f"with the instructions of {self.manifest.target.mcpu}"
            ) from error


def parse_address(text: str, option: str = "--rpc") -> tuple[str, int]:
    """``"board:9090"`` as ``("board", 9090)``; an IPv6 address stands in brackets. Errors name the ``option``.

    Raises:
        DwfuseError: the text is not of that form.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise DwfuseError(f"{option} {text}: expected HOST:PORT, such as 192.168.1.7:9090")
    return host, int(port)


def server_arch(session: Any) -> str:
    """The architecture of the machine at the other end of a session, such as "aarch64"; "" where its TVM has no LLVM
    to ask.
    """
    try:
        return session.get_function("target.llvm_get_system_triple")().partition("-")[0]
    except AttributeError:
        return ""


def _connect(address: str) -> Any:
    """A session of the server there. TVM waits for an answer for ever, and so is called on a thread that may be left.

    Raises:
        DwfuseError: the address is malformed, there is no RPC server, or none that answers in time.
    """
    import tvm.rpc

    host, port = parse_address(address)
    sessions: list[Any] = []
    reasons: list[str] = []

    def connect() -> None:
        try:
            sessions.append(tvm.rpc.connect(host, port, session_timeout=SESSION_LIMIT_S))
        except (RuntimeError, OSError) as error:
            reasons.append(reason_of(error))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_LIMIT_S)
    if sessions:
        return sessions[0]
    reason = reasons[0] if reasons else f"no answer within {CONNECT_LIMIT_S} s; it may be busy with another session"
    raise DwfuseError(
        f"no TVM RPC server at {address} ({reason}); start one there with "
        f"`python -m tvm.exec.rpc_server --port {port} --port-end {port + 1}`"
    )


def reason_of(error: Exception) -> str:
    """What an error of TVM's RPC says, without the C++ condition that it quotes."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    if re.search("RPCCode::kReturn|reset by peer|Broken pipe", text):
        return "it closed the connection"
    return text.rpartition(") is false: ")[2]
