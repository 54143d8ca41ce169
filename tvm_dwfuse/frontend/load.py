"""Reading ONNX files with their external data."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from ..errors import DwfuseError
from .check import first_line


def load_model(model: str | Path | onnx.ModelProto, label: str) -> onnx.ModelProto:
    """The model of a file, weights of more than 2 GB in external data included; a model in memory as it is.

    Raises:
        DwfuseError: the file cannot be read, is no ONNX model or a truncated one, or external data is missing.
    """
    if isinstance(model, onnx.ModelProto):
        if any(uses_external_data(tensor) for tensor in model.graph.initializer):
            raise DwfuseError(f"{label}: its external data is not loaded; give its path, or load it with onnx.load")
        return model
    path = Path(model)
    proto = _read(path, label)
    try:
        load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # a checker error, ValueError or OSError, by what is wrong with the file
        missing = [_location(tensor) for tensor in proto.graph.initializer if uses_external_data(tensor)]
        where = missing[0] if missing else "external data"
        raise DwfuseError(
            f"{label}: cannot load the external weights in {where!r}: {first_line(str(error))}"
        ) from error
    return proto


def _read(path: Path, label: str) -> onnx.ModelProto:
    try:
        proto = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise DwfuseError(f"{label}: cannot read the model: {error.strerror or error}") from error
    except DecodeError as error:
        raise DwfuseError(f"{label}: not an ONNX model, or a truncated one") from error
    if not proto.ir_version or not proto.opset_import or not (proto.graph.node or proto.graph.output):
        raise DwfuseError(f"{label}: not an ONNX model, or a truncated one")
    return proto


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
