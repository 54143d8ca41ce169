"""Types and constants through an ONNX graph: shapes computed at run time become numbers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from ..errors import DwfuseError
from .check import first_line, node_name
from .graph import Graph

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}

#: Constants up to this many elements are shown to shape inference: those that can be shapes, axes or pads.
_SHAPE_LIKE = 64


def fold_constants(graph: Graph) -> None:
    """Infer the type of every value, and replace nodes that depend on no input by their results.

    Input shapes are static here, so that the ``Shape``, ``Gather``, ``Concat`` chains in front of a ``Reshape`` end
    as constants, and an ``If`` that asks for a shape becomes the branch that it takes.

    Raises:
        DwfuseError: a node does not fit the shapes of its inputs.
    """
    pending, graph.nodes = list(reversed(graph.nodes)), []
    while pending:
        node = pending.pop()
        if node.op_type == "If" and node.input[0] in graph.constants:
            pending.extend(reversed(_taken_branch(node, graph)))
            continue
        results = _evaluate(node, graph)
        if results is not None:
            for name, array in zip(node.output, results, strict=True):
                graph.add_constant(name, array)
            continue
        _infer_types(node, graph)
        graph.nodes.append(node)


def _evaluate(node: onnx.NodeProto, graph: Graph) -> list[np.ndarray] | None:
    """The results of a node, if they are the same for every input of the network."""
    shape = graph.shape(node.input[0]) if node.op_type in ("Shape", "Size") else None
    inputs = [name for name in node.input if name]
    if shape is not None:
        feeds = {node.input[0]: np.broadcast_to(np.float32(0), shape)}
    elif node.op_type in _RANDOM or any(name not in graph.constants for name in inputs) or _has_subgraph(node):
        return None
    else:
        feeds = {name: graph.constants[name] for name in inputs}
    outputs = [name for name in node.output if name]
    try:
        results = ReferenceEvaluator(_one_node_model(node, feeds, outputs, graph)).run(None, feeds)
    except Exception:  # the evaluator does not know every operator: then the node stays
        return None
    if len(outputs) < len(node.output) or not all(isinstance(result, (np.ndarray, np.generic)) for result in results):
        return None
    return [np.asarray(result) for result in results]


def _one_node_model(
    node: onnx.NodeProto, feeds: dict[str, np.ndarray], outputs: list[str], graph: Graph
) -> onnx.ModelProto:
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    body = onnx.helper.make_graph([node], "node", inputs, results)
    return onnx.helper.make_model(body, opset_imports=graph.opset_imports, ir_version=graph.ir_version)


def _infer_types(node: onnx.NodeProto, graph: Graph) -> None:
    inputs = [name for name in node.input if name]
    if any(name not in graph.types for name in inputs):
        return
    types = graph.types if _has_subgraph(node) else {name: graph.types[name] for name in inputs}
    data = {
        name: numpy_helper.from_array(graph.constants[name], name)
        for name in inputs
        if name in graph.constants and graph.constants[name].size <= _SHAPE_LIKE
    }
    try:
        schema = onnx.defs.get_schema(node.op_type, graph.opset, node.domain if node.domain != "ai.onnx" else "")
        graph.types.update(infer_node_outputs(schema, node, types, data, opset_imports=graph.opset_imports))
    except onnx.defs.SchemaError:
        return
    except InferenceError as error:
        reason = first_line(str(error)).removeprefix("[ShapeInferenceError] ").removeprefix("[TypeInferenceError] ")
        raise DwfuseError(f"{graph.label}: {node_name(node)}: {reason}") from error


def _taken_branch(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto]:
    taken = "then_branch" if bool(graph.constants[node.input[0]].reshape(())) else "else_branch"
    branch = next(attribute.g for attribute in node.attribute if attribute.name == taken)
    for tensor in branch.initializer:
        graph.add_constant(tensor.name, numpy_helper.to_array(tensor))
    results = [
        onnx.helper.make_node("Identity", [inner.name], [outer])
        for inner, outer in zip(branch.output, node.output, strict=True)
    ]
    return [*branch.node, *results]


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") for attribute in node.attribute)
