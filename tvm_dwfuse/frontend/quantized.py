"""``import_quantized``: from a quantized ONNX model to an integer network, as plain Python or as a Relax module."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx.inliner

from ..errors import DwfuseError
from ..integer_network import Layer, Network
from .check import check_model, node_name
from .fold import fold_constants
from .graph import Graph
from .load import load_model
from .quantized_constants import take_quantized_constants
from .quantized_operators import open_quantized_operators
from .quantized_reader import Reader
from .shapes import fix_shapes

if TYPE_CHECKING:
    import tvm

Shapes = Mapping[str, tuple[int, ...]]


def import_quantized(model: str | Path | onnx.ModelProto, shapes: Shapes | None = None) -> tvm.IRModule:
    """Import a quantized ONNX network as a Relax module of integer operators.

    ``main`` takes and returns uint8 NHWC activations of batch 1; the form of its layers and its attributes are those
    of :func:`.quantized_relax.network_to_relax`.

    Args:
        model: path of an ONNX file, or a model; QDQ or QOperator form.
        shapes: shapes by input name, for inputs with dimensions left open. A batch left open is 1.

    Raises:
        DwfuseError: see :func:`read_quantized`.
    """
    from .quantized_relax import network_to_relax

    return network_to_relax(read_quantized(model, shapes))


def read_quantized(model: str | Path | onnx.ModelProto, shapes: Shapes | None = None) -> Network:
    """Read a quantized ONNX network as layers with integer constants.

    QuantizeLinear of an input and DequantizeLinear of an output become the boundary of the network. A Softmax at the
    end is left out with a warning; int8 activations become uint8 with a zero point that is 128 higher.

    Args:
        model, shapes: see :func:`import_quantized`.

    Raises:
        DwfuseError: the file cannot be read; the network is not quantized, or not statically; a node has no integer
            form; weights are not symmetric int8, or their scales not one for each output channel; the batch is not 1.
    """
    label = "ONNX model" if isinstance(model, onnx.ModelProto) else str(model)
    proto = load_model(model, label)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    graph = Graph(proto, label)
    _check_quantized(graph)
    open_quantized_operators(graph)
    check_model(graph.to_model(), label)
    fix_shapes(graph, _with_batch_of_one(graph, shapes or {}))
    constants = take_quantized_constants(graph)
    fold_constants(graph)
    reader = Reader(graph, constants)
    reader.read()
    if reader.has_scores:
        warnings.warn(f"{label}: the Softmax at its end is left out; outputs are what it would read", stacklevel=2)
    return _network(proto.graph.name or "network", reader)


_DYNAMIC = {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}

_STATIC = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"}


def _check_quantized(graph: Graph) -> None:
    remedy = "dwfuse quantize {} --calibration DATA.npz -o OUT.onnx"
    dynamic = next((node for node in graph.nodes if node.op_type in _DYNAMIC), None)
    if dynamic is not None:
        raise DwfuseError(
            f"{graph.label}: {node_name(dynamic)}: quantized dynamically, its scales computed at run time; "
            f"quantize the float network statically: {remedy.format('FLOAT.onnx')}"
        )
    if not any(node.op_type in _STATIC for node in graph.nodes):
        model = graph.label if graph.label.endswith(".onnx") else "MODEL.onnx"
        raise DwfuseError(f"{graph.label}: a float network; quantize it first: {remedy.format(model)}")


def _with_batch_of_one(graph: Graph, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Close an open first dimension of each input, and see that it is 1."""
    closed = dict(shapes)
    for value in graph.inputs:
        dims = value.type.tensor_type.shape.dim
        batch = shapes[value.name][0] if shapes.get(value.name) else (dims[0].dim_value if dims else 1)
        if batch > 1:
            raise DwfuseError(
                f"{graph.label}: input {value.name!r}: a batch of {batch}; export the network with a batch of 1 or open"
            )
        if dims and not batch and all(dim.dim_value for dim in list(dims)[1:]):
            closed[value.name] = (1, *(dim.dim_value for dim in list(dims)[1:]))
        elif dims and not batch:
            dims[0].dim_value = 1
    return closed


def _network(name: str, reader: Reader) -> Network:
    """The layers that outputs need; what is stored for an output has the output's name."""
    results = {value.name: reader.output(value.name) for value in reader.graph.outputs}
    layers = _needed_layers(reader.layers, set(results.values()))
    if not layers:
        raise DwfuseError(f"{reader.graph.label}: no layer between its inputs and outputs")
    wishes = {stored: stored for stored in (*reader.inputs, *(layer.output for layer in layers))}
    wishes.update({stored: result for result, stored in results.items() if stored not in reader.inputs})
    names: dict[str, str] = {}
    for stored, wish in wishes.items():
        names[stored] = _identifier(wish, set(names.values()))
    return Network(
        _identifier(name, set()),
        tuple(names[stored] for stored in reader.inputs),
        tuple(names[stored] for stored in results.values()),
        tuple(
            replace(layer, inputs=tuple(names[x] for x in layer.inputs), output=names[layer.output]) for layer in layers
        ),
        {names[stored]: replace(reader.activations[stored], name=names[stored]) for stored in wishes},
    )


def _needed_layers(layers: list[Layer], needed: set[str]) -> list[Layer]:
    kept = []
    for layer in reversed(layers):
        if layer.output in needed:
            kept.append(layer)
            needed = needed | set(layer.inputs)
    return kept[::-1]


def _identifier(text: str, taken: set[str]) -> str:
    """``text`` as an identifier of C and Python that is not in ``taken``."""
    stem = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "value"
    stem = stem if stem[0].isalpha() else f"t{stem}"
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name
