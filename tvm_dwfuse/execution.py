"""Running an artifact where it can run: in this process, under an emulator, or on a board."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import artifact
from .artifact import TensorInfo
from .files import read_inputs
from .network import CompiledNetwork, Timing

if TYPE_CHECKING:
    from .rpc import RemoteNetwork

#: Timed runs on a board, where nothing else is asked for.
REMOTE_RUNS = 10


@dataclass(frozen=True)
class Execution:
    """What a run gave, and ``where`` it was, in words; times of further runs where they were asked for."""

    infos: tuple[TensorInfo, ...]
    outputs: list[np.ndarray]
    where: str
    timing: Timing | None

    @property
    def summary(self) -> str:
        """Where it ran, and how long it took: one line."""
        if self.timing is None:
            return f"ran {self.where}"
        return f"ran {self.where}: median {self.timing.median_ms:.3f} ms of {len(self.timing.seconds)} runs"


def run_artifact(folder: Path, inputs: Sequence[str], rpc: str | None = None, runs: int | None = None) -> Execution:
    """Run the artifact ``folder`` once, and ``runs`` more times for timing.

    An artifact for this machine's architecture runs in this process, one that was cross-compiled under qemu; with
    ``rpc``, ``HOST:PORT``, either runs on the machine whose RPC server listens there, and is timed there.

    Args:
        folder: the artifact.
        inputs: ``[NAME=]FILE.npy`` texts.
        rpc: address of an RPC server.
        runs: timed runs; None for :data:`REMOTE_RUNS` on a board, and else for none.

    Raises:
        DwfuseError: the artifact cannot be loaded, or not run where it is asked to; an input does not fit; or times are
            asked of an emulator.
    """
    if runs is None and rpc is not None:
        runs = REMOTE_RUNS
    with _opened(folder, rpc) as (network, where):
        arrays = read_inputs(inputs, network.inputs)
        timing = network.time(arrays, runs) if runs else None  # first: under an emulator it is refused at once
        return Execution(network.outputs, network.run(arrays), where, timing)


@contextmanager
def _opened(folder: Path, rpc: str | None) -> Iterator[tuple[CompiledNetwork | RemoteNetwork, str]]:
    """The network in ``folder``, and where it will run."""
    if rpc is not None:
        from .rpc import RemoteNetwork

        with RemoteNetwork(folder, rpc) as remote:
            yield remote, f"on {rpc} by TVM's RPC"
        return
    from . import api
    from .cross_network import load_cross

    target = artifact.read(folder).target
    if target.triple and target.arch != platform.machine():
        yield load_cross(folder), f"under qemu-{target.arch}, as the C library's example program"
        return
    yield api.load(folder), "on this machine"
