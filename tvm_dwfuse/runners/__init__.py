"""Building and running generated applications: on the host, on plain RV32 under QEMU, on GVSOC.

An application is a folder with ``application.json``, which :class:`Application` describes. A runner is a module with
``run(folder, input, ...) -> RunResult``; whatever gives no result raises a :class:`~tvm_dwfuse.errors.DwfuseError`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import DwfuseError

DESCRIPTION = "application.json"


@dataclass(frozen=True)
class Application:
    """What a runner has to know of an application; all paths are relative to its folder.

    Args:
        name: of the network.
        cores: of the cluster the code was generated for.
        l1_bytes, l2_bytes: sizes of the arenas, for reports.
        input_bytes, output_bytes: sizes of ``input.bin`` and ``output.bin``.
        sources: C files of every platform: the network, its layers and the kernels.
        include: folders with headers.
        runtime: folder with the files of :data:`tvm_dwfuse.codegen_gap8.runtime.APPLICATION_FILES`.
        weights: the file that is copied to L3, or None.
        golden: folder with one file for each activation that can be checked, or None.
    """

    name: str
    cores: int
    l1_bytes: int
    l2_bytes: int
    input_bytes: int
    output_bytes: int
    sources: tuple[str, ...]
    include: tuple[str, ...]
    runtime: str = "runtime"
    weights: str | None = None
    golden: str | None = None

    def write(self, folder: Path) -> None:
        """Write ``application.json`` to the folder."""
        (folder / DESCRIPTION).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Application:
        """Read the description of the application in the folder.

        Raises:
            DwfuseError: there is none, or it is damaged.
        """
        path = folder / DESCRIPTION
        try:
            values = json.loads(path.read_text())
            return cls(**values | {name: tuple(values[name]) for name in ("sources", "include")})
        except OSError as error:
            raise DwfuseError(f"{path}: {error.strerror}; make the application with `dwfuse compile`") from error
        except (ValueError, TypeError, KeyError) as error:
            raise DwfuseError(f"{path}: damaged ({error}); compile the application again") from error


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Args:
        outputs: contents of the output files by name; the network's is ``"output"``.
        ticks: what the run took, in ``unit``.
        unit: "us" on the host, "instructions" of all harts on RV32, "cycles" of the cluster on GVSOC.
        counters: bytes moved by kind and direction, numbers of transfers and of golden files compared ("checked").
        log: all that the program printed.
    """

    outputs: dict[str, bytes] = field(repr=False)
    ticks: int
    unit: str
    counters: dict[str, int]
    log: str = field(repr=False)
