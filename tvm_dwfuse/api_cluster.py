"""The typed calls for clusters: compile a quantized network to an application, load one, run it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cluster_artifact
from .artifact import TensorInfo, check_destination
from .cluster_artifact import ClusterManifest
from .errors import DwfuseError

if TYPE_CHECKING:
    from .api import OnPhase
    from .choice import Front
    from .choice.pareto_front import OnPlace
    from .codegen_gap8.build import Model, Shapes

#: Where an application can run; each is a module of :mod:`tvm_dwfuse.runners`.
RUNNERS = ("host", "rv32", "gvsoc")


@dataclass(frozen=True)
class ClusterRun:
    """What a run gave: the output, what it took in ``unit``, and the bytes moved by kind and direction."""

    output: np.ndarray
    ticks: int
    unit: str
    counters: dict[str, int]


class ClusterNetwork:
    """An application for a cluster in a folder."""

    def __init__(self, folder: Path, manifest: ClusterManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def input(self) -> TensorInfo:
        """The input as the ONNX file has it."""
        return self.manifest.input.info

    @property
    def output(self) -> TensorInfo:
        """The output as the ONNX file has it."""
        return self.manifest.output.info

    @property
    def fused(self) -> dict[str, int]:
        """Number of fused blocks by variant."""
        return self.manifest.fused

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a run."""
        return self.manifest.macs

    @property
    def cycles(self) -> int:
        """Cycles of a run by the model."""
        return self.manifest.cycles

    def run(self, x: np.ndarray, runner: str = "host", dequantize: bool = True, check: bool = False) -> ClusterRun:
        """Build the application's sources for ``runner`` and run them once.

        Args:
            x: the input in the shape and dtype of :attr:`input`, which is quantized, or uint8 as the network stores
                it; an image may also have its channels last.
            runner: one of :data:`RUNNERS`.
            dequantize: give the output in the dtype of :attr:`output`; else uint8 as the network stores it.
            check: compare each layer's output with the golden one, which is that of the example input.

        Raises:
            DwfuseError: the input has another shape or dtype, the runner does not exist or misses a tool, or the
                program cannot be built, fails, or takes too long.
        """
        run = _runner(runner)
        result = run(self.folder, self.manifest.input.to_stored(x).tobytes(), check=check)
        output = self.manifest.output.from_stored(result.outputs["output"], dequantize)
        return ClusterRun(output, result.ticks, result.unit, result.counters)

    def check(self, runner: str = "host") -> ClusterRun:
        """Run the example input, each layer's output compared with the golden one, and the bytes with those planned.

        Raises:
            DwfuseError: an output differs, named by its layer, or the bytes moved do; and see :meth:`run`.
        """
        shape = self.manifest.input.activation
        data = np.fromfile(self.folder / "input.bin", np.uint8).reshape(shape.height, shape.width, shape.channels)
        result = self.run(data, runner, check=True)
        if result.counters["checked"] < len(self.manifest.groups):
            raise DwfuseError(f"{self.folder}: only {result.counters['checked']} layers were checked; compile again")
        planned = self.manifest.counters
        wrong = [name for name, value in planned.items() if result.counters.get(name) != value]
        if wrong and runner != "gvsoc":  # which counts with -DDWFUSE_PROFILE only
            name = wrong[0]
            raise DwfuseError(
                f"{self.folder}: {name}: {result.counters.get(name)} bytes moved, {planned[name]} planned"
            )
        return result


def compile_application(
    model: Model,
    folder: str | Path,
    shapes: Shapes | None = None,
    on_phase: OnPhase | None = None,
    db: str | Path | None = None,
    **options: Any,
) -> ClusterNetwork:
    """Compile a quantized network for a cluster and write its application.

    Args:
        model: path of a quantized ONNX file, or an ``onnx.ModelProto``.
        folder: to write.
        shapes: shapes by input name, for inputs with dimensions left open.
        on_phase: called with the name of each phase as it begins.
        db: work-dir of ``dwfuse tune``, whose plans go before those that the package ships.
        options: fields of :class:`~tvm_dwfuse.cluster_options.ClusterOptions`: target, objective, variant, l1_bytes,
            double_buffer.

    Raises:
        DwfuseError: see :func:`tvm_dwfuse.codegen_gap8.build.build_application`; or an option is not legal, or ``db``
            is no tuning database.
    """
    from .cluster_options import ClusterOptions

    folder = Path(folder)
    check_destination(folder)
    chosen = ClusterOptions().updated(options)
    from .codegen_gap8.build import build_application
    from .tuning.cluster_records import ClusterRecords

    tuned = ClusterRecords.open(Path(db) if db else None)
    return ClusterNetwork(folder, build_application(model, folder, chosen, shapes, on_phase, tuned=tuned))


def pareto_front(
    model: Model,
    shapes: Shapes | None = None,
    on_phase: OnPhase | None = None,
    on_place: OnPlace | None = None,
    **options: Any,
) -> Front:
    """All plans of a quantized network that may be the best for somebody; see :mod:`tvm_dwfuse.cluster_front`.

    Args:
        model, shapes, on_phase, options: see :func:`compile_application`.
        on_place: called with the number of places of the network that are done, and of all.

    Raises:
        DwfuseError: see :func:`tvm_dwfuse.codegen_gap8.build.build_application`; or an option is not legal.
    """
    from .cluster_front import cluster_front
    from .cluster_options import ClusterOptions

    chosen = ClusterOptions().updated(options)
    from .codegen_gap8.build import PHASES, import_network

    report = on_phase or (lambda phase: None)
    report(PHASES[0])
    network = import_network(model, shapes)
    report(PHASES[1])
    return cluster_front(network, chosen, on_place)


def load_application(folder: str | Path) -> ClusterNetwork:
    """The application in ``folder``.

    Raises:
        DwfuseError: there is none, or it was made by another version.
    """
    folder = Path(folder)
    return ClusterNetwork(folder, cluster_artifact.read(folder))


def _runner(name: str) -> Any:
    if name not in RUNNERS:
        raise DwfuseError(f"unknown runner {name!r}; known: {', '.join(RUNNERS)}")
    return import_module(f".runners.{name}", __package__).run
