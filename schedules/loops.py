"""Loop nests written out as statements, for kernels that are easier to write than to schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import s_tir, tirx
from tvm.ir import Expr
from tvm.tirx import For, ForKind

Body = Callable[[list[Expr]], tirx.Stmt]


def loop(extent: int, kind: ForKind, body: Callable[[Expr], tirx.Stmt], name: str = "i") -> tirx.Stmt:
    """``for name in range(extent): body(name)``, without the loop when it would run once."""
    if extent == 1:
        return body(int64(0))
    var = tirx.Var(name, "int64")
    return For(var, int64(0), int64(extent), kind, body(var))


def nest(extents: Sequence[int], parallel: bool, body: Body, kind: ForKind = ForKind.SERIAL) -> tirx.Stmt:
    """Loops over ``extents``, outermost first; when ``parallel``, one loop over all of them, split among the cores."""
    if parallel:
        return loop(math.prod(extents), ForKind.PARALLEL, lambda i: body(_unravel(i, extents)), "p")

    def inside(outer: list[Expr]) -> tirx.Stmt:
        if len(outer) == len(extents):
            return body(outer)
        return loop(extents[len(outer)], kind, lambda i: inside([*outer, i]), f"i{len(outer)}")

    return inside([])


def vectors(
    first: int,
    size: int,
    lanes: int,
    element: Callable[[Expr, Expr], tirx.Stmt],
    kind: ForKind = ForKind.SERIAL,
) -> list[tirx.Stmt]:
    """``element(i, lane)`` for ``size`` i from ``first`` on: whole vectors, and one of what is left behind them."""
    full, rest = divmod(size, lanes)

    def vector(start: Expr, width: int) -> tirx.Stmt:
        return loop(width, ForKind.VECTORIZED, lambda lane: element(start + lane, lane), "lane")

    statements = [loop(full, kind, lambda i: vector(int64(first) + i * int64(lanes), lanes), "v")] if full else []
    return [*statements, vector(int64(first + full * lanes), rest)] if rest else statements


def sequence(statements: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """The statements one after the other."""
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def bind(statements: list[tirx.Stmt], value: Expr, name: str) -> Expr:
    """A name for ``value``, computed at the end of ``statements``."""
    var = tirx.Var(name, value.ty)
    statements.append(tirx.Bind(var, value))
    return var


def with_statements(
    func: tirx.PrimFunc, statements: Sequence[tirx.Stmt], buffers: Sequence[tirx.Buffer] = ()
) -> tirx.PrimFunc:
    """``func`` with ``statements`` as its whole body, and ``buffers`` allocated around them."""
    root = s_tir.SBlock([], [], [], "root", sequence(statements), alloc_buffers=list(buffers))
    return func.with_body(s_tir.SBlockRealize([], True, root))


def int64(value: int) -> tirx.IntImm:
    """An index constant."""
    return tirx.IntImm("int64", int(value))


class FlatViews:
    """One-dimensional views of buffers, each declared once."""

    def __init__(self) -> None:
        self._views: dict[tirx.Buffer, tirx.Buffer] = {}

    def of(self, buffer: tirx.Buffer) -> tirx.Buffer:
        """The elements of ``buffer`` in the order of memory."""
        if buffer not in self._views:
            size = math.prod(int(extent) for extent in buffer.shape)
            self._views[buffer] = tirx.decl_buffer([int64(size)], buffer.dtype, f"{buffer.name}_flat", layout=None)
        return self._views[buffer]

    def declarations(self) -> list[tirx.Stmt]:
        """Statements that have to stand in front of the first use."""
        return [tirx.DeclBuffer(view, data=buffer.data) for buffer, view in self._views.items()]


def _unravel(index: Expr, extents: Sequence[int]) -> list[Expr]:
    result: list[Expr] = []
    inner = math.prod(extents)
    for axis, extent in enumerate(extents):
        inner //= extent
        value = tirx.floordiv(index, int64(inner)) if inner > 1 else index
        result.append(tirx.floormod(value, int64(extent)) if axis else value)
    return result
