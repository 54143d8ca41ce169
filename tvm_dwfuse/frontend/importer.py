"""``import_onnx``: from an ONNX model, as exporters write it, to a Relax module of static shapes."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx.inliner
import tvm
from tvm.relax.frontend.onnx import from_onnx

from ..errors import DwfuseError
from .check import check_model, first_line, warn_of_nan
from .fold import fold_constants
from .graph import Graph
from .load import load_model
from .repair import repair
from .shapes import fix_shapes


def import_onnx(
    model: str | Path | onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tvm.IRModule:
    """Import an ONNX network of opset 7 to 21 as a Relax module.

    The module computes what the network computes at inference, on NCHW activations, its weights as constants and the
    parameters of ``main`` named as the network's inputs are. Bring it into canonical form by
    ``relay_passes.canonicalize_passes()``.

    Args:
        model: path of an ONNX file, its external data beside it; or a model in memory, its external data loaded.
        shapes: shapes by input name, for inputs with dimensions left open.

    Raises:
        DwfuseError: the file is missing, truncated or no ONNX model, or its external data is; an operator is unknown;
            an input's shape is left open or contradicts ``shapes``; a node is invalid.

    A weight that is not a number is a warning.
    """
    label = "ONNX model" if isinstance(model, onnx.ModelProto) else str(model)
    proto = load_model(model, label)
    check_model(proto, label)
    if proto.functions:  # newer exporters write modules of the network as functions
        proto = onnx.inliner.inline_local_functions(proto)
    graph = Graph(proto, label)
    fix_shapes(graph, shapes or {})
    warn_of_nan(graph)
    fold_constants(graph)
    repair(graph)
    return _convert(graph)


def _convert(graph: Graph) -> tvm.IRModule:
    # TVM's importer prints to stdout what it fails at, and warns of a model that is too large for onnx's checker.
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return from_onnx(graph.to_model(), keep_params_in_input=False, sanitize_input_names=False)
        except Exception as error:  # TVM raises what its operators raise, from AssertionError to InternalError
            context = first_line(printed.getvalue()).split(", with inputs")[0] or "TVM's importer"
            raise DwfuseError(f"{graph.label}: {context}: {first_line(str(error))}") from error
