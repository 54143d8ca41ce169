"""Lift the predicates of blocks out of the loops that they do not depend on.

Schedule primitives leave a tail's predicate on the innermost block, where it would be tested once for every product.
A predicate on rows is the same for the whole row.
"""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import SBlockRealize
from tvm.sym import Analyzer
from tvm.tirx import For, ForKind, IfThenElse


def drop_unit_loops(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replace the variable of each loop of one iteration by its value, so that equal conditions look equal."""

    def visit(loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        if not (isinstance(loop.extent, tirx.IntImm) and int(loop.extent) == 1) or loop.kind == ForKind.PARALLEL:
            return mutator.default_mutate(loop)
        mutator.var_remap_set(loop.loop_var, loop.min)
        return mutator.mutate(loop.body)

    return func.with_body(tvm_ffi.structural_mutate(func.body, (For, visit)))


def hoist_predicates(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Test a condition shared by all blocks of a loop's body once, at the outermost loop where it can be told."""
    func = drop_unit_loops(func)
    serial: list[tirx.Var] = []

    def visit(loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        if loop.kind not in (ForKind.SERIAL, ForKind.PARALLEL):
            return mutator.default_mutate(loop)
        serial.append(loop.loop_var)
        shared = [term for term in _shared_terms(loop.body) if _variables(term) <= set(serial)]
        if shared:
            body = IfThenElse(tirx.all(*shared), _without(loop.body, shared), None)
            loop = _with_body(loop, body)
        loop = mutator.default_mutate(loop)
        serial.pop()
        return loop

    return func.with_body(tvm_ffi.structural_mutate(func.body, (For, visit)))


def _with_body(loop: For, body: tirx.Stmt) -> For:
    return For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)


def _terms(predicate: Expr) -> list[Expr]:
    """The conjuncts of a predicate, constants left out."""
    if isinstance(predicate, tirx.And):
        return _terms(predicate.a) + _terms(predicate.b)
    simple = Analyzer().simplify(predicate)
    return [] if isinstance(simple, tirx.IntImm) else [simple]


def _shared_terms(body: tirx.Stmt) -> list[Expr]:
    """Conjuncts that stand in the predicate of every block of ``body``."""
    predicates: list[list[Expr]] = []
    tvm_ffi.structural_walk(body, (SBlockRealize, lambda realize: predicates.append(_terms(realize.predicate))))
    if not predicates:
        return []
    return [term for term in predicates[0] if all(_contains(terms, term) for terms in predicates[1:])]


def _contains(terms: list[Expr], term: Expr) -> bool:
    return any(tvm_ffi.structural_equal(term, other) for other in terms)


def _variables(expr: Expr) -> set[tirx.Var]:
    found: set[tirx.Var] = set()

    def visit(var: tirx.Var) -> None:
        found.add(var)

    tvm_ffi.structural_walk(expr, (tirx.Var, visit))
    return found


def _without(body: tirx.Stmt, terms: list[Expr]) -> tirx.Stmt:
    def strip(realize: SBlockRealize) -> SBlockRealize:
        rest = [term for term in _terms(realize.predicate) if not _contains(terms, term)]
        return SBlockRealize(realize.iter_values, tirx.all(*rest) if rest else True, realize.block)

    return tvm_ffi.structural_map(body, (SBlockRealize, strip))
