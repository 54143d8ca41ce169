"""Zoo networks compiled for other machines, their C libraries run under qemu and compared with the host's outputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tvm_dwfuse import artifact, zoo
from tvm_dwfuse.api import OnPhase, compile
from tvm_dwfuse.cross_network import load_cross
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.network import random_inputs
from tvm_dwfuse.report import text_table

#: Largest difference from the host's outputs, of their range.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class CrossBuild:
    """An artifact that was built: seconds to compile, bytes, fused blocks, and the error where it was checked."""

    model: str
    target: str
    compile_s: float
    library_bytes: int
    c_library_bytes: int
    fused: int
    error: float | None


class ZooNetwork:
    """A network of the zoo, with an input and the outputs that the host computes for it."""

    def __init__(self, name: str) -> None:
        """Build the network.

        Raises:
            DwfuseError: there is no such network.
        """
        self.name = name
        self.model: onnx.ModelProto = zoo.build(name)
        self._example: tuple[dict[str, np.ndarray], list[np.ndarray]] | None = None

    def build(self, target: str, folder: Path, threads: int, check: bool, on_phase: OnPhase) -> CrossBuild:
        """Compile the network for ``target`` to the artifact ``folder``, and check it there.

        Args:
            target: a name of ``tvm_dwfuse.targets.ARMV8_TARGETS``.
            folder: to write.
            threads: that a run uses.
            check: run the artifact under qemu and compare with the host.
            on_phase: called with the name of each phase as it begins.

        Raises:
            DwfuseError: it cannot be compiled or run, or its outputs differ by more than :data:`TOLERANCE`.
        """
        artifact.check_destination(folder)
        start = time.perf_counter()
        network = compile(self.model, target, threads, on_phase=on_phase)
        network.save(folder)
        seconds = time.perf_counter() - start
        c_library = folder / artifact.C_LIBRARY
        return CrossBuild(
            model=self.name,
            target=target,
            compile_s=seconds,
            library_bytes=(folder / artifact.LIBRARY).stat().st_size,
            c_library_bytes=sum(path.stat().st_size for path in c_library.glob("*.a")),
            fused=sum(network.fused.values()),
            error=self._error(folder, on_phase) if check else None,
        )

    def _error(self, folder: Path, on_phase: OnPhase) -> float:
        inputs, expected = self._host_example(on_phase)
        on_phase("run under qemu")
        error = float(np.max([*map(_relative_error, load_cross(folder).run(inputs), expected)]))
        if not error <= TOLERANCE:
            raise DwfuseError(f"{folder}: outputs differ from the host's by {error:.1e} of their range")
        return error

    def _host_example(self, on_phase: OnPhase) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        if self._example is None:
            on_phase("run on the host")
            network = compile(self.model, threads=1)
            inputs = random_inputs(network.inputs)
            self._example = inputs, network.run(inputs)
        return self._example


def cross_builds_table(builds: Sequence[CrossBuild]) -> str:
    """One row an artifact; the error is of the range of the outputs."""
    header = ("network", "target", "compile s", "network.so KiB", "C library KiB", "fused", "error")
    rows = [
        (
            build.model,
            build.target,
            f"{build.compile_s:.1f}",
            f"{build.library_bytes / 1024:,.0f}",
            f"{build.c_library_bytes / 1024:,.0f}",
            str(build.fused),
            "-" if build.error is None else f"{build.error:.1e}",
        )
        for build in builds
    ]
    return text_table(header, rows)


def _relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, of the range of ``expected``; not a number where a value is not."""
    difference = np.abs(actual.astype(np.float64) - expected).max()
    return difference / max(np.ptp(expected.astype(np.float64)), np.finfo(np.float32).tiny)
