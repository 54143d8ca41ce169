"""The three procedures of a depthwise convolution as kernels: forward, data gradient and weight gradient."""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import CpuTarget

from . import depthwise_backward_data, depthwise_backward_weight, depthwise_forward
from .direct.space import gather_space, gather_tile, weight_space, weight_tile


def build_depthwise(
    procedure: Procedure,
    conv: Depthwise,
    target: CpuTarget,
    threads: int = 1,
    bias: bool = False,
    point: Point | None = None,
) -> tirx.PrimFunc:
    """The kernel of a procedure; its parameters are ``operand_shapes(procedure, conv, bias)``, float32, in that order.

    ``point`` is one of :func:`tile_space`, None for the default.

    Raises:
        ValueError: there is no such procedure or point, or the gradient of the data has no bias.
    """
    _check(procedure)
    if point is not None and not tile_space(procedure, conv, target).contains(point):
        raise ValueError(f"not a point of the space of {procedure}: {point}")
    if procedure == "backward_weight":
        sums = weight_tile(conv, point) if point else None
        return depthwise_backward_weight.build(conv, target, threads, bias, sums)
    tile = gather_tile(point) if point else None
    if procedure == "forward":
        return depthwise_forward.build(conv, target, threads, bias, tile)
    if bias:
        raise ValueError("backward_data: the gradient of the data does not depend on a bias")
    return depthwise_backward_data.build(conv, target, threads, tile)


def tile_space(procedure: Procedure, conv: Depthwise, target: CpuTarget) -> Space:
    """What can be chosen about the kernel of a procedure: the register tile.

    Raises:
        ValueError: there is no such procedure.
    """
    _check(procedure)
    rows, columns = depthwise_forward.axes(conv)
    if procedure == "backward_weight":
        return weight_space(conv, (rows, columns), target)
    if procedure == "forward":
        return gather_space(conv, (rows, columns), target)
    return gather_space(conv, (rows.transposed(), columns.transposed()), target)


def _check(procedure: str) -> None:
    if procedure not in PROCEDURES:
        raise ValueError(f"unknown procedure {procedure!r}; known: {', '.join(PROCEDURES)}")
