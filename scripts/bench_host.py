"""Times zoo networks on this machine: fused, unfused and on other engines, interleaved; prints a table.

scripts/bench_host.py [--models a,b,...] [--threads 1,2] [--against onnxruntime,openvino] [--json F] [--markdown F]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tvm_dwfuse import DwfuseError, zoo
from tvm_dwfuse.bench import OURS, PEERS, Plan, Result
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.bench.suite import benchmark_zoo, suite_table
from tvm_dwfuse.files import parse_names, write_text
from tvm_dwfuse.threads import available, check

MODELS = (
    "mobilenet_v1_1.0_224,mobilenet_v1_0.25_128,mobilenet_v2_1.0_224,mobilenet_v3_small_1.0_224,mobilenet_v3_large_1.0_224,"
    "mnasnet_a1_1.0_224,efficientnet_b0_224,efficientnet_lite0_224,ds_cnn_s,ds_cnn_m,ds_cnn_l,mcunet_vww,shufflenet_v2_1.0_224"
)

LEGEND = "Medians in milliseconds; vs: dwfuse's time relative to that engine's."


def main(
    models: Annotated[str, typer.Option(help="Zoo networks, by commas.")] = MODELS,
    threads: Annotated[str, typer.Option(help="Numbers of threads, by commas; 1 and all cores by default.")] = "",
    against: Annotated[str, typer.Option(help=f"Engines, by commas: {', '.join(PEERS)}.")] = "onnxruntime,openvino",
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each engine takes.")] = 15,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write results and machine here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown here.")] = None,
) -> None:
    """Time zoo networks on this machine."""
    console = Console(stderr=True)
    counts = _thread_counts(threads)
    engines = [*OURS, *parse_names("--against", against, PEERS)]
    machine = describe_machine()
    results: list[Result] = []
    with console.status("starting") as status:
        for name in parse_names("--models", models, zoo.names()):
            for count in counts:
                label = f"{name}, {count} thread{'s' if count > 1 else ''}"
                results.append(
                    benchmark_zoo(
                        name,
                        engines,
                        count,
                        plan=Plan(rounds=rounds),
                        progress=lambda text, done, total, at=label: status.update(f"{at}: {text} {done}/{total}"),
                    )
                )
                console.print(results[-1].to_text(), markup=False, highlight=False)
                _write(json_file, markdown, machine, results)
    facts = ", ".join(f"{key} {value}" for key, value in machine.items())
    typer.echo(f"{facts}\n{LEGEND}\n\n{suite_table(results)}")


def _thread_counts(text: str) -> list[int]:
    if not text:
        return sorted({1, available()})
    try:
        return [check(int(word)) for word in text.split(",")]
    except ValueError:
        raise DwfuseError(f"--threads {text}: expected numbers divided by commas") from None


def _write(json_file: Path | None, markdown: Path | None, machine: dict[str, str], results: list[Result]) -> None:
    """Write what there is so far: a run over the whole zoo is long."""
    if json_file:
        content = {"machine": machine, "results": [result.to_dict() for result in results]}
        write_text(json_file, json.dumps(content, indent=2) + "\n")
    if markdown:
        facts = "\n".join(f"- {key}: {value}" for key, value in machine.items())
        write_text(markdown, f"{facts}\n\n{LEGEND}\n\n{suite_table(results, markdown=True)}\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except DwfuseError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
