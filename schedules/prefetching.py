"""Ask for weights before they are needed.

A kernel reads its weights in one stream, but in a network they are cold: another layer's have passed through the
caches since. Hardware prefetchers stop at the end of each 4 KiB page, which is 64 steps of a reduction away.
"""

from __future__ import annotations

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr, Op, TensorLoad
from tvm.s_tir import SBlockRealize
from tvm.sym import Analyzer
from tvm.tirx import Evaluate, For

_MARK = "dwfuse.prefetch"
_PREFETCH = Op.get("tirx.prefetch")
_INTO_L2 = 2  # the locality of llvm.prefetch: 3 is into L1, 0 not at all
_LINE_BYTES = 64
_FLOAT_BYTES = 4

#: How far ahead, in bytes: 128 steps of 64 bytes and 7 cycles each are 900 cycles, twice the latency of DRAM.
DISTANCE = 8192


def mark_weights(sch: s_tir.Schedule, loop: s_tir.schedule.LoopRV, operand: int) -> None:
    """Each iteration of ``loop``, the innermost of the reduction, reads the next vectors of parameter ``operand``."""
    sch.annotate(loop, _MARK, operand)


def prefetch_weights(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Carry out what :func:`mark_weights` marked."""

    def visit(loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        annotations = dict(loop.annotations)
        operand = annotations.pop(_MARK, None)
        body = mutator.mutate(loop.body)
        if operand is not None:
            weight = func.params[int(operand)]
            body = tirx.SeqStmt([*_requests(weight, body), body])
        return For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, annotations)

    return func.with_body(tvm_ffi.structural_mutate(func.body, (For, visit)))


def _requests(weight: tirx.Buffer, body: tirx.Stmt) -> list[tirx.Stmt]:
    """One prefetch for each cache line that an iteration reads, :data:`DISTANCE` further on."""
    first = _first_read(weight, body)
    step = int(weight.shape[-1]) * _FLOAT_BYTES
    ahead = max(1, DISTANCE // step)
    requests = []
    for line in range(0, step, _LINE_BYTES):
        indices = [*first[:-2], first[-2] + ahead, first[-1] + line // _FLOAT_BYTES]
        requests.append(request(tirx.BufferLoad(weight, indices)))
    return requests


def request(element: TensorLoad) -> tirx.Stmt:
    """Ask for the cache line of an element, into the L2 cache. It may lie outside of the tensor: nothing is read."""
    return Evaluate(tirx.call_intrin("void", _PREFETCH, tirx.op.address_of(element), 0, _INTO_L2, 1))


def _first_read(weight: tirx.Buffer, body: tirx.Stmt) -> list[Expr]:
    """Indices of the first element of ``weight`` that ``body`` reads, in terms of the loops around it."""
    inner: dict[tirx.Var, Expr] = {}
    found: list[list[Expr]] = []

    def enter_loop(loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        inner[loop.loop_var] = loop.min
        return mutator.default_mutate(loop)

    def enter_block(realize: SBlockRealize, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        values = [_replace(value, inner) for value in realize.iter_values]
        bound = dict(zip((iv.var for iv in realize.block.iter_vars), values, strict=True))

        def read(load: TensorLoad) -> None:
            if load.source.same_as(weight):
                found.append([Analyzer().simplify(_replace(index, bound)) for index in load.indices])

        tvm_ffi.structural_walk(realize.block.body, (TensorLoad, read))
        return realize

    tvm_ffi.structural_mutate(body, ((For, enter_loop), (SBlockRealize, enter_block)))
    return found[0]


def _replace(expr: Expr, values: dict[tirx.Var, Expr]) -> Expr:
    return tvm_ffi.structural_map(expr, (tirx.Var, lambda var: values.get(var, var)))
