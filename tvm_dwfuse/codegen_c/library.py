"""From a lowered network to the folder of a C library: compile, hide what is not the interface, pack."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import tvm

from ..artifact import Manifest
from ..errors import DwfuseError
from ..runners.process import execute
from ..runners.toolchain import Toolchain
from ..targets import CpuTarget
from . import runtime, tools
from .kernels import compile_kernels
from .memory import plan_memory
from .reader import no_plain_form, read_calls
from .source import PRIVATE, PUBLIC, Program, prefix, write_sources

LIBRARY = "libdwfuse_network.a"
EXAMPLE = "example"

_TIME_LIMIT = 300.0
# Threads need the atomics of C11; what users compile is C99.
_LIBRARY_C, _EXAMPLE_C = ("-std=gnu11",), ("-std=c99",)
_INTERFACE = ("inputs", "outputs", "workspace_bytes", "run", "open", "close")
_NEEDS_TVM = ("TVM", "__TVM", "_ZN", "_Zn")


def write_c_library(lowered: tvm.IRModule, manifest: Manifest, machine: CpuTarget, folder: Path) -> None:
    """Fill ``folder`` with a network as a C library, an example program, and files that build it elsewhere.

    Args:
        lowered: what :func:`tvm_dwfuse.pipeline.lowering_pipeline` makes, run within ``machine.tvm_target()``: ``main``
            with ``call_tir`` of scheduled functions, before TVM's ``default_build_pipeline``.
        manifest: model, target, threads, inputs and outputs are told in the files.
        machine: the CPU that ``lowered`` is for.
        folder: an existing, empty one; an error leaves it incomplete.

    Raises:
        DwfuseError: there is no C compiler for the machine, or the network needs TVM's runtime, as sorting does.
    """
    compiler = tools.compiler(machine.arch)
    with tempfile.TemporaryDirectory(prefix="dwfuse-c-") as temporary:
        work = Path(temporary)
        program = write_parts(lowered, manifest, machine, work)
        _pack(compiler, work, manifest, folder / LIBRARY)
    write_sources(program, folder, PUBLIC)
    build_example(folder, compiler)


def write_parts(lowered: tvm.IRModule, manifest: Manifest, machine: CpuTarget, folder: Path) -> Program:
    """Write what a library is built from: kernels.o, constants.bin and the sources; see :func:`write_c_library`.

    Raises:
        DwfuseError: the network needs TVM's runtime.
    """
    calls = read_calls(lowered)
    names = dict.fromkeys(call.kernel for call in calls.calls)
    kernels = compile_kernels(lowered, names, machine, manifest.threads, folder / "kernels.o")
    memory = plan_memory(calls, kernels)
    with open(folder / "constants.bin", "wb") as file:
        for offset, array in zip(memory.constant_offsets, calls.constants, strict=True):
            file.seek(offset)
            file.write(array.tobytes())
        file.truncate(memory.constant_bytes)
    program = Program(manifest, calls, kernels, memory)
    write_sources(program, folder, (*PRIVATE, "dwfuse_network.h"))
    return program


def compile_parts(compiler: Toolchain, folder: Path, threads: int) -> list[Path]:
    """The object files of what :func:`write_parts` wrote.

    Raises:
        DwfuseError: the compiler refuses a file.
    """
    objects = [folder / "kernels.o"]
    includes = [f"-I{folder}", f"-I{runtime.FOLDER}", f"-DDWFUSE_THREADS={threads}"]
    for source in (folder / "network.c", folder / "constants.S", runtime.SOURCE):
        objects.append(folder / f"{source.stem}.o")
        line = [*compiler.command, *_LIBRARY_C, *compiler.options, *includes]
        # The assembler looks for the constants in the current folder.
        _call([*line, "-c", str(source), "-o", str(objects[-1])], folder)
    return objects


def build_example(folder: Path, compiler: Toolchain, extra: Sequence[Path] = (), output: str = EXAMPLE) -> Path:
    """Build the example of a C library; returns the program.

    Args:
        folder: the library's.
        compiler: from :func:`.tools.compiler`.
        extra: further files to link, such as one with a ``dwfuse_marker``.
        output: the program's name.

    Raises:
        DwfuseError: the compiler refuses a file.
    """
    program = folder / output
    sources = [str(folder / "example.c"), *map(str, extra), str(folder / LIBRARY)]
    line = [*compiler.command, *_EXAMPLE_C, *compiler.options, *sources, *compiler.link_options]
    _call([*line, "-o", str(program)], folder)
    return program


def _pack(compiler: Toolchain, work: Path, manifest: Manifest, library: Path) -> None:
    """Link everything to one object whose only symbols are those of the interface, and make it a static library."""
    merged = work / "dwfuse_network.o"
    objects = map(str, compile_parts(compiler, work, manifest.threads))
    _call([*compiler.command, "-r", "-nostdlib", "-o", str(merged), *objects], work)
    _check_symbols(compiler, merged, manifest.model)
    keep = [f"--keep-global-symbol={prefix(manifest.model)}_{name}" for name in _INTERFACE]
    _call([tools.binutil(compiler, "objcopy"), "--strip-debug", *keep, str(merged)], work)
    _call([tools.binutil(compiler, "ar"), "rcsD", str(library), str(merged)], work)


def _check_symbols(compiler: Toolchain, merged: Path, model: str) -> None:
    """Refuse kernels that call functions of TVM or of C++'s library."""
    listed = _call([tools.binutil(compiler, "nm"), "--undefined-only", "--format=posix", str(merged)], merged.parent)
    needed = [line.split()[0] for line in listed.splitlines() if line.strip()]
    foreign = [symbol for symbol in needed if symbol.startswith(_NEEDS_TVM)]
    if foreign:
        raise no_plain_form(f"{model}, which calls {foreign[0]}")


def _call(line: Sequence[str], folder: Path) -> str:
    try:
        return execute(line, folder, Path(line[0]).name, _TIME_LIMIT)
    except DwfuseError as error:
        raise DwfuseError(f"{error}; set CC or AARCH64_CC to another C compiler") from error
