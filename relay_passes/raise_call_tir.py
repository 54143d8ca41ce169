"""RaiseCallTir: ``call_tir`` of what the ONNX importer spells in TensorIR becomes operators again."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import relax, te, tirx, topi
from tvm.ir.expr import TensorLoad

from .dataflow import static_shape
from .rewrite import Rewrite, op_name, rewrite_function

_EXTREMA = {tirx.Max: relax.op.maximum, tirx.Min: relax.op.minimum}


@relax.transform.function_pass(opt_level=0, name="RaiseCallTir")
class RaiseCallTir:
    """Turns ``call_tir`` into ``maximum``, ``minimum`` and ``nn.pad`` where the function called computes just that.

    TVM's ONNX importer emits ``Clip`` and ``Pad`` so, which no pattern sees. The functions are told by what they
    compute, not by their names. Those that nobody calls any more are left to
    ``relax.transform.DeadCodeElimination``.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` with operators in place of the functions known."""
        return rewrite_function(func, mod, _raise)


def _raise(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    if op_name(expr) != "relax.call_tir":
        return None
    function, operands = rewrite.module[expr.args[0]], list(expr.args[1].fields)
    store = _only_store(function.body)
    if store is None or len(function.params) != len(operands) + 1:
        return None
    if type(store.value) in _EXTREMA:
        return _as_extremum(store, function, operands)
    return _as_pad(store, function, operands)


def _only_store(statement: tirx.Stmt) -> tirx.BufferStore | None:
    """The store of a body that is one loop nest around one block, with one store and no reduction."""
    while not isinstance(statement, tirx.BufferStore):
        if isinstance(statement, tirx.For):
            statement = statement.body
        elif isinstance(statement, tvm.s_tir.SBlockRealize) and statement.block.init is None:
            statement = statement.block.body
        else:
            return None
    return statement


def _as_extremum(store: tirx.BufferStore, function: tirx.PrimFunc, operands: list[relax.Expr]) -> relax.Expr | None:
    """max(x, c) or min(x, c), c being of one element."""
    build = _EXTREMA[type(store.value)]
    tensor = _operand(store.value.a, function, operands)
    if tensor is None or not _same_indices(store.value.a.indices, store.indices):
        return None
    if isinstance(store.value.b, (tirx.FloatImm, tirx.IntImm)):
        return build(tensor, relax.const(store.value.b.value, str(tensor.ty.dtype)))
    bound = _operand(store.value.b, function, operands)
    if bound is None or static_shape(bound) not in ((), (1,)):
        return None
    return build(tensor, bound)


def _as_pad(store: tirx.BufferStore, function: tirx.PrimFunc, operands: list[relax.Expr]) -> relax.Expr | None:
    """A pad with a constant: what ``topi.nn.pad`` would make of the same widths."""
    load: tirx.Expr = store.value
    value: float | None = 0.0
    if op_name(load) == "prim.if_then_else":
        load, outside = load.args[1:]
        value = getattr(outside, "value", None)
    tensor = _operand(load, function, operands)
    if tensor is None or value is None or len(operands) != 1:
        return None
    before = _offsets(load.indices, store.indices)
    in_shape, out_shape = static_shape(tensor), function.params[-1].ty.shape
    if before is None or in_shape is None or len(in_shape) != len(out_shape):
        return None
    after = [int(out) - size - front for out, size, front in zip(out_shape, in_shape, before, strict=True)]
    expected = _topi_pad(function.params[0], before, after, value)
    if not tvm_ffi.structural_equal(expected, store, map_free_vars=True):
        return None
    widths = [width for pair in zip(before, after, strict=True) for width in pair]
    return relax.op.nn.pad(tensor, widths, "constant", float(value))


def _topi_pad(source: tirx.Var, before: list[int], after: list[int], value: float) -> tirx.BufferStore | None:
    """The store of ``topi.nn.pad`` on a buffer like ``source``."""
    data = te.placeholder(list(source.ty.shape), str(source.ty.dtype), "data")
    return _only_store(te.create_prim_func([data, topi.nn.pad(data, before, after, value)]).body)


def _operand(load: object, function: tirx.PrimFunc, operands: list[relax.Expr]) -> relax.Expr | None:
    if not isinstance(load, TensorLoad):
        return None
    for param, operand in zip(function.params, operands, strict=False):
        if load.source.same_as(param):
            return operand
    return None


def _same_indices(indices: list[tirx.Expr], expected: list[tirx.Expr]) -> bool:
    return len(indices) == len(expected) and all(a.same_as(b) for a, b in zip(indices, expected, strict=True))


def _offsets(indices: list[tirx.Expr], positions: list[tirx.Expr]) -> list[int] | None:
    """position - index by dimension, where those are constants."""
    analyzer = tvm.sym.Analyzer()
    if len(indices) != len(positions):
        return None
    offsets = [analyzer.simplify(position - index) for position, index in zip(positions, indices, strict=True)]
    return [int(offset) for offset in offsets] if all(isinstance(o, tirx.IntImm) for o in offsets) else None
