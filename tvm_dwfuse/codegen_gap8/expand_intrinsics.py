"""Replace calls of intrinsics by their meaning, for running a scheduled function under LLVM."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.tirx import AllocBuffer, Evaluate, For, ForKind

from .intrinsics import called_intrinsic
from .l1 import L1_SCOPE, OVERREAD_BYTES


def expand_intrinsics(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """``func`` for one thread of any machine: no calls, no parallel loops, L1 buffers in plain memory.

    Raises:
        ValueError: something other than an intrinsic is called.
    """
    rules = [(AllocBuffer, _in_plain_memory), (For, _serial), (Evaluate, _expanded)]
    return func.with_body(tvm_ffi.structural_mutate(func.body, rules))


def _in_plain_memory(alloc: AllocBuffer, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
    buffer = alloc.buffer
    if buffer.scope() != L1_SCOPE:
        return mutator.default_mutate(alloc)
    plain = tirx.decl_buffer([int(buffer.shape[0]) + OVERREAD_BYTES], buffer.dtype, buffer.name, layout=None)
    mutator.var_remap_set(buffer, plain)
    return AllocBuffer(plain)


def _serial(loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
    if loop.kind == ForKind.PARALLEL:
        loop = For(loop.loop_var, loop.min, loop.extent, ForKind.SERIAL, loop.body, None, loop.annotations, loop.step)
    return mutator.default_mutate(loop)


def _expanded(statement: Evaluate, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
    if isinstance(statement.value, tirx.IntImm):
        return statement
    intrinsic = called_intrinsic(statement.value)
    return mutator.mutate(intrinsic.meaning(intrinsic.arguments(statement.value)))
