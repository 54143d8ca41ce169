"""Running an application on GVSOC, GreenWaves' simulator of GAP8, with the GAP SDK's own make rules."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template

from ..codegen_gap8 import runtime
from ..errors import DwfuseError
from . import Application, RunResult
from .host import program_options
from .process import execute, prepare_folder, result_of

_MAKEFILE = runtime.FOLDER.parent / "templates" / "Makefile.txt"
_HOW_TO = "source the SDK's configuration for the board first, e.g. `. gap_sdk/configs/gapuino_v3.sh`"


def require_sdk() -> None:
    """Raise an error that says what to do unless the GAP SDK's environment is there.

    Raises:
        DwfuseError: a variable of it is unset, points nowhere, or make is not installed.
    """
    for variable in ("GAP_SDK_HOME", "RULES_DIR"):
        value = os.environ.get(variable)
        if not value:
            raise DwfuseError(f"{variable} is not set: {_HOW_TO}")
        if not Path(value).is_dir():
            raise DwfuseError(f"{variable}: there is no folder {value}; {_HOW_TO}")
    if not shutil.which("make"):
        raise DwfuseError("no make: `apt-get install make`")


def is_installed() -> bool:
    """Whether the GAP SDK's environment is there."""
    try:
        require_sdk()
    except DwfuseError:
        return False
    return True


def run(
    folder: Path,
    input_data: bytes,
    *,
    check: bool = False,
    profile: bool = False,
    time_limit: float = 600,
    options: tuple[str, ...] = (),
    build_folder: Path | None = None,
) -> RunResult:
    """Build and run the application in ``folder`` with its Makefile.

    The Makefile has to add ``$(DWFUSE_OPTIONS)`` to the compiler's options, and to define the macro ``DWFUSE_FOLDER``
    as the string ``$(DWFUSE_FOLDER)``: where the program finds ``input.bin`` and writes ``output.bin``.

    Args:
        folder: the application's.
        input_data: contents of its ``input.bin``.
        check: compare activations with the golden files.
        profile: print a table of the layers; counters of bytes between L2 and L1 are 0 without it.
        time_limit: seconds for building and running.
        options: further compiler options.
        build_folder: where to build; by default ``build-gvsoc`` in the folder.

    Raises:
        DwfuseError: the SDK is missing, or the program cannot be built, fails, takes too long or gives no result.
    """
    require_sdk()
    application = Application.read(folder)
    flags = " ".join([*program_options(check, profile), *options])
    where = (build_folder or folder / "build-gvsoc").resolve()
    prepare_folder(application, folder, where, input_data)
    # The SDK's rules do not rebuild when options change, so each set of options has objects of its own.
    kind = hashlib.sha256(f"{where} {flags}".encode()).hexdigest()[:8]
    variables = [f"DWFUSE_OPTIONS={flags}", f"DWFUSE_FOLDER={where}/", f"build_dir_ext=_{kind}"]
    line = ["make", "-s", "all", "run", "platform=gvsoc", *variables]
    log = execute(line, folder, application.name, time_limit)
    output = where / "output.bin"
    return result_of(application, log, output.read_bytes() if output.exists() else b"")


def prepare_program(name: str, sources: Sequence[Path], include: Sequence[Path], folder: Path) -> list[str]:
    """Write a Makefile for a program of these sources to ``folder``, where it finds its files.

    Returns:
        The command that builds and runs it, to be called there.

    Raises:
        DwfuseError: the SDK is missing.
    """
    require_sdk()
    values = {"name": name, "app": name, "flash": ""}
    values |= {"sources": " ".join(map(str, sources)), "include": " ".join(map(str, include))}
    (folder / "Makefile").write_text(Template(_MAKEFILE.read_text()).substitute(values))
    return ["make", "-s", "all", "run", "platform=gvsoc", f"DWFUSE_FOLDER={folder.resolve()}/"]
