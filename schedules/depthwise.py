"""The three procedures of a depthwise convolution as kernels: forward, data gradient and weight gradient."""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets import CpuTarget

from . import depthwise_backward_data, depthwise_backward_weight, depthwise_forward


def build_depthwise(
    procedure: Procedure, conv: Depthwise, target: CpuTarget, threads: int = 1, bias: bool = False
) -> tirx.PrimFunc:
    """The kernel of a procedure; its parameters are ``operand_shapes(procedure, conv, bias)``, float32, in that order.

    Raises:
        ValueError: there is no such procedure, or the gradient of the data has no bias.
    """
    if procedure == "forward":
        return depthwise_forward.build(conv, target, threads, bias)
    if procedure == "backward_weight":
        return depthwise_backward_weight.build(conv, target, threads, bias)
    if procedure != "backward_data":
        raise ValueError(f"unknown procedure {procedure!r}; known: {', '.join(PROCEDURES)}")
    if bias:
        raise ValueError("backward_data: the gradient of the data does not depend on a bias")
    return depthwise_backward_data.build(conv, target, threads)
