"""Rebuilding a Relax function call by call: what the canonicalising passes have in common."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst, Op
from tvm.relax.expr_functor import PyExprMutator, mutator

from .dataflow import Dataflow


class Rewrite:
    """What a rule may ask about the function being rebuilt, seen from the call that it is offered."""

    def __init__(self, mutation: _Mutation) -> None:
        self._mutation = mutation

    @property
    def module(self) -> tvm.IRModule:
        """The module that the function is of."""
        return self._mutation.module

    def value(self, expr: relax.Expr) -> relax.Expr:
        """What the variable ``expr`` is bound to; ``expr`` itself for a parameter and for all else."""
        if not isinstance(expr, relax.Var):
            return expr
        value = self._mutation.lookup_binding(expr)
        return expr if value is None else value

    def call(self, expr: relax.Expr, *ops: str) -> relax.Call | None:
        """The operator call that ``expr`` is or is bound to, if it calls one of ``ops``."""
        value = self.value(expr)
        return value if op_name(value) in ops else None

    def is_sole_use(self, expr: relax.Expr) -> bool:
        """Whether the variable ``expr`` had one reader, and was no output, when the pass began."""
        return isinstance(expr, relax.DataflowVar) and self._mutation.use_count(expr) <= 1

    def emit(self, expr: relax.Expr) -> relax.Var:
        """``expr`` bound to a new variable, in front of the call that the rule was offered."""
        return self._mutation.builder_.emit(expr)


#: Offered each call and tuple item, its operands already rebuilt; returns what to put in its place, or None.
Rule = Callable[[relax.Expr, Rewrite], "relax.Expr | None"]


def rewrite_function(func: relax.Function, module: tvm.IRModule, rule: Rule) -> relax.Function:
    """``func`` with ``rule`` applied to every call once, in program order, and without what nobody reads any more."""
    return relax.analysis.remove_all_unused(_Mutation(func, module, rule).visit_expr(func))


@mutator
class _Mutation(PyExprMutator):
    def __init__(self, func: relax.Function, module: tvm.IRModule, rule: Rule) -> None:
        super().__init__(module)
        self.module = module
        self.rule = rule
        self.flow = Dataflow(func)
        self.values: dict[relax.Var, relax.Expr] = {}
        self.counts: dict[relax.Expr, int] = {}

    def use_count(self, expr: relax.Expr) -> int:
        return self.counts.get(expr, 1)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        return self._apply(super().visit_call_(call))

    def visit_tuple_getitem_(self, item: relax.TupleGetItem) -> relax.Expr:
        return self._apply(super().visit_tuple_getitem_(item))

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if not isinstance(binding.var, relax.DataflowVar):
            super().visit_var_binding_(binding)
            return
        value = self.visit_expr(binding.value)
        if not isinstance(value, (relax.Var, GenericConst)):
            value = self.builder_.emit(value, binding.var.name)
        self.values[binding.var] = value
        # A rule that gives an operand back leaves that operand with both sets of readers.
        count = len(self.flow.users(binding.var)) + self.flow.is_output(binding.var)
        self.counts[value] = self.counts.get(value, 0) + count

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> relax.Expr:
        return self.values[var] if var in self.values else super().visit_dataflow_var_(var)

    def _apply(self, expr: relax.Expr) -> relax.Expr:
        replacement = self.rule(expr, Rewrite(self))
        return expr if replacement is None else replacement


def op_name(expr: relax.Expr) -> str | None:
    """The name of the operator that ``expr`` calls; None if it is no operator call."""
    return expr.op.name if isinstance(expr, relax.Call) and isinstance(expr.op, Op) else None


def constant_array(expr: relax.Expr) -> np.ndarray | None:
    """The value of a tensor constant; None if ``expr`` is none."""
    if not isinstance(expr, GenericConst) or not isinstance(expr.ty, relax.TensorType):
        return None
    return expr.value.numpy()


def constant(array: np.ndarray) -> relax.Expr:
    """A tensor constant of that value and dtype."""
    return relax.const(np.ascontiguousarray(array), str(array.dtype))
