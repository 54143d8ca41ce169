"""The C runtime of generated programs: which files make it up on which platform."""

from __future__ import annotations

from pathlib import Path

#: Where the files are; also the folder to include headers from.
FOLDER = Path(__file__).parent

#: Compiled into every program; ``dwfuse_main.c`` holds the main program around a generated network.
COMMON = ("dwfuse_common.c",)
MAIN = "dwfuse_main.c"

#: Transfers as copies; the only file that ``-DDWFUSE_DMA_LATE`` changes.
COPIES = "dwfuse_memory.c"
_SIMULATED = (COPIES, "dwfuse_files.c")

#: What each platform adds.
PLATFORMS = {
    "host": (*_SIMULATED, "dwfuse_host.c"),
    "rv32": (*_SIMULATED, "dwfuse_rv32.c", "dwfuse_rv32_start.S"),
    "gap8": ("dwfuse_gap8.c",),
}

HEADERS = ("dwfuse_runtime.h", "dwfuse_scalar.h", "dwfuse_platform.h", "dwfuse_memory.h")
RV32_LINKER_SCRIPT = "dwfuse_rv32.ld"

#: Everything that an application takes along.
APPLICATION_FILES = tuple(
    sorted({*COMMON, MAIN, *HEADERS, RV32_LINKER_SCRIPT, *(name for names in PLATFORMS.values() for name in names)})
)

#: In place of ``MAIN``: runs many cases of layer functions, for tests.
CASES_MAIN = "dwfuse_cases.c"


def sources(platform: str, main: str = MAIN) -> tuple[Path, ...]:
    """The runtime's source files for a platform ("host", "rv32" or "gap8")."""
    return tuple(FOLDER / name for name in (*COMMON, main, *PLATFORMS[platform]))
