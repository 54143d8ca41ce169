"""A network compiled for another machine: it is saved here, and runs here under an emulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import artifact
from .errors import DwfuseError
from .network import CompiledNetwork, Inputs, check_inputs


class CrossNetwork(CompiledNetwork):
    """What ``tvm_dwfuse.compile`` returns for a target other than the host, and :func:`load_cross` reads.

    It is not loaded into this process. :meth:`run` runs the example program of its C library: on a machine of its
    architecture as it is, elsewhere under qemu. Times come from a board, by :class:`tvm_dwfuse.RemoteNetwork`.
    """

    def _load(self) -> None:
        """Nothing: this process cannot execute the library."""

    @property
    def c_library(self) -> Path:
        """The folder of its C library; not there when it was compiled without one."""
        return self._library.parent / artifact.C_LIBRARY

    def save(self, folder: str | Path) -> None:
        """Write the artifact ``folder``, all of it or nothing; an artifact already there is replaced.

        Raises:
            DwfuseError: the folder cannot be written, or holds something else.
        """
        c_library = self.c_library if self.c_library.is_dir() else None
        artifact.write(Path(folder), self.manifest, self._library, c_library)

    def run(self, inputs: Inputs) -> list[np.ndarray]:
        """The outputs, in order, for ``inputs``: an array when there is one input, or arrays by input name.

        Raises:
            DwfuseError: an input is missing, unknown, or of another shape or dtype; or there is no C library or no
                qemu; or the program fails or takes too long.
        """
        from .codegen_c import run_example

        if not self.c_library.is_dir():
            raise DwfuseError(
                f"{self.manifest.model}: compiled without a C library, so that qemu has nothing to run; compile it "
                "with one, or run it on a board with --rpc HOST:PORT"
            )
        return run_example(self.c_library, self.manifest, check_inputs(self.inputs, inputs))

    def bind(self, inputs: Inputs) -> Callable[[], Any]:
        """Refused, and with it timing and profiling: an emulator's times say nothing of the CPU.

        Raises:
            DwfuseError: always.
        """
        raise DwfuseError(
            f"{self.manifest.model}: compiled for {self.manifest.target.name}, cannot be timed or profiled on this "
            "machine; save it, and time it on a board with `dwfuse run ARTIFACT --rpc HOST:PORT`"
        )


def load_cross(folder: str | Path) -> CrossNetwork:
    """The artifact ``folder`` that was compiled for another machine.

    Raises:
        DwfuseError: not an artifact, one of another version, or one compiled for the machine that compiled it.
    """
    folder = Path(folder)
    manifest = artifact.read(folder)
    if not manifest.target.triple:
        raise DwfuseError(f"{folder}: compiled for the machine it was made on; load it with tvm_dwfuse.load there")
    return CrossNetwork(folder / artifact.LIBRARY, manifest)
