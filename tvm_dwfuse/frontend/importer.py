"""``import_onnx``: from an ONNX model, as exporters write it, to a Relax module of static shapes."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx.inliner
import tvm
from tvm import relax, tirx
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
            module = from_onnx(graph.to_model(), keep_params_in_input=False, sanitize_input_names=False)
        except Exception as error:  # TVM raises what its operators raise, from AssertionError to InternalError
            _clear_quietly(error)
            context = first_line(printed.getvalue()).split(", with inputs")[0] or "TVM's importer"
            raise DwfuseError(f"{graph.label}: {context}: {first_line(str(error))}") from error
    _check_sizes(module, graph.label)
    return module


def _clear_quietly(error: Exception) -> None:
    """Let go of what the failed import holds: TVM's C++ side writes a warning to stderr when that is collected."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        traceback.clear_frames(error.__traceback__)
        gc.collect()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _check_sizes(module: tvm.IRModule, label: str) -> None:
    """Refuse a convolution or pooling whose window, dilated, does not fit its padded input.

    Raises:
        DwfuseError: an output would have no pixels.
    """

    empty: list[tuple[str, list[int]]] = []

    def check(expr: relax.Expr) -> None:
        if not isinstance(expr, relax.Call) or not getattr(expr.op, "name", "").startswith("relax.nn."):
            return
        dims = getattr(getattr(expr.ty, "shape", None), "values", ())
        sizes = [int(dim) for dim in dims if isinstance(dim, tirx.IntImm)]
        if min(sizes, default=1) < 1:
            empty.append((expr.op.name.removeprefix("relax.nn."), sizes))

    relax.analysis.post_order_visit(module["main"], check)
    for operator, sizes in empty:
        raise DwfuseError(
            f"{label}: {operator}: its output would be {sizes}; the kernel, dilated, must fit the padded input"
        )
