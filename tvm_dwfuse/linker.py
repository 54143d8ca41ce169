"""Linking the object files that TVM generates, with a C++ compiler of the system or the one in the ``ziglang`` package.

Libraries for another architecture take a cross compiler: that of Debian for 64-bit Arm, or again ``ziglang``.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import DwfuseError


@dataclass(frozen=True)
class _Compilers:
    """Where compilers for an architecture are looked for, in this order, and what to install when there is none."""

    variables: tuple[str, ...]
    names: tuple[str, ...]
    zig: tuple[str, ...]
    missing: str


_NATIVE = _Compilers(
    ("CXX", "CC"),
    ("g++", "gcc", "clang++", "clang", "c++", "cc"),
    ("cc",),
    "no C++ compiler found to link with: `apt-get install g++` or `pip install ziglang`",
)
_CROSS = {
    "aarch64": _Compilers(
        ("AARCH64_CXX", "AARCH64_CC"),
        ("aarch64-linux-gnu-g++", "aarch64-linux-gnu-gcc"),
        ("cc", "-target", "aarch64-linux-gnu"),
        "no cross compiler found to link for aarch64 with: `apt-get install gcc-aarch64-linux-gnu` or "
        "`pip install ziglang`, or set AARCH64_CXX",
    )
}


def command(arch: str = "") -> list[str]:
    """The command that links for ``arch``, by default for this machine.

    It is ``$CXX`` or ``$CC`` (``$AARCH64_CXX`` or ``$AARCH64_CC`` when cross-compiling), a compiler on the path, or
    ``python -m ziglang``.

    Raises:
        DwfuseError: there is none.
    """
    compilers = _compilers(arch)
    for variable in compilers.variables:
        if chosen := os.environ.get(variable):
            return shlex.split(chosen)
    for name in compilers.names:
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", *compilers.zig]
    raise DwfuseError(compilers.missing)


def link(output: str, objects: Sequence[str], options: Sequence[str] | None = None, arch: str = "") -> None:
    """Link ``objects`` to the shared library ``output``; the ``fcompile`` of TVM's ``export_library``.

    Raises:
        DwfuseError: there is no linker for ``arch``, or it fails.
    """
    line = [*command(arch), "-shared", "-fPIC", "-o", output, *(options or ()), *objects]
    try:
        result = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError as error:
        variable = _compilers(arch).variables[0]
        raise DwfuseError(
            f"{line[0]}: cannot be run to link with ({error.strerror}); set {variable} to a C++ compiler"
        ) from error
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise DwfuseError(f"{line[0]}: linking failed with status {result.returncode}: {reason}")


link.output_format = "so"  # type: ignore[attr-defined]  # TVM asks for the kind of file wanted


def _compilers(arch: str) -> _Compilers:
    return _NATIVE if arch in ("", platform.machine()) else _CROSS[arch]
