"""What is refused, or warned of, before anything is converted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..errors import DwfuseError

if TYPE_CHECKING:
    from .graph import Graph

OLDEST_OPSET = 7

#: Rewritten by ``repair`` or folded, so that TVM's importer need not know them.
_OWN_OPERATORS = {"Swish", "If", "Constant"}

_DOMAINS = ("", "ai.onnx", "com.microsoft")

#: Weights with more elements are left out where onnx copies a model to look at it, and copies up to 2 GB only.
_LARGE = 1024


def check_model(model: onnx.ModelProto, label: str) -> None:
    """Refuse an invalid model, one of an opset too old, and one with operators that cannot be imported.

    Raises:
        DwfuseError: naming the opset, the first complaint of onnx's checker, or all operators with a node of each.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset is None or opset < OLDEST_OPSET:
        found = "no opset of the standard operators" if opset is None else f"opset {opset}"
        raise DwfuseError(f"{label}: {found}; export it with opset {OLDEST_OPSET} or newer")
    _check_operators(model, label)
    try:
        onnx.checker.check_model(_skeleton(model))
    except onnx.checker.ValidationError as error:
        raise DwfuseError(f"{label}: invalid ONNX model: {first_line(str(error))}") from error


def warn_of_nan(graph: Graph) -> None:
    """Warn of each weight that holds a value that is not a number."""
    for name, array in graph.constants.items():
        if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
            warnings.warn(f"{graph.label}: initializer {name!r} holds NaN", stacklevel=3)


def node_name(node: onnx.NodeProto) -> str:
    """What a message calls a node: its name, or else that of its output, and its operator."""
    name = node.name or next(iter(node.output), "")
    return f"node {name!r} ({node.domain + '.' if node.domain else ''}{node.op_type})"


def first_line(text: str) -> str:
    """The first line of a message that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _check_operators(model: onnx.ModelProto, label: str) -> None:
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    known = _OWN_OPERATORS | set(_get_convert_map())
    functions = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    unknown: dict[str, str] = {}
    for node in (node for body in bodies for node in _with_subgraphs(body)):
        if (node.domain, node.op_type) in functions:
            continue
        if node.op_type not in known or node.domain not in _DOMAINS:
            unknown.setdefault(node.op_type, node_name(node))
    if unknown:
        raise DwfuseError(f"{label}: operators not supported: {', '.join(unknown.values())}")


def _with_subgraphs(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _with_subgraphs(attribute.g.node)


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its large weights, which become inputs; onnx's checker copies what it is given."""
    graph = onnx.GraphProto(name=model.graph.name or "graph")
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    inputs = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _LARGE:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for output in graph.output:
        output.type.tensor_type.shape.SetInParent()  # the checker insists on what every runtime infers
    # Old exporters leave initializers out of the inputs, which only IR version 4 allows, and every runtime accepts.
    skeleton = onnx.ModelProto(ir_version=max(model.ir_version, 4), graph=graph)
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    return skeleton
