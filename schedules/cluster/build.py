"""From a layer group with its plan to a scheduled PrimFunc."""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.groups import Group
from tvm_dwfuse.tiling.chain import Chain
from tvm_dwfuse.tiling.elementwise import AddPlan

from .chain import chain_function
from .elementwise import add_function, pool_function


def build_group(group: Group) -> tirx.PrimFunc:
    """The PrimFunc of ``group``, named as it is, over flat L2 tensors.

    Its parameters are, for a chain, ``x``, then ``w<i>`` and ``q<i>`` of each stage, ``y``, and the int32 scalars
    ``row_begin``, ``row_end``, ``x_row0``, ``y_row0``, ``block_begin``, ``block_end``: the rows of the output and the
    blocks of channels to compute, the rows of the tensors at which ``x`` and ``y`` start. Constants start at the
    first block's channels. A sum has ``a``, ``b``, ``y``, ``begin``, ``end`` (elements, and the tensors start at the
    first of them), a pool ``x``, ``y``, ``begin``, ``end`` (channels).

    Buffers of scope ``global.l1`` lie in L1; ``T.parallel`` loops run over the cores; whatever touches data is a call
    of an intrinsic (``tvm_dwfuse.codegen_gap8.intrinsics``). ``expand_intrinsics`` makes a function for LLVM of it.
    """
    if isinstance(group.plan, Chain):
        return chain_function(group, group.plan)
    if isinstance(group.plan, AddPlan):
        return add_function(group, group.plan)
    return pool_function(group, group.plan)
