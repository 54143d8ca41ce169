"""The command line: parses options and calls the functions of the package; everything else is done there."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__, terminal
from .cli_cluster import compile_for_cluster, explain_cluster, print_front, run_on_cluster
from .errors import DwfuseError
from .report import fused_line
from .terminal import phases, progress_bar, stopped_in_one_line, told_in_one_line, tuning_bar

if TYPE_CHECKING:
    from .api import Explanation

app = typer.Typer(
    help="Fused depthwise-separable convolutions for Apache TVM: ONNX in, a fast network out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
zoo_app = typer.Typer(
    help="Networks that can be built here as ONNX files.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(zoo_app, name="zoo")

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="ONNX file.")]
TargetOption = Annotated[
    str, typer.Option(help="Machine to compile for: host, x86-64-v3 (AVX2), an Arm core such as cortex-a72, or gap8.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(help="Threads that a run uses; every available core by default, 1 when cross-compiling.")
]
ShapeOption = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME:D0,D1,...", help="Shape of an input with open dimensions.")
]
VariantOption = Annotated[
    str | None, typer.Option(help="Use this fused variant wherever it applies; none fuses nothing on clusters.")
]
DbOption = Annotated[
    Path | None, typer.Option("--db", help="Work-dir of `dwfuse tune`: its records go before those of the package.")
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option(help="What to minimise: latency, the default, traffic, energy, memory, or latency=1,traffic=0.2."),
]
TunedOption = Annotated[
    bool, typer.Option("--tuned/--no-tuned", help="Use records of tuning; else defaults and a fixed rule (CPUs).")
]
MemoryOption = Annotated[
    int | None, typer.Option("--memory-limit", min=1, help="Bytes of activations alive at once (CPUs).")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dwfuse {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the traceback of an error too.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options that stand before the command."""
    terminal.verbose = verbose
    warnings.showwarning = terminal.warn_in_one_line


@zoo_app.command("list")
@told_in_one_line
def zoo_list() -> None:
    """Print the names of the networks."""
    from . import zoo

    for name in zoo.names():
        typer.echo(name)


@zoo_app.command("export")
@told_in_one_line
def zoo_export(
    name: Annotated[str, typer.Argument(help="A name as `dwfuse zoo list` prints it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    batch: Annotated[int, typer.Option(min=1, help="Batch size.")] = 1,
    open_batch: Annotated[bool, typer.Option("--open-batch", help="Leave the batch dimension symbolic.")] = False,
    opset: Annotated[int | None, typer.Option(help="ONNX opset.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Build a network and write it as an ONNX file."""
    from . import zoo
    from .files import check_writable, write_onnx

    check_writable(output)
    chosen = {} if opset is None else {"opset": opset}
    write_onnx(output, zoo.build(name, batch=None if open_batch else batch, seed=seed, **chosen))
    typer.echo(f"wrote {output}")


@app.command()
@told_in_one_line
def quantize(
    model: ModelArgument,
    calibration: Annotated[
        Path, typer.Option(metavar="DATA.npz", help="Inputs to calibrate with: an array of images for each input name.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
) -> None:
    """Quantize a network to 8 bits with onnxruntime, for targets that compute in integers."""
    from .quantize import quantize as quantize_network

    with progress_bar() as progress:
        found = quantize_network(model, calibration, output, on_progress=progress)
    typer.echo(f"{found.exact} of {found.layers} layers with weights agree with ONNX Runtime exactly")
    typer.echo(f"wrote {output}")


@app.command()
@told_in_one_line
def compile(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Artifact folder to write.")],
    target: TargetOption = "host",
    threads: ThreadsOption = None,
    shape: ShapeOption = None,
    variant: VariantOption = None,
    fuse: Annotated[bool, typer.Option("--fuse/--no-fuse", help="Fuse separable blocks (CPUs).")] = True,
    c_library: Annotated[
        bool, typer.Option("--c-library/--no-c-library", help="Write a plain C library too (ARMv8 cores).")
    ] = True,
    objective: ObjectiveOption = None,
    db: DbOption = None,
    tuned: TunedOption = True,
    memory_limit: MemoryOption = None,
    l1: Annotated[int | None, typer.Option("--l1", help="Bytes of L1 that data may take (clusters).")] = None,
    double_buffer: Annotated[
        bool, typer.Option("--double-buffer/--no-double-buffer", help="Transfer while computing (clusters).")
    ] = True,
) -> None:
    """Compile a network and write an artifact folder, or for a cluster the folder of an application.

    Targets: host; ARMv8 cores cortex-a53, cortex-a55, cortex-a57, cortex-a72, cortex-a76, neoverse-n1, neoverse-v1,
    thunderx2, kunpeng-920, apple-m1, and armv8-a for any of them; clusters gap8 and pulp-open.

    For an ARMv8 core the folder holds a library for the TVM runtime of 64-bit Arm Linux, and in c/ the network as a
    plain C library with an example program.
    """
    from . import artifact
    from .files import parse_shapes

    artifact.check_destination(output)
    shapes = parse_shapes(shape)
    cpu_only = {"--threads": threads, "--no-fuse": not fuse or None, "--no-c-library": not c_library or None}
    cpu_only |= {"--no-tuned": not tuned or None, "--memory-limit": memory_limit}
    cluster_only = {"--l1": l1, "--no-double-buffer": not double_buffer or None}
    if _is_cluster(target):
        _refuse(target, cpu_only)
        asked = {"target": target, "objective": objective, "variant": variant, "l1_bytes": l1, "db": db}
        given = {name: value for name, value in asked.items() if value is not None}
        compile_for_cluster(model, output, shapes, {**given, "double_buffer": double_buffer})
        return
    _refuse(target, cluster_only)
    if target == "host":
        _refuse(target, {"--no-c-library": not c_library or None})
    from . import api

    with phases() as on_phase:
        network = api.compile(
            model,
            target,
            threads,
            shapes,
            fuse,
            variant,
            c_library,
            on_phase,
            db=db,
            objective=objective,
            tuned=tuned,
            memory_limit=memory_limit,
        )
        network.save(output)
    typer.echo(fused_line(network.fused) if fuse else "fusing was switched off")
    if network.manifest.choice:
        typer.echo(network.manifest.choice.summary())
    typer.echo(f"wrote {output}")


@app.command()
@told_in_one_line
def run(
    folder: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Artifact folder.")],
    input: Annotated[
        list[str], typer.Option("--input", metavar="[NAME=]FILE.npy", help="Input array; once for each input.")
    ],
    output: Annotated[Path, typer.Option("--output", help="File to write: .npy, or .npz for several outputs.")],
    rpc: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Run, and time, on the machine of this TVM RPC server.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(min=1, help="Time so many further runs; 10 by default with --rpc, else none.")
    ] = None,
    runner: Annotated[
        str | None, typer.Option(help="Where to run a cluster's application: host, rv32 or gvsoc; host by default.")
    ] = None,
    dequantize: Annotated[
        bool,
        typer.Option("--dequantize/--no-dequantize", help="Write a cluster's output as real numbers, or as uint8."),
    ] = True,
) -> None:
    """Run an artifact on inputs from .npy files.

    An artifact for an ARMv8 core runs under qemu where this machine is no Arm, or on a board with --rpc.

    An application for a cluster takes real numbers as its ONNX file does, and quantizes them; uint8 it takes as it is.
    """
    from .artifact import is_application
    from .execution import run_artifact
    from .files import check_writable, write_outputs

    check_writable(output)
    if is_application(folder):
        _refuse("a cluster's application", {"--rpc": rpc, "--runs": runs})
        run_on_cluster(folder, input, output, runner or "host", dequantize)
        return
    _refuse("a CPU's artifact", {"--runner": runner, "--no-dequantize": not dequantize or None})
    result = run_artifact(folder, input, rpc, runs)
    write_outputs(output, result.infos, result.outputs)
    for info in result.infos:
        typer.echo(f"{info} -> {output}")
    typer.echo(result.summary)


@app.command()
@told_in_one_line
def bench(
    model: ModelArgument,
    target: TargetOption = "host",
    threads: ThreadsOption = None,
    against: Annotated[
        str, typer.Option(help="Engines to compare with, by commas: onnxruntime, openvino, torch, tvm.")
    ] = "onnxruntime,openvino",
    json: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each engine takes.")] = 15,
    shape: ShapeOption = None,
    input: Annotated[
        list[str] | None, typer.Option("--input", metavar="[NAME=]FILE.npy", help="Input array; random by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random input.")] = 0,
) -> None:
    """Time a network, fused and unfused, interleaved with other engines."""
    from .bench import OURS, PEERS, Plan, benchmark
    from .files import check_writable, model_inputs, parse_names, parse_shapes, read_inputs, write_text
    from .network import random_inputs
    from .targets import get_cpu
    from .threads import check

    if get_cpu(target).triple:
        raise DwfuseError(f"target {target!r}: not this machine; compile for it, and `dwfuse run --rpc` times it there")
    if json:
        check_writable(json)
    peers = parse_names("--against", against, PEERS)
    expected = model_inputs(model, parse_shapes(shape))
    arrays = read_inputs(input, expected) if input else random_inputs(expected, seed)
    with progress_bar() as progress:
        result = benchmark(model, [*OURS, *peers], arrays, target, check(threads), Plan(rounds=rounds), progress)
    typer.echo(result.to_text())
    if json:
        write_text(json, result.to_json())


@app.command()
@told_in_one_line
def tune(
    model: Annotated[list[Path], typer.Argument(metavar="MODEL.onnx...", help="ONNX files; quantized ones for gap8.")],
    work_dir: Annotated[Path, typer.Option("--work-dir", help="Folder of the database; it is gone on with.")],
    target: TargetOption = "host",
    trials: Annotated[int, typer.Option(min=1, help="Trials that shall be on record in the end.")] = 500,
    threads: ThreadsOption = None,
    shape: ShapeOption = None,
    runner: Annotated[
        str | None,
        typer.Option(help="What measures: local, rpc, count (instructions under qemu), gvsoc or model (clusters)."),
    ] = None,
    rpc_tracker: Annotated[
        str | None, typer.Option("--rpc-tracker", metavar="HOST:PORT", help="TVM's RPC tracker, for boards.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Key that the boards are registered with at the tracker.")] = None,
    limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time limit of building, and of running, a candidate.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Begin no trial after so many minutes.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
) -> None:
    """Search for the best knobs of each kernel that a network could be made of.

    Every trial is on record at once: a run that was stopped goes on where it was. `dwfuse compile --db` takes the
    records up.
    """
    from .api_tune import Measuring, tune
    from .files import parse_shapes

    measuring = Measuring(runner, rpc_tracker, key, limit)
    seconds = None if minutes is None else 60 * minutes
    shapes = parse_shapes(shape)
    with stopped_in_one_line(work_dir), tuning_bar() as on_progress:
        summary = tune(list(model), work_dir, target, trials, threads, shapes, measuring, seed, seconds, on_progress)
    typer.echo(summary.to_text())
    typer.echo(f"compile with --db {work_dir}")


@app.command()
@told_in_one_line
def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx|BUILD", help="ONNX file, or an application's folder.")],
    target: TargetOption = "host",
    threads: ThreadsOption = None,
    shape: ShapeOption = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also compile, run, and print time by operator.")] = False,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Also print the plans among latency, traffic, energy and memory.")
    ] = False,
    db: DbOption = None,
    objective: ObjectiveOption = None,
    tuned: TunedOption = True,
    memory_limit: MemoryOption = None,
) -> None:
    """Tell which separable blocks a network has, how each is fused, and why not where it is not.

    Of an application for a cluster: variant, tile, buffers, bytes moved between the memories and cycles of each block.
    """
    from .artifact import is_application

    if is_application(model):
        given: dict[str, Any] = {"--threads": threads, "--shape": shape}
        given |= {"--profile": profile or None, "--pareto": pareto or None}
        given |= {"--db": db, "--objective": objective, "--no-tuned": not tuned or None, "--memory-limit": memory_limit}
        _refuse("a build", given)
        explain_cluster(model)
        return
    if pareto and _is_cluster(target):
        _refuse(target, {"--threads": threads, "--profile": profile or None})
        print_front(model, target, shape)
        return
    from . import api
    from .files import parse_shapes

    with phases() as on_phase:
        found = api.explain(
            model,
            target,
            threads,
            parse_shapes(shape),
            profile,
            on_phase,
            db=db,
            objective=objective,
            tuned=tuned,
            memory_limit=memory_limit,
            pareto=pareto,
        )
    typer.echo(_explained(found))


@app.command()
@told_in_one_line
def report(
    folder: Annotated[Path, typer.Argument(metavar="BUILD", help="Folder that `dwfuse compile` wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML file to write; its charts become PNGs beside it.")
    ],
    db: Annotated[Path | None, typer.Option("--db", help="Work-dir of `dwfuse tune`, for the tuning curves.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also run the build, and show measured times (CPUs).")
    ] = False,
) -> None:
    """Show what was chosen for a build and what it brought, as one HTML page with charts."""
    from .report_page import write_build_report

    with phases() as on_phase:
        on_phase("drawing")
        page, *charts = write_build_report(folder, output, db, profile)
    typer.echo(f"wrote {page} and {len(charts)} charts beside it")


def _is_cluster(target: str) -> bool:
    from .targets.gap8 import CLUSTER_TARGETS

    return target in CLUSTER_TARGETS


def _refuse(target: str, options: dict[str, Any]) -> None:
    """Refuse options that ``target`` does not have and that were given: are not None."""
    wrong = [option for option, value in options.items() if value is not None]
    if wrong:
        raise DwfuseError(f"{wrong[0]}: no option of {target}; leave it out")


def _explained(found: Explanation) -> str:
    from .report import text_table

    lines = [str(block) for block in found.blocks]
    if not any(block.report.composite for block in found.blocks):
        lines.append("no separable block found: nothing is fused")
    if found.choice:
        lines += ["", found.choice.summary()]
    if found.front:
        lines += ["", found.front]
    if found.profile:
        total = sum(row.median_ms for row in found.profile)
        rows = [
            (row.name, str(row.calls), f"{row.median_ms:.3f}", f"{100 * row.median_ms / total:.1f}%")
            for row in found.profile
        ]
        lines += ["", text_table(("operator", "calls", "ms", "share"), rows), f"total {total:.3f} ms"]
    return "\n".join(lines)


def main() -> None:
    """The entry point ``dwfuse``."""
    try:
        app(prog_name="dwfuse")
    except BrokenPipeError:  # `dwfuse zoo list | head -1`
        sys.stderr.close()
