"""C compilers for the platforms, and a cache of object files that lasts as long as the process."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ..codegen_gap8 import runtime
from ..errors import DwfuseError

SANITIZERS = ("address,undefined", "thread")

_WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter")
_HOST_COMPILERS = ("gcc", "clang", "cc")
_RV32_GCC = "riscv64-unknown-elf-gcc"
_RV32_PACKAGES = "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"
_RV32 = ("-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs")


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one platform, with its options; with ``dma_late`` bytes move when a transfer is waited for."""

    platform: str
    command: tuple[str, ...]
    options: tuple[str, ...]
    link_options: tuple[str, ...]
    dma_late: bool = False

    def options_for(self, source: Path) -> tuple[str, ...]:
        """Options to compile this file; only one depends on ``dma_late``, and the objects of others are shared."""
        late = self.dma_late and source.name == runtime.COPIES
        return (*self.options, "-DDWFUSE_DMA_LATE") if late else self.options

    def with_options(self, *options: str) -> Toolchain:
        """The same compiler with further options for compiling."""
        return replace(self, options=self.options + options)


def host(sanitize: str | None = None, dma_late: bool = False) -> Toolchain:
    """The host's C compiler: ``$CC``, gcc, clang, or the one of the ``ziglang`` package.

    Args:
        sanitize: one of :data:`SANITIZERS`.
        dma_late: let the bytes of a transfer move when it is waited for.

    Raises:
        DwfuseError: there is no compiler, or it lacks the sanitizer.
    """
    command = _host_command()
    options: tuple[str, ...] = ("-std=gnu11", "-O1", "-g1", *_WARNINGS)
    link_options: tuple[str, ...] = ("-lpthread",)
    if sanitize is None:
        return Toolchain("host", command, options, link_options, dma_late)
    if sanitize not in SANITIZERS:
        raise DwfuseError(f"no sanitizer {sanitize!r}; there are {', '.join(map(repr, SANITIZERS))}")
    sanitizer = f"-fsanitize={sanitize}"
    if not _has_sanitizer(command, sanitizer):
        raise DwfuseError(f"{command[0]} cannot link {sanitizer}: `apt-get install gcc` or clang, or set CC")
    options += (sanitizer, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
    return Toolchain("host", command, options, (*link_options, sanitizer), dma_late)


def rv32(dma_late: bool = False) -> Toolchain:
    """GCC for bare RV32 with picolibc and the runtime's own start-up code.

    Raises:
        DwfuseError: it is not installed.
    """
    if not shutil.which(_RV32_GCC):
        raise DwfuseError(f"no {_RV32_GCC}: `apt-get install {_RV32_PACKAGES}`")
    if not _has_picolibc():
        raise DwfuseError(f"{_RV32_GCC} has no picolibc: `apt-get install {_RV32_PACKAGES}`")
    script = runtime.FOLDER / runtime.RV32_LINKER_SCRIPT
    link_options = (*_RV32, "--oslib=semihost", "-nostartfiles", f"-T{script}", "-Wl,--no-warn-rwx-segments")
    options = (*_RV32, "-std=gnu11", "-O2", *_WARNINGS)
    return Toolchain("rv32", (_RV32_GCC,), options, link_options, dma_late)


def compile_object(toolchain: Toolchain, source: Path, include: Sequence[Path]) -> Path:
    """Compile a source file; the object of the same contents, headers and options is made only once.

    Raises:
        DwfuseError: the compiler refuses the file.
    """
    line = [*toolchain.command, *toolchain.options_for(source)]
    digest = hashlib.sha256("\0".join(line).encode())
    for header in sorted(path for folder in include for path in folder.glob("*.h")):
        digest.update(header.name.encode() + header.read_bytes())
    digest.update(source.suffix.encode() + source.read_bytes())
    result = _cache_folder() / f"{digest.hexdigest()[:32]}.o"
    if not result.exists():
        folders = [f"-I{folder}" for folder in include]
        _call([*line, *folders, "-c", str(source), "-o", str(result)], str(source))
    return result


def build(toolchain: Toolchain, sources: Iterable[Path], include: Sequence[Path], output: Path) -> Path:
    """Compile the sources and link them to the program ``output``.

    Raises:
        DwfuseError: compiler or linker fails.
    """
    return link(toolchain, [compile_object(toolchain, source, include) for source in sources], output)


def link(toolchain: Toolchain, objects: Iterable[Path], output: Path) -> Path:
    """Link object files to the program (or what the toolchain's options say) ``output``.

    Raises:
        DwfuseError: the linker fails.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    _call([*toolchain.command, *map(str, objects), *toolchain.link_options, "-o", str(output)], str(output))
    return output


def _call(line: list[str], what: str) -> None:
    try:
        result = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DwfuseError(f"{line[0]}: cannot be run ({error.strerror}); set CC to a C compiler") from error
    if result.returncode == 0:
        return
    text = result.stderr.strip().splitlines() or ["no message"]
    reason = next((message for message in text if "error" in message or "undefined" in message), text[-1])
    raise DwfuseError(reason if reason.startswith(what) else f"{what}: {line[0]} fails: {reason}")


@cache
def _cache_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="dwfuse-objects-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def _host_command() -> tuple[str, ...]:
    if chosen := os.environ.get("CC"):
        return tuple(shlex.split(chosen))
    for name in _HOST_COMPILERS:
        if path := shutil.which(name):
            return (path,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    raise DwfuseError("no C compiler found: `apt-get install gcc` or `pip install ziglang`")


@cache
def _has_sanitizer(command: tuple[str, ...], option: str) -> bool:
    line = [*command, option, "-x", "c", "-", "-o", os.devnull]
    result = subprocess.run(line, input="int main(void) { return 0; }", capture_output=True, text=True, check=False)
    return result.returncode == 0


@cache
def _has_picolibc() -> bool:
    line = [_RV32_GCC, *_RV32, "-E", "-x", "c", "-"]
    result = subprocess.run(line, input="#include <stdio.h>\n", capture_output=True, text=True, check=False)
    return result.returncode == 0
