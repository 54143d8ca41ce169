"""The folder of an application: generated C, kernels, runtime, weights, example data, Makefile and README."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template

import numpy as np

from schedules.cluster import build_group

from .. import runners
from ..errors import DwfuseError
from ..groups import GroupedNetwork
from ..targets.gap8 import ClusterTarget
from . import runtime
from .constants import weights_file
from .kernels import kernel_files
from .memory_plan import MemoryPlan
from .network_code import NetworkCode
from .printer import CFunction, print_function

WEIGHTS = "weights.bin"
INPUT = "input.bin"
GOLDEN = "golden"

_TEMPLATES = Path(__file__).parent / "templates"
_LAYERS = "layers"
_KERNELS = "kernels"
_RUNTIME = "runtime"


def write_project(
    grouped: GroupedNetwork,
    memory: MemoryPlan,
    target: ClusterTarget,
    folder: Path,
    *,
    golden: Mapping[str, np.ndarray],
    functions: Mapping[str, CFunction] | None = None,
) -> None:
    """Fill ``folder`` with an application of the GAP SDK, which also builds for the host and plain RV32.

    Args:
        grouped: the network.
        memory: its plan, from ``plan_memory``.
        target: the cluster the groups are planned for.
        folder: an empty one, or one to make; see :func:`tvm_dwfuse.artifact.replacing`.
        golden: the example input and every activation that it leads to by name, uint8 HWC.
        functions: the C function of each group; printed here by default.

    Raises:
        DwfuseError: the network has several inputs or outputs.
    """
    check_single(grouped)
    functions = functions or print_functions(grouped, target)
    code = NetworkCode(grouped, memory, functions, target)
    for name in (_LAYERS, _KERNELS, _RUNTIME, GOLDEN):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources = [*_write_code(code, folder), *_copy_kernels(folder)]
    _copy_runtime(folder)
    if memory.weights_bytes:
        (folder / WEIGHTS).write_bytes(weights_file(grouped.groups, memory.pieces))
    _write_example(grouped, golden, folder)
    application = _application(code, sources)
    application.write(folder)
    _fill_template("Makefile.txt", folder / "Makefile", _makefile_values(application))
    _fill_template("README.md", folder / "README.md", _readme_values(code, application))


def print_functions(grouped: GroupedNetwork, target: ClusterTarget) -> dict[str, CFunction]:
    """The C function of each group by name."""
    return {group.name: print_function(build_group(group), target) for group in grouped.groups}


def check_single(grouped: GroupedNetwork) -> None:
    """Refuse networks that the program around a network has no room for.

    Raises:
        DwfuseError: there are several inputs or outputs.
    """
    for what, names in (("inputs", grouped.network.inputs), ("outputs", grouped.network.outputs)):
        if len(names) != 1:
            raise DwfuseError(
                f"{grouped.network.name}: has {len(names)} {what} ({', '.join(names)}), applications have one; "
                "cut the model at one of them"
            )


def in_layout(image: np.ndarray, layout: str) -> bytes:
    """The bytes of an (H, W, C) array as they lie in L2 in that layout."""
    return np.ascontiguousarray(image.transpose(2, 0, 1) if layout == "chw" else image).tobytes()


def _write_code(code: NetworkCode, folder: Path) -> list[str]:
    """Write the generated files; names of the C files among them."""
    files = {"network.c": code.source(), "network.h": code.header(), "constants.c": code.constants()}
    files |= {f"{_LAYERS}/{group.name}.c": code.layer(group) for group in code.grouped.groups}
    files = {name: text for name, text in files.items() if text}
    for name, text in files.items():
        (folder / name).write_text(text)
    return [name for name in files if name.endswith(".c")]


def _copy_kernels(folder: Path) -> list[str]:
    for path in kernel_files():
        shutil.copyfile(path, folder / _KERNELS / path.name)
    return [f"{_KERNELS}/{path.name}" for path in kernel_files() if path.suffix == ".c"]


def _copy_runtime(folder: Path) -> None:
    for name in runtime.APPLICATION_FILES:
        shutil.copyfile(runtime.FOLDER / name, folder / _RUNTIME / name)


def _write_example(grouped: GroupedNetwork, golden: Mapping[str, np.ndarray], folder: Path) -> None:
    (folder / INPUT).write_bytes(in_layout(golden[grouped.network.inputs[0]], "hwc"))
    for group in grouped.groups:
        data = in_layout(golden[group.output], grouped.layouts[group.output])
        (folder / GOLDEN / f"{group.name}.bin").write_bytes(data)


def _application(code: NetworkCode, sources: Iterable[str]) -> runners.Application:
    network = code.grouped.network
    return runners.Application(
        name=network.name,
        cores=code.target.cores,
        l1_bytes=code.l1_bytes,
        l2_bytes=code.memory.l2_bytes,
        input_bytes=code.grouped.activation(network.inputs[0]).bytes,
        output_bytes=code.grouped.activation(network.outputs[0]).bytes,
        sources=tuple(sources),
        include=(".", _KERNELS),
        runtime=_RUNTIME,
        weights=WEIGHTS if code.memory.weights_bytes else None,
        golden=GOLDEN,
    )


def _fill_template(template: str, path: Path, values: Mapping[str, object]) -> None:
    path.write_text(Template((_TEMPLATES / template).read_text()).substitute(values))


def _makefile_values(application: runners.Application) -> dict[str, str]:
    sources = [*application.sources, *(f"{_RUNTIME}/{path.name}" for path in runtime.sources("gap8"))]
    flash = f"\n# The constants, a file of the flash's read-only file system.\nREADFS_FILES = $(CURDIR)/{WEIGHTS}\n"
    return {
        "name": application.name,
        "app": _identifier(application.name),
        "sources": " \\\n            ".join(sources),
        "include": " ".join((*application.include, _RUNTIME)),
        "flash": flash if application.weights else "",
    }


def _readme_values(code: NetworkCode, application: runners.Application) -> dict[str, object]:
    grouped, memory = code.grouped, code.memory
    image, result = (grouped.activation(names[0]) for names in (grouped.network.inputs, grouped.network.outputs))
    streamed = memory.mode == "streamed"
    return {
        "name": application.name,
        "app": _identifier(application.name),
        "summary": f"An int8 network: {image.height}x{image.width}x{image.channels} in, "
        f"{result.height}x{result.width}x{result.channels} out.",
        "target": code.target.name,
        "cores": code.target.cores,
        "constants_row": f"`{WEIGHTS}` | weights and requantization, copied to L3 at start and streamed from there"
        if streamed
        else "`constants.c` | weights and requantization, as arrays in L2",
        "output_bytes": application.output_bytes,
        "l3_call": " and `dwfuse_l3_open`" if streamed else "",
        "l1_bytes": code.l1_bytes,
        "memory_rows": "\n".join(_memory_rows(memory)),
        "l3_in": memory.l3_in,
        "l3_out": memory.l3_out,
        "activation": memory.total_traffic.activation,
        "constant_in": memory.total_traffic.constant_in,
        "l2_rows": "\n".join(_l2_rows(memory)),
        "layer_rows": "\n".join(_layer_rows(grouped, memory)),
    }


def _memory_rows(memory: MemoryPlan) -> list[str]:
    if memory.mode == "resident":
        return [
            f"| L2 | {memory.l2_bytes} | one arena for activations |",
            f"| L2 | {memory.constant_bytes} | constants, as C arrays |",
        ]
    spilled = memory.l3_bytes - memory.weights_bytes
    return [
        f"| L2 | {memory.l2_bytes} | one arena for activations, and constants on their way |",
        f"| L3 | {memory.weights_bytes} | constants |",
        *([f"| L3 | {spilled} | activations that do not fit L2 |"] if spilled else []),
    ]


def _l2_rows(memory: MemoryPlan) -> list[str]:
    regions = sorted(memory.regions, key=lambda region: (region.first, region.address))
    return [f"| {r.address} | {r.bytes} | {r.name} | {r.first} to {r.last} |" for r in regions]


def _layer_rows(grouped: GroupedNetwork, memory: MemoryPlan) -> list[str]:
    return [
        f"| `{group.name}` | {' + '.join(layer.name for layer in group.layers)} | {group.variant} "
        f"| {len(memory.calls(group.name))} | {memory.traffic[group.name].activation} |"
        for group in grouped.groups
    ]


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name)
