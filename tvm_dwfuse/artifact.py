"""What a build leaves on disk: a folder with a shared library and a manifest, and how it is written and checked.

The folder holds ``network.so``, a Relax VM executable with its weights, and ``manifest.json``, the
:class:`Manifest`; when it was compiled for another machine also ``c/``, the network as a plain C library. It appears by
one rename: a build that fails or is killed leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .chosen import Choice
from .errors import DwfuseError

FORMAT = 1
LIBRARY = "network.so"
MANIFEST = "manifest.json"
C_LIBRARY = "c"

#: The ``kind`` in the manifest of an application for a cluster.
APPLICATION = "application"


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class TargetInfo:
    """What the library was generated for: ``name`` as the user gave it, LLVM's architecture, CPU and features.

    ``triple`` is the platform it was cross-compiled for; "" when it was that of the machine that compiled it.
    """

    name: str
    arch: str
    mcpu: str
    features: tuple[str, ...]
    triple: str = ""


@dataclass(frozen=True)
class Manifest:
    """The facts about an artifact that are needed to load and to describe it.

    ``fused`` has the number of fused blocks by variant name; ``choice`` is None in artifacts made before it was told.
    """

    model: str
    target: TargetInfo
    threads: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tvm: str
    tvm_dwfuse: str
    fused: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT
    choice: Choice | None = None

    def to_json(self) -> str:
        """Indented JSON; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Manifest:
        """The manifest that :meth:`to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: the text is not a manifest.
        """
        fields = json.loads(text)
        fields["target"] = TargetInfo(**{**fields["target"], "features": tuple(fields["target"]["features"])})
        for key in ("inputs", "outputs"):
            fields[key] = tuple(TensorInfo(**{**info, "shape": tuple(info["shape"])}) for info in fields[key])
        if fields.get("choice"):
            fields["choice"] = Choice.from_fields(fields["choice"])
        return Manifest(**fields)


def check_destination(folder: Path) -> None:
    """Refuse early, before minutes of compiling, a folder that cannot be written or must not be replaced.

    Raises:
        DwfuseError: ``folder`` is a file, a folder that is not an artifact, or its parent cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise DwfuseError(f"{folder}: is a file; name a folder to write the artifact to")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise DwfuseError(f"{folder}: holds something that is not an artifact, and is left alone; name another folder")
    existing = _nearest_existing(folder.absolute().parent)
    try:
        # Asking for permission does not tell of read-only file systems, or of anything to root.
        os.rmdir(tempfile.mkdtemp(prefix=".dwfuse-", dir=existing))
    except OSError as error:
        raise DwfuseError(f"{folder}: cannot be written ({existing}: {error.strerror})") from error


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty sibling folder to fill, which takes the place of ``folder`` when the body ends without error.

    Raises:
        DwfuseError: see :func:`check_destination`, or the file system refuses.
    """
    check_destination(folder)
    # A trailing ".." or symbolic link must not make the sibling land elsewhere.
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        staging.chmod(0o755)
    except OSError as error:
        raise DwfuseError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        yield staging
        _swap(staging, folder)
    except OSError as error:
        raise DwfuseError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write(folder: Path, manifest: Manifest, library: Path, c_library: Path | None = None) -> None:
    """Write the artifact ``folder`` with copies of ``library`` and the folder ``c_library``; one there is replaced.

    Raises:
        DwfuseError: see :func:`replacing`.
    """
    with replacing(folder) as staging:
        shutil.copyfile(library, staging / LIBRARY)
        if c_library:
            shutil.copytree(c_library, staging / C_LIBRARY)
        (staging / MANIFEST).write_text(manifest.to_json())


def read(folder: Path) -> Manifest:
    """The manifest of the artifact ``folder``, its files and versions checked.

    Raises:
        DwfuseError: not a folder, not an artifact, incomplete, or made by other versions.
    """
    if not folder.is_dir():
        raise DwfuseError(f"{folder}: no such folder; `dwfuse compile MODEL -o {folder}` writes one")
    if is_application(folder):
        raise DwfuseError(f"{folder}: an application for a cluster; load it with tvm_dwfuse.load_application")
    for name in (MANIFEST, LIBRARY):
        if not (folder / name).is_file():
            raise DwfuseError(f"{folder}: not an artifact, {name} is missing; `dwfuse compile` writes artifacts")
    try:
        fields: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        _check_format(folder, fields.get("format"))
        manifest = Manifest.from_json(json.dumps(fields))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DwfuseError(f"{folder / MANIFEST}: damaged manifest; compile the model again") from error
    _check_versions(folder, manifest)
    return manifest


def is_application(folder: Path) -> bool:
    """Whether ``folder`` holds an application for a cluster, whose manifest is another; see ``cluster_artifact``."""
    try:
        return json.loads((folder / MANIFEST).read_text()).get("kind") == APPLICATION
    except (OSError, ValueError, AttributeError):
        return False


def check_host(folder: Path, manifest: Manifest, arch: str, features: frozenset[str]) -> None:
    """Refuse an artifact whose instructions this machine, of that architecture and CPU features, does not have.

    Raises:
        DwfuseError: another architecture, or a CPU feature is missing.
    """
    target = manifest.target
    if target.arch != arch:
        raise DwfuseError(f"{folder}: compiled for {target.arch}, this machine is {arch}; {_elsewhere(target)}")
    missing = sorted(set(target.features) - features)
    if missing:
        raise DwfuseError(
            f"{folder}: compiled for {target.mcpu}, this CPU lacks {', '.join(missing)}; compile the model again here"
        )


def _elsewhere(target: TargetInfo) -> str:
    """What can be done with an artifact for another architecture than this machine's."""
    if not target.triple:
        return "compile the model again here, or give `dwfuse run` its --rpc HOST:PORT"
    return "`dwfuse run` runs it under qemu, and on a board with --rpc HOST:PORT"


def _check_format(folder: Path, version: object) -> None:
    if version != FORMAT:
        raise DwfuseError(f"{folder}: artifact format {version}, this version reads {FORMAT}; compile the model again")


def _check_versions(folder: Path, manifest: Manifest) -> None:
    from importlib.metadata import version

    from . import __version__

    for name, made_by, here in (
        ("tvm_dwfuse", manifest.tvm_dwfuse, __version__),
        ("TVM", manifest.tvm, version("apache-tvm")),
    ):
        if made_by != here:
            raise DwfuseError(f"{folder}: made by {name} {made_by}, this is {here}; compile the model again")


def _swap(staging: Path, folder: Path) -> None:
    """Rename ``staging`` to ``folder``; what was there is moved aside first and put back when that fails."""
    if not folder.exists():
        staging.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
