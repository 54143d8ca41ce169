"""The programs that ARMv8 code is built, run and analysed with on another machine, and what to install for them."""

from __future__ import annotations

import shutil
from functools import cache

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import toolchain
from tvm_dwfuse.runners.toolchain import Toolchain
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.targets.armv8 import ARMV8_TARGETS

_GCC = "aarch64-linux-gnu-gcc"
_QEMU = "qemu-aarch64"
_MCAS = ("llvm-mca-19", "llvm-mca")

#: Where Debian's libc6-arm64-cross, which the cross compiler needs, puts the libraries of aarch64 programs.
SYSROOT = "/usr/aarch64-linux-gnu"

#: CPU models of qemu 7.2 that a core's own code runs on; others run on the model with all extensions.
_QEMU_CPUS = ("cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1", "a64fx")


def arm_core(option: str, name: str) -> CpuTarget:
    """The ARMv8 target of that name.

    Raises:
        DwfuseError: there is none; the message begins with the option that named it.
    """
    if name not in ARMV8_TARGETS:
        raise DwfuseError(f"{option} {name}: not an ARMv8 target; there are {', '.join(ARMV8_TARGETS)}")
    return ARMV8_TARGETS[name]


def cross_compiler() -> Toolchain:
    """The C compiler for 64-bit Arm Linux; programs are linked statically, so that they need no sysroot.

    Raises:
        DwfuseError: it is not installed.
    """
    options = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter")
    return Toolchain("aarch64", (_find((_GCC,), "gcc-aarch64-linux-gnu"),), options, ("-static",))


def plugin_compiler() -> Toolchain:
    """The machine's own C compiler, for shared libraries.

    Raises:
        DwfuseError: there is none.
    """
    host = toolchain.host()
    return Toolchain(host.platform, host.command, ("-std=gnu11", "-O2", "-fPIC", "-Wall"), ("-shared",))


def binutil(name: str) -> str:
    """The cross compiler's ``objdump`` or ``nm``.

    Raises:
        DwfuseError: it is not installed.
    """
    return _find((f"aarch64-linux-gnu-{name}",), "binutils-aarch64-linux-gnu")


def qemu() -> str:
    """qemu's emulator of 64-bit Arm Linux programs.

    Raises:
        DwfuseError: it is not installed.
    """
    return _find((_QEMU,), "qemu-user")


def qemu_cpu(core: str) -> str:
    """qemu's CPU model for a core as LLVM calls it: its own where qemu has it, else the one with all extensions."""
    return core if core in _QEMU_CPUS else "max"


def llvm_mca() -> str:
    """LLVM's machine code analyser.

    Raises:
        DwfuseError: it is not installed.
    """
    return _find(_MCAS, "llvm-19")


@cache
def _find(names: tuple[str, ...], package: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise DwfuseError(f"no {names[0]}: `apt-get install {package}`")
