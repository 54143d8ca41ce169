"""Running an application on this machine: the cores are threads, a transfer is a copy."""

from __future__ import annotations

from pathlib import Path

from ..codegen_gap8 import runtime
from . import Application, RunResult, toolchain
from .process import run_in_folder


def build(
    folder: Path,
    *,
    sanitize: str | None = None,
    dma_late: bool = False,
    check: bool = False,
    profile: bool = False,
    build_folder: Path | None = None,
) -> Path:
    """Build the application in ``folder``, by default in its ``build-host``; see :func:`run`. Returns the program."""
    tools = toolchain.host(sanitize, dma_late).with_options(*program_options(check, profile))
    return build_application(tools, folder, build_folder)


def run(
    folder: Path,
    input_data: bytes,
    *,
    sanitize: str | None = None,
    dma_late: bool = False,
    check: bool = False,
    profile: bool = False,
    time_limit: float = 120,
    fail: str = "",
    build_folder: Path | None = None,
) -> RunResult:
    """Build and run the application in ``folder``.

    Args:
        folder: the application's.
        input_data: contents of its ``input.bin``.
        sanitize: "address,undefined" or "thread".
        dma_late: bytes move when a transfer is waited for, not when it starts.
        check: compare activations with the golden files.
        profile: print a table of the layers.
        time_limit: seconds for the run.
        fail: a fault to inject: "l1", "l2", "l3_open" or "l3_read:N".
        build_folder: where to build; by default ``build-host`` in the folder.

    Raises:
        DwfuseError: it cannot be built, fails, takes too long or gives no result.
    """
    program = build(
        folder, sanitize=sanitize, dma_late=dma_late, check=check, profile=profile, build_folder=build_folder
    )
    application = Application.read(folder)
    return run_in_folder(application, folder, input_data, [str(program.resolve())], time_limit, DWFUSE_FAIL=fail)


def program_options(check: bool, profile: bool) -> tuple[str, ...]:
    """Compiler options of a program that compares with golden files or prints a profile."""
    return tuple(option for option, wanted in (("-DDWFUSE_CHECK", check), ("-DDWFUSE_PROFILE", profile)) if wanted)


def build_application(tools: toolchain.Toolchain, folder: Path, build_folder: Path | None) -> Path:
    """Build the application in ``folder`` with these tools."""
    application = Application.read(folder)
    own = folder / application.runtime
    sources = [folder / name for name in application.sources]
    sources += [own / path.name for path in runtime.sources(tools.platform)]
    include = [folder / name for name in application.include] + [own]
    return toolchain.build(
        tools, sources, include, (build_folder or folder / f"build-{tools.platform}") / application.name
    )
