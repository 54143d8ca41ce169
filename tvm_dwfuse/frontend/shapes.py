"""Input shapes: every dimension gets a size, from the model or from the caller."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from ..errors import DwfuseError
from .graph import Graph


def fix_shapes(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give each input of ``graph`` a static shape.

    A dimension that has a name and a size in one input has that size in all.

    Raises:
        DwfuseError: ``shapes`` names an unknown input or contradicts the model, or a dimension is left open.
    """
    known = [value.name for value in graph.inputs]
    unknown = [name for name in shapes if name not in known]
    if unknown:
        raise DwfuseError(f"{graph.label}: no input {unknown[0]!r} to give a shape to; inputs: {', '.join(known)}")
    named: dict[str, int] = {}
    for value in graph.inputs:
        if value.name in shapes:
            _apply(graph, value, tuple(shapes[value.name]), named)
    for value in graph.inputs:
        _close(graph, value, named)
        graph.types[value.name] = value.type


def _apply(graph: Graph, value: onnx.ValueInfoProto, shape: tuple[int, ...], named: dict[str, int]) -> None:
    given = f"{graph.label}: input {value.name!r}: shape {_text(shape)} given"
    if any(size < 1 for size in shape):
        raise DwfuseError(f"{given}; every dimension must be at least 1")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in shape)
        tensor.shape.SetInParent()
    if len(tensor.shape.dim) != len(shape):
        raise DwfuseError(f"{given}, but the model has {len(tensor.shape.dim)} dimensions")
    for axis, (dim, size) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        if dim.dim_value > 0 and dim.dim_value != size:
            raise DwfuseError(f"{given}, but dimension {axis} is {dim.dim_value} in the model")
        if dim.dim_param:
            named[dim.dim_param] = size
        dim.dim_value = size


def _close(graph: Graph, value: onnx.ValueInfoProto, named: dict[str, int]) -> None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise DwfuseError(f"{graph.label}: input {value.name!r} is not a tensor")
    if not tensor.HasField("shape"):
        raise DwfuseError(
            f"{graph.label}: input {value.name!r} has no shape; give it: --shape {value.name}:1,3,224,224"
        )
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.dim_param in named:
            dim.dim_value = named[dim.dim_param]
        if dim.dim_value < 1:
            called = f" ({dim.dim_param!r})" if dim.dim_param else ""
            raise DwfuseError(
                f"{graph.label}: input {value.name!r}: dimension {axis}{called} is left open; "
                f"give the shape: --shape {value.name}:{_example(tensor.shape)}"
            )


def _example(shape: onnx.TensorShapeProto) -> str:
    typical = (1, 3, 224, 224) if len(shape.dim) == 4 else (1,) * len(shape.dim)
    sizes = zip((dim.dim_value for dim in shape.dim), typical, strict=True)
    return _text(tuple(size if size > 0 else usual for size, usual in sizes))


def _text(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
