"""Running aarch64 programs under qemu with a plugin of our own that counts: ``native/count_plugin.c``."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import toolchain
from tvm_dwfuse.runners.process import ProgramError, execute

from . import tools

#: C sources of the plugin and of what is linked to the code it counts.
NATIVE = Path(__file__).parent / "native"

_COUNTS = "counts.json"
_PROFILE = "profile.txt"
_TIME_LIMIT = 600.0


@dataclass(frozen=True)
class Counts:
    """What was executed between the markers, the same in every run.

    ``loads`` and ``stores`` are instructions, one for a pair too; ``multiply_adds`` are vector FMLA and FMLS.
    ``outputs`` are a kernel's output arrays; a whole program has none.
    """

    instructions: int
    loads: int
    stores: int
    multiply_adds: int
    outputs: tuple[np.ndarray, ...] = ()


def count_program(
    line: Sequence[str], folder: Path, cpu: str, time_limit: float = _TIME_LIMIT, profile: bool = False
) -> Counts:
    """Run an aarch64 program under qemu and count between its markers, see ``native/count_plugin.c``.

    Args:
        line: the program and its arguments.
        folder: where it runs.
        cpu: qemu's CPU model.
        time_limit: seconds.
        profile: leave what :func:`read_profile` reads in the folder.

    Raises:
        DwfuseError: qemu is not installed or takes no plugins, the program fails, or it passes no markers.
    """
    what = Path(line[0]).name
    (folder / _COUNTS).unlink(missing_ok=True)
    _emulate(line, folder, cpu, time_limit, f"out={_COUNTS}" + (f",profile={_PROFILE}" if profile else ""))
    try:
        found = json.loads((folder / _COUNTS).read_text())
    except (OSError, ValueError) as error:
        raise DwfuseError(f"{what}: qemu's plugin left no counts") from error
    starts, stops = found.pop("starts"), found.pop("stops")
    if not starts or starts != stops:
        raise DwfuseError(f"{what}: passed {starts} start markers and {stops} stop markers")
    return Counts(**found)


def read_profile(folder: Path) -> Counter[int]:
    """How often the instruction at each address was executed between the markers, after :func:`count_program`."""
    executed: Counter[int] = Counter()
    for text in (folder / _PROFILE).read_text().splitlines():
        start, length, times = map(int, text.split())
        for address in range(start, start + 4 * length, 4):
            executed[address] += times
    return executed


def require_plugins() -> None:
    """Find out whether qemu takes plugins.

    Raises:
        DwfuseError: it does not, is not installed, or there is no C compiler for the plugin.
    """
    with tempfile.TemporaryDirectory(prefix="dwfuse-probe-") as folder:
        try:
            # The plugin is loaded first; then it does not matter that there is no such program.
            _emulate(["no-program"], Path(folder), "max", 60, f"out={_COUNTS}")
        except ProgramError:
            return


def _emulate(line: Sequence[str], folder: Path, cpu: str, time_limit: float, arguments: str) -> None:
    # In an option of qemu's, a comma is written twice.
    plugin = str(_plugin()).replace(",", ",,")
    command = [tools.qemu(), "-L", tools.SYSROOT, "-cpu", cpu, "-plugin", f"{plugin},{arguments}", *line]
    try:
        execute(command, folder, f"{Path(line[0]).name} under qemu-aarch64", time_limit)
    except ProgramError as error:
        if "plugin" not in error.reason:
            raise
        raise DwfuseError(f"{command[0]} takes no plugins ({error.reason}); qemu-user 7.2 of Debian 12 does") from error


@cache
def _plugin() -> Path:
    compiler = tools.plugin_compiler()
    built = toolchain.compile_object(compiler, NATIVE / "count_plugin.c", [NATIVE])
    return toolchain.link(compiler, [built], built.with_suffix(".so"))
