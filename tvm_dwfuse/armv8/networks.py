"""Counts the instructions of a whole network: ``python -m tvm_dwfuse.armv8.networks mobilenet_v1_1.0_224``."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer

from tvm_dwfuse import api, zoo
from tvm_dwfuse.codegen_c import tools as c_tools
from tvm_dwfuse.codegen_c.library import build_example
from tvm_dwfuse.cross_network import CrossNetwork
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.network import random_inputs
from tvm_dwfuse.report import text_table
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.terminal import told_in_one_line

from . import tools
from .disassembly import functions
from .emulation import NATIVE, Counts, count_program, read_profile

#: Largest difference from the host's outputs, relative to the largest of those.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class NetworkCounts:
    """What one inference executes: all of it, and the instructions of each function, most first."""

    counts: Counts
    by_function: dict[str, int]


def count_network(name: str, machine: CpuTarget) -> NetworkCounts:
    """Compile a zoo network to its C library, run the example program twice under qemu, and count the second run.

    Raises:
        DwfuseError: a tool is missing, the program fails, or its outputs are not those of the host.
    """
    model = zoo.build(name)
    network = cast(CrossNetwork, api.compile(model, machine.name))
    inputs = random_inputs(network.inputs)
    with tempfile.TemporaryDirectory(prefix="dwfuse-count-") as temporary:
        folder = Path(temporary)
        # At fixed addresses, so that the profile tells functions.
        compiler = replace(c_tools.compiler(machine.arch), link_options=("-static", "-pthread", "-lm"))
        program = build_example(network.c_library, compiler, [NATIVE / "marker.c"], str(folder / name))
        files = [folder / f"input_{i}.bin" for i in range(len(network.inputs))]
        for file, info in zip(files, network.inputs, strict=True):
            inputs[info.name].tofile(file)
        results = [folder / f"output_{i}.bin" for i in range(len(network.outputs))]
        line = list(map(str, [program, *files, *results]))
        counts = count_program(line, folder, tools.qemu_cpu(machine.mcpu), profile=True)
        _compare(name, api.compile(model).run(inputs), results)
        return NetworkCounts(counts, _by_function(program, read_profile(folder)))


def _compare(name: str, expected: list[np.ndarray], files: list[Path]) -> None:
    for wanted, file in zip(expected, files, strict=True):
        found = np.fromfile(file, wanted.dtype).reshape(wanted.shape)
        if not np.abs(found - wanted).max() <= _TOLERANCE * np.abs(wanted).max():
            raise DwfuseError(f"{name}: its outputs under qemu are not those of the host")


def _by_function(program: Path, executed: Counter[int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    places = {address: name for name, (start, end) in functions(program).items() for address in range(start, end, 4)}
    for address, times in executed.items():
        counts[places.get(address, "others")] += times
    return dict(counts.most_common())


def main(
    network: Annotated[str, typer.Argument(help="A name as `dwfuse zoo list` prints it.")],
    target: Annotated[str, typer.Option(help="Core to compile for and count on.")] = "cortex-a72",
) -> None:
    """Count the instructions of one inference under qemu, function by function."""
    found = count_network(network, tools.arm_core("--target", target))
    total = found.counts.instructions
    rows = [[name, f"{count / 1e6:.3f}", f"{count / total:.1%}"] for name, count in found.by_function.items()]
    typer.echo(text_table(("function", "million instructions", "share"), rows))
    typer.echo(f"{network}: {total / 1e6:.2f} million instructions, {found.counts.loads / 1e6:.2f} million loads")


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
