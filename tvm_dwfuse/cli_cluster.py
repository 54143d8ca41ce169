"""What the commands do for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .report import fused_line
from .terminal import phases, progress_bar

if TYPE_CHECKING:
    from .api_cluster import ClusterRun


def compile_for_cluster(
    model: Path, output: Path, shapes: dict[str, tuple[int, ...]] | None, options: dict[str, Any]
) -> None:
    """Compile a quantized network and tell what came out."""
    from . import api_cluster

    with phases() as on_phase:
        network = api_cluster.compile_application(model, output, shapes=shapes, on_phase=on_phase, **options)
    typer.echo(fused_line(network.fused) if network.fused else "fused blocks: none")
    typer.echo(f"{network.macs:,} multiply-accumulates in {network.cycles:,} cycles by the model")
    typer.echo(f"wrote {output}")


def print_front(model: Path, target: str, shape: list[str] | None) -> None:
    """Print the plans among which none is the best in everything."""
    from . import api_cluster
    from .cluster_front import front_text
    from .files import parse_shapes

    with progress_bar() as progress:
        found = api_cluster.pareto_front(
            model,
            parse_shapes(shape),
            on_phase=lambda phase: progress(phase, 0, 1),
            on_place=lambda done, places: progress("find the front", done, places),
            target=target,
        )
    typer.echo(front_text(model.stem, found))


def run_on_cluster(folder: Path, inputs: list[str], output: Path, runner: str, dequantize: bool) -> None:
    """Run an application, write its output, and tell what it took."""
    from . import api_cluster
    from .files import read_arrays, write_outputs

    network = api_cluster.load_application(folder)
    (array,) = read_arrays(inputs, [network.input]).values()
    result = network.run(array, runner, dequantize)
    write_outputs(output, [network.output], [result.output])
    typer.echo(f"{network.output.name} {result.output.dtype}{list(result.output.shape)} -> {output}")
    typer.echo(f"{result.ticks:,} {result.unit} on {runner}{_model_error(network.cycles, result)}")


def _model_error(predicted: int, result: ClusterRun) -> str:
    """How far the cost model is off, where a simulator knows better."""
    if result.unit != "cycles":
        return ""
    return f"; the cost model said {predicted:,}, {100 * (predicted / result.ticks - 1):+.1f}%"


def explain_cluster(folder: Path) -> None:
    """Print what was chosen for each group of an application."""
    from .cluster_artifact import read
    from .cluster_report import manifest_text

    typer.echo(manifest_text(read(folder)))
