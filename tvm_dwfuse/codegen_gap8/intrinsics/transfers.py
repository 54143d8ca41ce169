"""Transfers by DMA between L2 and L1. In TensorIR the copy happens at once, so that waiting means nothing."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import BufferStore
from tvm.tirx.script.builder import ir as T

from .definition import Arguments, Intrinsic, Pointer
from .loops import loops


def _dma_in(a: Arguments) -> tirx.Stmt:
    size = _element_size(a)
    with IRBuilder() as builder, loops(line=a.lines, i=_elements(a.line_bytes, size)) as (line, i):
        near = line * _elements(a.line_bytes, size) + i
        T.add_to_parent(_move(a.l1, near, a.l2, line * _elements(a.l2_stride, size) + i))
    return builder.get()


def _dma_out(a: Arguments) -> tirx.Stmt:
    size = _element_size(a)
    with IRBuilder() as builder, loops(line=a.lines, i=_elements(a.line_bytes, size)) as (line, i):
        near = line * _elements(a.line_bytes, size) + i
        T.add_to_parent(_move(a.l2, line * _elements(a.l2_stride, size) + i, a.l1, near))
    return builder.get()


def _dma_wait(a: Arguments) -> tirx.Stmt:
    return tirx.Evaluate(0)


def _element_size(a: Arguments) -> int:
    near, far = a.l1.buffer, a.l2.buffer
    if near.dtype != far.dtype:
        raise ValueError(f"a transfer between {near.name} of {near.dtype} and {far.name} of {far.dtype}")
    return 4 if near.dtype == "int32" else 1


def _elements(size: Expr, element: int) -> Expr:
    return size // element


def _move(to: Pointer, to_index: Expr, source: Pointer, source_index: Expr) -> BufferStore:
    return BufferStore(to.buffer, source.buffer[source.offset + source_index], [to.offset + to_index])


#: Start copying ``lines`` lines of ``line_bytes``, ``l2_stride`` bytes apart in L2 and without gaps in L1. ``kind``
#: says what the bytes are counted as: 0 activations, 1 constants.
dma_in = Intrinsic(
    prototype="""void dwfuse_dma_in(
        int slot, int kind, void *l1, const void *l2, int lines, int line_bytes, int l2_stride)""",
    source="runtime/dwfuse_runtime.h",
    meaning=_dma_in,
    by_master=True,
)

#: The same in the other direction.
dma_out = Intrinsic(
    prototype="""void dwfuse_dma_out(
        int slot, int kind, const void *l1, void *l2, int lines, int line_bytes, int l2_stride)""",
    source="runtime/dwfuse_runtime.h",
    meaning=_dma_out,
    by_master=True,
)

#: Wait for all transfers started on ``slot``.
dma_wait = Intrinsic(
    prototype="void dwfuse_dma_wait(int slot)", source="runtime/dwfuse_runtime.h", meaning=_dma_wait, by_master=True
)
