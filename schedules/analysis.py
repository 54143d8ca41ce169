"""What the rules for operators outside the fused blocks ask of a function before they schedule it."""

from __future__ import annotations

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Expr, TensorLoad
from tvm.tirx import BufferStore, IterVar

#: Elements below which waking the other cores costs more than they save (a wake-up takes about 5 us).
_WORTH_THREADS = 1 << 17


def is_worth_threads(elements: int, threads: int) -> bool:
    """Whether an operator that writes or reads this many elements should run on several cores."""
    return threads > 1 and elements >= _WORTH_THREADS


def leaf_blocks(sch: s_tir.Schedule) -> list[s_tir.schedule.SBlockRV]:
    """The blocks right under the root, in program order."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def has_only(block: s_tir.SBlock, *kinds: int) -> bool:
    """Whether all iterators of a block are of these kinds (``IterVar.DataPar``, ``IterVar.CommReduce``)."""
    return all(var.iter_type in kinds for var in block.iter_vars)


def schedule_of(func: tirx.PrimFunc, *kinds: int) -> s_tir.Schedule | None:
    """A schedule of ``func`` if it is a row of plain loop nests with iterators of these kinds, else None.

    Plain means that buffers are dense, that shapes are numbers, and that each block stores one element, at the
    indices that it iterates over.
    """
    if not has_root(func) or not all(_is_plain_buffer(param) for param in func.params):
        return None
    sch = s_tir.Schedule(func)
    blocks = [sch.get(block) for block in leaf_blocks(sch)]
    if not blocks or not all(has_only(block, *kinds) and _is_plain(block) for block in blocks):
        return None
    return sch


def has_root(func: tirx.PrimFunc) -> bool:
    """Whether the function's body is a root block, as every schedule needs."""
    return isinstance(func.body, s_tir.SBlockRealize) and func.body.block.name_hint == "root"


def _is_plain_buffer(param: tirx.Var) -> bool:
    if not tirx.is_buffer_var(param) or param.ty.strides:
        return False
    return all(isinstance(extent, tirx.IntImm) and int(extent) > 0 for extent in param.ty.shape)


def _is_plain(block: s_tir.SBlock) -> bool:
    ranges = [var.dom for var in block.iter_vars]
    numbers = all(isinstance(part, tirx.IntImm) for dom in ranges for part in (dom.min, dom.extent))
    return bool(ranges) and numbers and isinstance(block.body, BufferStore) and writes_whole_output(block, block.body)


def inline_into_outputs(sch: s_tir.Schedule) -> None:
    """Inline every block but those that write the function's outputs."""
    outputs = {sch.get(block).name_hint for block in sch.get_output_blocks(sch.get_sblock("root"))}
    for block in leaf_blocks(sch):
        if sch.get(block).name_hint not in outputs:
            sch.compute_inline(block)


def writes_whole_output(block: s_tir.SBlock, store: BufferStore) -> bool:
    """Whether the block's spatial iterators are the indices it stores to, and run over the whole buffer."""
    spatial = [var for var in block.iter_vars if var.iter_type == IterVar.DataPar]
    return len(spatial) == len(store.indices) == len(store.buffer.shape) and all(
        index.same_as(var.var)
        and var.var.ty.dtype == "int64"
        and int(var.dom.min) == 0
        and int(var.dom.extent) == int(extent)
        for index, var, extent in zip(store.indices, spatial, store.buffer.shape, strict=True)
    )


def reads_element_stored(load: TensorLoad, block: s_tir.SBlock) -> bool:
    """Whether ``load`` reads, from a buffer of the output's shape, the element that the block stores."""
    extents = [int(var.dom.extent) for var in block.iter_vars]
    return [int(extent) for extent in load.source.shape] == extents and all(
        index.same_as(var.var) or (isinstance(index, tirx.IntImm) and int(var.dom.extent) == 1)
        for index, var in zip(load.indices, block.iter_vars, strict=True)
    )


def loads(node: Expr | tirx.Stmt) -> list[TensorLoad]:
    """The buffer reads in an expression or statement."""
    found: list[TensorLoad] = []
    tvm_ffi.structural_walk(node, (TensorLoad, lambda load: found.append(load)))
    return found


def variables(expr: Expr) -> set[tirx.Var]:
    """The variables, buffers among them, in an expression."""
    found: list[tirx.Var] = []
    tvm_ffi.structural_walk(expr, (tirx.Var, lambda var: found.append(var)))
    return set(found)


def substitute(expr: Expr, at: dict[tirx.Var, Expr]) -> Expr:
    """``expr`` with variables replaced."""
    return tvm_ffi.structural_map(expr, (tirx.Var, lambda var: at.get(var, var)))
