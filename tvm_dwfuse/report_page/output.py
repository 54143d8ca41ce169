"""Writing several files so that nothing of them appears before all of them are written."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from ..errors import DwfuseError


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into the folder by names, each by a rename, the last one last.

    A failure while writing leaves none of them; names that are there are replaced.

    Raises:
        DwfuseError: a file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".dwfuse-", dir=folder) as staging:
            for name, data in files.items():
                _check_no_folder(folder / name)
                (Path(staging) / name).write_bytes(data)
            for name in files:
                os.replace(Path(staging) / name, folder / name)
    except OSError as error:
        raise DwfuseError(f"{folder}: cannot be written ({error.strerror})") from error


def remove_others(folder: Path, pattern: re.Pattern[str], kept: Collection[str]) -> None:
    """Remove the files of the folder whose whole names match, but for those that are kept."""
    for path in folder.iterdir():
        if pattern.fullmatch(path.name) and path.name not in kept and not path.is_dir():
            path.unlink(missing_ok=True)


def _check_no_folder(path: Path) -> None:
    if path.is_dir():
        raise DwfuseError(f"{path}: is a folder; move it away, a file of the report has that name")
