"""An ONNX graph under conversion: nodes, constants as arrays, and the types known so far."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import DwfuseError


class Graph:
    """The top-level graph of a model, taken apart.

    ``inputs`` are those that a caller gives, and copies: initializers, which older models list too, are ``constants``
    only.
    """

    def __init__(self, model: onnx.ModelProto, label: str) -> None:
        self.label = label
        self.ir_version = model.ir_version
        self.opset_imports = list(model.opset_import)
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.outputs: list[onnx.ValueInfoProto] = list(model.graph.output)
        self.constants: dict[str, np.ndarray] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        for tensor in model.graph.initializer:
            self.add_constant(tensor.name, self._array(tensor))
        self.inputs = [_copy(value) for value in model.graph.input if value.name not in self.constants]
        self._names = {name for node in self.nodes for name in (*node.input, *node.output)}
        self._names.update(self.constants, (value.name for value in self.inputs))

    @property
    def opset(self) -> int:
        """The version of the standard operators."""
        return next(entry.version for entry in self.opset_imports if entry.domain in ("", "ai.onnx"))

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a value; None if it is not known."""
        kind = self.types.get(name)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.tensor_type.shape.dim]
        return None if None in dims else tuple(dims)  # type: ignore[arg-type]

    def add_constant(self, name: str, array: np.ndarray) -> str:
        """Make ``array`` the value called ``name``, and return that name."""
        self.constants[name] = array
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = onnx.helper.make_tensor_type_proto(kind, array.shape)
        return name

    def new_constant(self, array: np.ndarray) -> str:
        """Add a constant under a name of its own."""
        return self.add_constant(self.new_name("constant"), array)

    def new_name(self, stem: str) -> str:
        """A name that no value has yet."""
        name, count = stem, 0
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name

    def to_model(self) -> onnx.ModelProto:
        """A model of the graph as it stands, without what no output needs."""
        nodes = self._needed_nodes()
        read = {name for node in nodes for name in _reads(node)} | {output.name for output in self.outputs}
        # Filled in place: protobuf copies a message, as onnx.helper.make_model does, only up to 2 GB.
        model = onnx.ModelProto(ir_version=self.ir_version)
        model.opset_import.extend(self.opset_imports)
        model.graph.name = "graph"
        model.graph.node.extend(nodes)
        model.graph.input.extend(self.inputs)
        model.graph.output.extend(self.outputs)
        for name, array in self.constants.items():
            if name in read:
                _fill(model.graph.initializer.add(), name, array)
        return model

    def _needed_nodes(self) -> list[onnx.NodeProto]:
        needed = {output.name for output in self.outputs}
        nodes = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(_reads(node))
        return nodes[::-1]

    def _array(self, tensor: onnx.TensorProto) -> np.ndarray:
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise DwfuseError(f"{self.label}: initializer {tensor.name!r} cannot be read: {error}") from error


def _fill(tensor: onnx.TensorProto, name: str, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        return
    tensor.name = name
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor.dims.extend(array.shape)
    tensor.raw_data = np.ascontiguousarray(array).tobytes()


def _copy(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    return copy


def _reads(node: onnx.NodeProto) -> Iterable[str]:
    """The values that a node reads, those that its subgraphs read from outside included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)
        yield from (output.name for output in attribute.g.output)
