"""Running an application on plain RV32: QEMU's "virt" machine with eight harts, counting instructions."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import DwfuseError
from . import Application, RunResult, toolchain
from .host import build_application, program_options
from .process import run_in_folder

_QEMU = "qemu-system-riscv32"


def command(program: Path) -> list[str]:
    """The command that runs a program with files of the current folder, the same instructions every time.

    Raises:
        DwfuseError: QEMU is not installed.
    """
    if not shutil.which(_QEMU):
        raise DwfuseError(f"no {_QEMU}: `apt-get install qemu-system-misc`")
    machine = ["-machine", "virt", "-bios", "none", "-smp", "8", "-icount", "shift=0"]
    console = [
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-semihosting-config",
        "enable=on,target=native",
    ]
    return [_QEMU, *machine, *console, "-kernel", str(program.resolve())]


def build(
    folder: Path,
    *,
    dma_late: bool = False,
    check: bool = False,
    profile: bool = False,
    build_folder: Path | None = None,
) -> Path:
    """Build the application in ``folder``, by default in its ``build-rv32``; see :func:`run`. Returns the program."""
    tools = toolchain.rv32(dma_late).with_options(*program_options(check, profile))
    return build_application(tools, folder, build_folder)


def run(
    folder: Path,
    input_data: bytes,
    *,
    dma_late: bool = False,
    check: bool = False,
    profile: bool = False,
    time_limit: float = 300,
    build_folder: Path | None = None,
) -> RunResult:
    """Build and run the application in ``folder``; the parameters are those of :func:`tvm_dwfuse.runners.host.run`.

    Raises:
        DwfuseError: compiler or QEMU is missing, or the program cannot be built, fails, takes too long or gives no
            result.
    """
    program = build(folder, dma_late=dma_late, check=check, profile=profile, build_folder=build_folder)
    return run_in_folder(Application.read(folder), folder, input_data, command(program), time_limit)
