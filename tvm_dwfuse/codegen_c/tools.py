"""The C compiler for a machine, its binutils, and what runs its programs here."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
from functools import cache
from pathlib import Path

from ..armv8 import tools as armv8
from ..errors import DwfuseError
from ..runners import toolchain
from ..runners.process import ProgramError, execute
from ..runners.toolchain import Toolchain
from ..targets.armv8 import TRIPLE

_OPTIONS = ("-O2", "-fPIC", "-Wall", "-Wextra")

#: Else GCC calls functions of its own library for atomics, which Android's compiler may not have.
_INLINE_ATOMICS = {"aarch64": ("-mno-outline-atomics",)}


def compiler(arch: str) -> Toolchain:
    """The C compiler for ``arch``: the system's, or for 64-bit Arm elsewhere ``$AARCH64_CC`` or Debian's.

    Raises:
        DwfuseError: there is none.
    """
    command = toolchain.host().command if arch == platform.machine() else _cross_command(arch)
    return Toolchain(arch, command, (*_OPTIONS, *_INLINE_ATOMICS.get(arch, ())), ("-pthread", "-lm"))


def binutil(tools: Toolchain, name: str) -> str:
    """The ``ar``, ``nm`` or ``objcopy`` that goes with a compiler.

    Raises:
        DwfuseError: it is not installed.
    """
    cross = tools.platform != platform.machine()
    found = _program_of(tools.command, name) or shutil.which(f"{TRIPLE}-{name}" if cross else name)
    if found:
        return found
    raise DwfuseError(f"no {name} for {tools.platform}: `apt-get install binutils{f'-{TRIPLE}' if cross else ''}`")


def emulator(arch: str, mcpu: str) -> list[str]:
    """What a command line for a program of ``arch`` begins with; nothing on a machine of that architecture.

    Raises:
        DwfuseError: there is no emulator, or the libraries for it are missing.
    """
    if arch == platform.machine():
        return []
    if arch != "aarch64":
        raise DwfuseError(f"programs for {arch} cannot be run on this machine, which is {platform.machine()}")
    if not Path(armv8.SYSROOT, "lib").is_dir():
        raise DwfuseError(f"no aarch64 libraries in {armv8.SYSROOT}: `apt-get install libc6-arm64-cross`")
    return [armv8.qemu(), "-L", armv8.SYSROOT, "-cpu", armv8.qemu_cpu(mcpu)]


def _cross_command(arch: str) -> tuple[str, ...]:
    if arch != "aarch64":
        raise DwfuseError(f"a C library for {arch} cannot be built on this machine, which is {platform.machine()}")
    if chosen := os.environ.get("AARCH64_CC"):
        return tuple(shlex.split(chosen))
    return armv8.cross_compiler().command


@cache
def _program_of(command: tuple[str, ...], name: str) -> str | None:
    try:
        answer = execute([*command, f"-print-prog-name={name}"], Path("/"), command[0], 60)
    except ProgramError:
        return None
    return shutil.which(answer.strip())
