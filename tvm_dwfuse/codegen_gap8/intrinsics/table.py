"""All intrinsics by name."""

from __future__ import annotations

from tvm.ir import Call, Expr

from .convolutions import conv, depthwise, pointwise
from .definition import Intrinsic
from .elementwise import add, average_pool
from .transfers import dma_in, dma_out, dma_wait

#: Every function that scheduled TensorIR may call.
INTRINSICS = {
    intrinsic.name: intrinsic
    for intrinsic in (pointwise, conv, depthwise, average_pool, add, dma_in, dma_out, dma_wait)
}


def called_intrinsic(value: Expr) -> Intrinsic:
    """The intrinsic that the evaluated expression calls.

    Raises:
        ValueError: it is anything else than a call of an intrinsic.
    """
    if not isinstance(value, Call) or getattr(value.op, "name", None) != "tirx.call_extern":
        raise ValueError(f"not a call of an intrinsic: {value}")
    name = value.args[0].value
    if name not in INTRINSICS:
        raise ValueError(f"{name} is not among the intrinsics {', '.join(sorted(INTRINSICS))}")
    return INTRINSICS[name]
