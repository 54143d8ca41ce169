"""The text files of a C library: what is filled into the templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np

from .. import __version__
from ..artifact import Manifest, TargetInfo, TensorInfo
from .kernels import Kernel
from .memory import Memory, Place
from .reader import CallList
from .scratch import ALIGNMENT

#: Files for whoever links the library.
PUBLIC = ("dwfuse_network.h", "example.c", "Makefile", "CMakeLists.txt", "README.txt")

#: Sources of the library itself.
PRIVATE = ("network.c", "constants.S")

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Program:
    """A network ready to be printed: its facts, calls, kernels and memory."""

    manifest: Manifest
    calls: CallList
    kernels: dict[str, Kernel]
    memory: Memory


def prefix(model: str) -> str:
    """What every name of a model's library begins with: ``dwfuse_`` and the model's name as an identifier.

    The model's name keeps two networks in one program apart, ``dwfuse_`` keeps the name from meaning anything else.
    """
    return "dwfuse_" + re.sub(r"\W", "_", model, flags=re.ASCII)


def write_sources(program: Program, folder: Path, names: Iterable[str]) -> None:
    """Write those of the files :data:`PUBLIC` and :data:`PRIVATE` that ``names`` has."""
    values = {**_facts(program), **_public(program), **_private(program)}
    for name in names:
        (folder / name).write_text(
            Template((_TEMPLATES / name).read_text(encoding="utf-8")).substitute(values), encoding="utf-8"
        )


def _facts(program: Program) -> dict[str, object]:
    manifest = program.manifest
    name = prefix(manifest.model)
    return {
        "model": _comment(manifest.model),
        "version": __version__,
        "target": manifest.target.name,
        "mcpu": manifest.target.mcpu,
        "arch": manifest.target.arch,
        "threads": manifest.threads,
        "prefix": name,
        "upper": name.upper(),
        "guard": f"{name.upper()}_H",
        "alignment": ALIGNMENT,
        # The workspace may begin anywhere.
        "slack": ALIGNMENT - 1,
        "inputs": len(manifest.inputs),
        "outputs": len(manifest.outputs),
        "inputs_or_one": max(1, len(manifest.inputs)),
        "outputs_or_one": max(1, len(manifest.outputs)),
        "workspace_bytes": program.memory.workspace_bytes,
        "bytes": program.memory.constant_bytes,
    }


def _public(program: Program) -> dict[str, object]:
    manifest = program.manifest
    threaded = manifest.threads > 1
    lines = [
        f" *   {kind} {number}: {_comment(str(info))}, {_bytes(info)} bytes"
        for kind, infos in (("input", manifest.inputs), ("output", manifest.outputs))
        for number, info in enumerate(infos)
    ]
    return {
        "signature": "\n".join(lines),
        "cc": f"{manifest.target.triple}-gcc" if manifest.target.triple else "cc",
        "libraries": "-pthread -lm" if threaded else "-lm",
        "cmake_libraries": "Threads::Threads;m" if threaded else "m",
        "find_threads": "find_package(Threads REQUIRED)\n" if threaded else "",
        "workspace_kb": -(-program.memory.workspace_bytes // 1000),
        "constants_kb": -(-program.memory.constant_bytes // 1000),
        "android_abi": {"aarch64": "arm64-v8a"}.get(manifest.target.arch, manifest.target.arch),
        "thread_note": _thread_note(manifest.threads, prefix(manifest.model)),
        "emulator_note": _emulator_note(manifest.target),
    }


def _thread_note(threads: int, name: str) -> str:
    if threads == 1:
        return f"The network was compiled for one thread: {name}_open and {name}_close do nothing."
    return f"{name}_open({threads}) makes runs use {threads} threads, {name}_close ends them."


def _emulator_note(target: TargetInfo) -> str:
    if not target.triple:
        return ""
    run = f"qemu-{target.arch} -L /usr/{target.triple} ./example ..."
    return f" Where there is no {target.arch}\nmachine with Linux, qemu-user runs it: {run}"


def _private(program: Program) -> dict[str, object]:
    manifest = program.manifest
    return {
        "prototypes": "\n".join(map(_prototype, program.kernels.values())),
        "shapes": "\n".join(_shapes("input", manifest.inputs) + _shapes("output", manifest.outputs)),
        "input_rows": _rows("input", manifest.inputs),
        "output_rows": _rows("output", manifest.outputs),
        "input_alignment": _alignments(manifest.inputs),
        "output_alignment": _alignments(manifest.outputs),
        "calls": "\n".join([*_calls(program), *_copies(program)]),
    }


def _prototype(kernel: Kernel) -> str:
    # TVM does not say in a function's type which of its tensors it writes.
    parameters = ["const void *"] * kernel.tensors + ["void *"]
    return f"int32_t {kernel.symbol}({', '.join(parameters)});"


def _calls(program: Program) -> Iterable[str]:
    memory = program.memory
    for call, scratch in zip(program.calls.calls, memory.scratch, strict=True):
        places = [memory.tensors.get(tensor) for tensor in (*call.inputs, *call.outputs)]
        arguments = ", ".join(_pointer(place) for place in (*places, scratch))
        yield f"  if ({program.kernels[call.kernel].symbol}({arguments})) return 1;"


def _copies(program: Program) -> Iterable[str]:
    """Statements for the outputs that no kernel writes where the caller wants them."""
    for number, (tensor, info) in enumerate(zip(program.calls.outputs, program.manifest.outputs, strict=True)):
        place = program.memory.tensors[tensor]
        if place != Place("output", number):
            yield f"  memcpy(out[{number}], {_pointer(place)}, {_bytes(info)});"


def _pointer(place: Place | None) -> str:
    if place is None:
        return "NULL"
    if place.memory in ("input", "output"):
        return f"{'in' if place.memory == 'input' else 'out'}[{place.at}]"
    return f"{place.memory[0]} + {place.at}"


def _shapes(kind: str, infos: Sequence[TensorInfo]) -> list[str]:
    return [
        f"static const int64_t {kind}_{number}_shape[] = {{{', '.join(map(str, info.shape or (1,)))}}};"
        for number, info in enumerate(infos)
    ]


def _rows(kind: str, infos: Sequence[TensorInfo]) -> str:
    rows = [
        f"  {{{_string(info.name)}, {_string(info.dtype)}, {len(info.shape)}, {kind}_{number}_shape, {_bytes(info)}}},"
        for number, info in enumerate(infos)
    ]
    return "\n".join(rows) or "  {NULL, NULL, 0, NULL, 0},"


def _alignments(infos: Sequence[TensorInfo]) -> str:
    return ", ".join(str(np.dtype(info.dtype).itemsize) for info in infos) or "1"


def _bytes(info: TensorInfo) -> int:
    return int(np.prod(info.shape, dtype=np.int64)) * np.dtype(info.dtype).itemsize


def _string(text: str) -> str:
    """A C string literal of the text's UTF-8; the octal escapes end after three digits, whatever follows."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'


def _comment(text: str) -> str:
    """Text that cannot end a comment, or a line of a script."""
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable.replace("*/", "* /").replace("/*", "/ *")
