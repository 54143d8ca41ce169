"""TVM's RPC tracker: which boards there are, and a session on a free one.

``python -m tvm.exec.rpc_tracker --port 9190`` starts a tracker; each board registers with ``python -m
tvm.exec.rpc_server --tracker HOST:9190 --key KEY``. The client in ``tvm.rpc`` waits for ever for an answer; this one
speaks the same protocol (``tvm.rpc.base``) with time limits, and knows the address of the board that it got.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm.rpc import base

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.rpc import parse_address

#: Seconds in which a tracker answers.
_ANSWER_S = 10.0


class NoServer(Exception):
    """No server was free in time."""


@dataclass(frozen=True)
class Lease:
    """A server that a tracker has given to this client: its address, and the key that it expects there."""

    host: str
    port: int
    match_key: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Tracker:
    """A tracker at ``address``, ``HOST:PORT``, and the servers of one key there."""

    def __init__(self, address: str, key: str) -> None:
        """Connect to nothing yet.

        Raises:
            DwfuseError: the address is malformed.
        """
        self.address = address
        self.key = key
        self._place = parse_address(address, "--rpc-tracker")

    def servers(self) -> tuple[int, int]:
        """How many servers of the key there are, and how many of them are free.

        Raises:
            DwfuseError: there is no tracker, or it has no such key.
        """
        summary = self._summary()
        servers = Counter(info["key"].partition(":")[2] for info in summary["server_info"])
        if self.key not in servers:
            known = ", ".join(sorted(servers)) or "none"
            raise DwfuseError(
                f"the RPC tracker at {self.address} has no server of the key {self.key} (it has {known}); register "
                f"one with `python -m tvm.exec.rpc_server --tracker {self.address} --key {self.key}` on the board"
            )
        return servers[self.key], summary["queue_info"].get(self.key, {"free": 0})["free"]

    def has(self, lease: Lease) -> bool:
        """Whether that server is still registered."""
        return [lease.host, lease.port] in [info["addr"] for info in self._summary()["server_info"]]

    def request(self, wait_s: float) -> Lease:
        """A server of the key, as soon as one is free.

        Raises:
            NoServer: none was within ``wait_s`` seconds.
            DwfuseError: there is no tracker.
        """
        with self._connected() as connection:
            base.sendjson(connection, [base.TrackerCode.REQUEST, self.key, "", 1])
            connection.settimeout(wait_s)
            try:
                _, (host, port, match_key) = base.recvjson(connection)
            except TimeoutError:
                raise NoServer from None
        return Lease(host, port, match_key)

    def _summary(self) -> dict[str, Any]:
        with self._connected() as connection:
            base.sendjson(connection, [base.TrackerCode.SUMMARY])
            return base.recvjson(connection)[1]

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        try:
            connection = socket.create_connection(self._place, _ANSWER_S)
        except OSError as error:
            raise self._absent(error.strerror or str(error)) from error
        with connection:
            connection.settimeout(_ANSWER_S)
            magic = struct.pack("<i", base.RPC_TRACKER_MAGIC)
            try:
                connection.sendall(magic)
                answer = base.recvall(connection, len(magic))
            except OSError as error:
                raise self._absent("it does not answer") from error
            if answer != magic:
                raise self._absent("something else listens there")
            yield connection

    def _absent(self, reason: str) -> DwfuseError:
        port = self._place[1]
        return DwfuseError(
            f"no TVM RPC tracker at {self.address} ({reason}); start one there with "
            f"`python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {port}`"
        )
