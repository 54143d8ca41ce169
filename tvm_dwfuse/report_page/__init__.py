"""The report of a build: one HTML page, and its charts as PNG files beside it.

:mod:`.model` is what the page shows, as data; :mod:`.of_cluster`, :mod:`.of_cpu` and :mod:`.tuning_curves` make it from
what a build and a tuning run leave on disk; :mod:`.overview`, :mod:`.picture`, :mod:`.bars` and :mod:`.curve_charts`
draw it, :mod:`.tables` says it in numbers, and :mod:`.page` puts it together.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import DwfuseError

__all__ = ["write_build_report"]


def write_build_report(folder: Path, output: Path, database: Path | None = None, profile: bool = False) -> list[Path]:
    """Write the report of a build: an HTML file, which needs no other, and its charts as PNG files beside it.

    Equal builds and databases give equal files, as long as nothing is profiled.

    Args:
        folder: of an artifact or an application.
        output: the HTML file; the charts are called ``<its name>-<chart>.png``.
        database: work-dir of a tuning run, for the tuning curves.
        profile: also run the artifact here, and show the time of each block.

    Returns:
        The files written, the HTML first.

    Raises:
        DwfuseError: no build, one that cannot be profiled here, no tuning database, a file cannot be written, or the
            libraries that draw are missing.
    """
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise DwfuseError(f"reports need {' and '.join(missing)}; install them: pip install 'tvm-dwfuse[report]'")
    from .report import write

    return write(folder, output, database, profile)
