"""A compiled network in memory: running, timing and profiling it, and saving it as an artifact."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import artifact, threads
from .artifact import Manifest, TensorInfo
from .errors import DwfuseError

Inputs = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Timing:
    """Seconds that each run of a network took."""

    seconds: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The median run."""
        return statistics.median(self.seconds) * 1e3

    @property
    def min_ms(self) -> float:
        """The fastest run."""
        return min(self.seconds) * 1e3


@dataclass(frozen=True)
class OperatorTime:
    """What one operator of a network takes in a run: the sum of its ``calls``, the median over runs."""

    name: str
    calls: int
    median_ms: float


class CompiledNetwork:
    """A network compiled for one target and number of threads; made by ``tvm_dwfuse.compile`` or ``load``."""

    def __init__(self, library: Path, manifest: Manifest, scratch: tempfile.TemporaryDirectory | None = None) -> None:
        """Load ``library``; ``scratch``, when given, is the folder that holds it and lives as long as the network.

        Raises:
            DwfuseError: the library cannot be loaded.
        """
        self.manifest = manifest
        self._library = library
        self._scratch = scratch
        self._load()

    def _load(self) -> None:
        import tvm
        from tvm import relax

        threads.prepare()
        self._tensor = tvm.runtime.tensor
        try:
            self._vm = relax.VirtualMachine(tvm.runtime.load_module(str(self._library)), tvm.cpu())
        except (RuntimeError, AttributeError) as error:
            raise DwfuseError(f"{self._library}: damaged library; compile the model again") from error
        self._main = self._vm["main"]

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape and dtype of each input, in order."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape and dtype of each output, in order."""
        return self.manifest.outputs

    @property
    def fused(self) -> dict[str, int]:
        """The number of fused blocks by variant name; empty when nothing was fused."""
        return self.manifest.fused

    def save(self, folder: str | Path) -> None:
        """Write the artifact ``folder``, all of it or nothing; an artifact already there is replaced.

        Raises:
            DwfuseError: the folder cannot be written, or holds something else.
        """
        artifact.write(Path(folder), self.manifest, self._library)

    def run(self, inputs: Inputs) -> list[np.ndarray]:
        """The outputs, in order, for ``inputs``: an array when there is one input, or arrays by input name.

        Raises:
            DwfuseError: an input is missing, unknown, or of another shape or dtype.
        """
        return self._unpack(self.bind(inputs)())

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """A function that runs the network on ``inputs``, already copied where it reads them; for timing.

        Raises:
            DwfuseError: an input is missing, unknown, or of another shape or dtype.
        """
        tensors = [self._tensor(array) for array in check_inputs(self.inputs, inputs)]
        threads.configure(self.manifest.threads)
        main = self._main
        return lambda: main(*tensors)

    def time(self, inputs: Inputs | None = None, runs: int = 50, warmup: int = 5) -> Timing:
        """Time ``runs`` runs after ``warmup`` untimed ones, on ``inputs`` or else random ones.

        Raises:
            DwfuseError: an input is missing, unknown, or of another shape or dtype.
        """
        call = self.bind(random_inputs(self.inputs) if inputs is None else inputs)
        for _ in range(warmup):
            call()
        return Timing(tuple(_seconds(call) for _ in range(runs)))

    def profile(self, inputs: Inputs | None = None, runs: int = 20) -> list[OperatorTime]:
        """The time of each operator, slowest first, on ``inputs`` or else random ones.

        Raises:
            DwfuseError: an input is missing, unknown, or of another shape or dtype.
        """
        call = self.bind(random_inputs(self.inputs) if inputs is None else inputs)
        call()
        instrument = _Instrument()
        self._vm.set_instrument(instrument)
        try:
            for _ in range(runs):
                instrument.start_run()
                call()
        finally:
            self._vm.set_instrument(None)
        return instrument.summary()

    def _unpack(self, result: Any) -> list[np.ndarray]:
        fields = result if len(self.outputs) > 1 or not hasattr(result, "numpy") else [result]
        return [field.numpy() for field in fields]


class _Instrument:
    """Called by the Relax VM before and after each call instruction."""

    def __init__(self) -> None:
        self.runs: list[dict[str, list[float]]] = []
        self._started: list[float] = []

    def start_run(self) -> None:
        self.runs.append({})

    def __call__(self, function: Any, name: str, before_run: bool, result: Any, *args: Any) -> None:
        if before_run:
            self._started.append(time.perf_counter())
            return
        elapsed = time.perf_counter() - self._started.pop()
        self.runs[-1].setdefault(str(name), []).append(elapsed)

    def summary(self) -> list[OperatorTime]:
        rows = [
            OperatorTime(name, len(calls), statistics.median(sum(run.get(name, ())) for run in self.runs) * 1e3)
            for name, calls in self.runs[0].items()
        ]
        return sorted(rows, key=lambda row: -row.median_ms)


def check_inputs(expected: Sequence[TensorInfo], inputs: Inputs) -> list[np.ndarray]:
    """The arrays of ``inputs`` in the order of ``expected``, contiguous.

    Raises:
        DwfuseError: an input is missing, unknown, or of another shape or dtype.
    """
    if not isinstance(inputs, Mapping):
        if len(expected) != 1:
            raise DwfuseError(f"one array given, {len(expected)} inputs expected: {', '.join(map(str, expected))}")
        inputs = {expected[0].name: inputs}
    known = [info.name for info in expected]
    unknown = [name for name in inputs if name not in known]
    if unknown:
        raise DwfuseError(f"input {unknown[0]!r}: the network has no such input; it has {', '.join(known)}")
    return [_check_input(info, inputs) for info in expected]


def random_inputs(expected: Sequence[TensorInfo], seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded arrays for the inputs ``expected``: standard normal, or zeros for an integer dtype."""
    generator = np.random.default_rng(seed)
    return {
        info.name: generator.standard_normal(info.shape).astype(info.dtype)
        if np.issubdtype(np.dtype(info.dtype), np.floating)
        else np.zeros(info.shape, info.dtype)
        for info in expected
    }


def _check_input(info: TensorInfo, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    if info.name not in inputs:
        raise DwfuseError(f"input {info.name!r}: missing; expected {info}")
    array = np.asarray(inputs[info.name])
    if array.shape != info.shape:
        raise DwfuseError(f"input {info.name!r}: shape {list(array.shape)} given, {list(info.shape)} expected")
    if array.dtype != np.dtype(info.dtype):
        raise DwfuseError(f"input {info.name!r}: dtype {array.dtype} given, {info.dtype} expected")
    return np.ascontiguousarray(array)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
