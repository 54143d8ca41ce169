"""Linking the object files that TVM generates, with the system's C++ compiler or the one in the ``ziglang`` package."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from .errors import DwfuseError

_COMPILERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")


def command() -> list[str]:
    """The command that links: ``$CXX`` or ``$CC``, a compiler on the path, or ``python -m ziglang cc``.

    Raises:
        DwfuseError: there is none.
    """
    chosen = os.environ.get("CXX") or os.environ.get("CC")
    if chosen:
        return shlex.split(chosen)
    for name in _COMPILERS:
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise DwfuseError("no C++ compiler found to link with: `apt-get install g++` or `pip install ziglang`")


def link(output: str, objects: Sequence[str], options: Sequence[str] | None = None) -> None:
    """Link ``objects`` to the shared library ``output``; the ``fcompile`` of TVM's ``export_library``.

    Raises:
        DwfuseError: there is no linker, or it fails.
    """
    line = [*command(), "-shared", "-fPIC", "-o", output, *(options or ()), *objects]
    try:
        result = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DwfuseError(
            f"{line[0]}: cannot be run to link with ({error.strerror}); set CXX to a C++ compiler"
        ) from error
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise DwfuseError(f"{line[0]}: linking failed with status {result.returncode}: {reason}")


link.output_format = "so"  # type: ignore[attr-defined]  # TVM asks for the kind of file wanted
