"""Reading what the command line is given, and writing its results: shapes, arrays, ONNX and text files.

A result file is written beside its place and renamed, so that a failure leaves no half of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from .artifact import TensorInfo
from .errors import DwfuseError

if TYPE_CHECKING:
    import onnx


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]] | None:
    """``["x:1,3,224,224"]`` as ``{"x": (1, 3, 224, 224)}``; None for nothing.

    Raises:
        DwfuseError: a text is not of that form, or a dimension is not positive.
    """
    return dict(map(_parse_shape, texts)) if texts else None


def parse_names(option: str, text: str, known: Sequence[str]) -> list[str]:
    """Names divided by commas, each of them one of ``known``.

    Raises:
        DwfuseError: one is not.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DwfuseError(f"{option}: unknown name {unknown[0]!r}; known: {', '.join(known)}")
    return list(dict.fromkeys(names))


def read_arrays(texts: Sequence[str], expected: Sequence[TensorInfo]) -> dict[str, np.ndarray]:
    """The arrays of ``[NAME=]FILE.npy`` texts by input name; the name may be left out when there is one input.

    Raises:
        DwfuseError: a file cannot be read, or the inputs named are not those expected.
    """
    arrays = dict(_read_input(text, expected) for text in texts)
    names = [info.name for info in expected]
    for wrong in sorted({*arrays} ^ {*names}):
        what = "no such input" if wrong in arrays else "no array given"
        raise DwfuseError(f"input {wrong!r}: {what}; inputs: {', '.join(names)}")
    return arrays


def read_inputs(texts: Sequence[str], expected: Sequence[TensorInfo]) -> dict[str, np.ndarray]:
    """As :func:`read_arrays`, shapes and dtypes checked.

    Raises:
        DwfuseError: a file cannot be read, or an array's name, shape or dtype is not what is expected.
    """
    from .network import check_inputs

    arrays = dict(_read_input(text, expected) for text in texts)
    return dict(zip((info.name for info in expected), check_inputs(expected, arrays), strict=True))


def model_inputs(model: Path, shapes: dict[str, tuple[int, ...]] | None) -> tuple[TensorInfo, ...]:
    """The inputs of an ONNX file, with the dimensions in ``shapes`` put in.

    Raises:
        DwfuseError: the file cannot be imported, or a shape is left open.
    """
    from .api import signature

    return signature(model, shapes)[0]


def check_writable(path: Path) -> None:
    """Refuse early, before minutes of work, a file that cannot be written.

    Raises:
        DwfuseError: there is a folder of that name, or its own folder is missing or cannot be written.
    """
    if path.is_dir():
        raise DwfuseError(f"{path}: is a folder; name a file")
    try:
        # Asking for permission does not tell of read-only file systems, or of anything to root.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DwfuseError(f"{path}: cannot be written ({error.strerror})") from error


def write_outputs(path: Path, infos: Sequence[TensorInfo], arrays: Sequence[np.ndarray]) -> None:
    """Write one array as .npy, or several as .npz by output name.

    Raises:
        DwfuseError: the file cannot be written, or is .npy and there are several outputs.
    """
    if path.suffix == ".npz":
        named = {info.name: array for info, array in zip(infos, arrays, strict=True)}
        _write(path, lambda file: np.savez(file, allow_pickle=False, **named))
        return
    if len(arrays) != 1:
        raise DwfuseError(f"{path}: the network has {len(arrays)} outputs; name a .npz file")
    _write(path, lambda file: np.save(file, arrays[0]))


def write_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Write an ONNX file.

    Raises:
        DwfuseError: the file cannot be written.
    """
    _write(path, lambda file: file.write(model.SerializeToString()))


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        DwfuseError: the file cannot be written.
    """
    _write(path, lambda file: file.write(text.encode()))


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, dims = text.rpartition(":")
    try:
        shape = tuple(int(dim) for dim in dims.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise DwfuseError(f"--shape {text}: expected NAME:D0,D1,... with positive numbers, such as x:1,3,224,224")
    return name, shape


def _read_input(text: str, expected: Sequence[TensorInfo]) -> tuple[str, np.ndarray]:
    name, given, file = text.rpartition("=")
    if not given:
        if len(expected) != 1:
            names = ", ".join(info.name for info in expected)
            raise DwfuseError(f"--input {text}: the network has several inputs ({names}); write NAME=FILE.npy")
        name = expected[0].name
    try:
        array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise DwfuseError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise DwfuseError(f"{file}: not a .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        raise DwfuseError(f"{file}: holds several arrays; give each input its own .npy file")
    return name, array


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    try:
        handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise DwfuseError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        os.chmod(staging, 0o644)
        os.replace(staging, path)
    except OSError as error:
        raise DwfuseError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        Path(staging).unlink(missing_ok=True)
