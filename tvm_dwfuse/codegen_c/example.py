"""Running the example program of a C library, on this machine or under qemu."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..artifact import Manifest
from ..errors import DwfuseError
from ..runners.process import execute
from .tools import emulator


def run_example(
    folder: Path,
    manifest: Manifest,
    arrays: Sequence[np.ndarray],
    runs: int = 1,
    threads: int | None = None,
    time_limit: float = 600,
    program: str = "example",
) -> list[np.ndarray]:
    """The outputs of a network for ``arrays``, computed by the example program of its C library.

    Args:
        folder: the library's.
        manifest: its target, inputs and outputs.
        arrays: one for each input, of its shape and dtype.
        runs: timed runs, after one that is not.
        threads: to use; those the network was compiled for by default.
        time_limit: seconds for the program.
        program: its name in the folder.

    Raises:
        DwfuseError: the program is not there, fails or takes too long; or there is no emulator for it.
    """
    path = (folder / program).resolve()
    if not path.is_file():
        raise DwfuseError(f"{folder}: has no program {program!r}; compile the model again")
    with tempfile.TemporaryDirectory(prefix="dwfuse-run-") as temporary:
        where = Path(temporary)
        inputs = [where / f"input_{i}.bin" for i in range(len(manifest.inputs))]
        outputs = [where / f"output_{i}.bin" for i in range(len(manifest.outputs))]
        for file, array in zip(inputs, arrays, strict=True):
            np.ascontiguousarray(array).tofile(file)
        options = ["--runs", str(runs), "--threads", str(threads or manifest.threads)]
        line = [*emulator(manifest.target.arch, manifest.target.mcpu), str(path), *map(str, [*inputs, *outputs])]
        execute([*line, *options], where, manifest.model, time_limit)
        return [
            np.fromfile(file, info.dtype).reshape(info.shape)
            for file, info in zip(outputs, manifest.outputs, strict=True)
        ]
