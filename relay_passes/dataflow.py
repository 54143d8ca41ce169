"""Def-use chains of one Relax function, and the small questions that matching asks of expressions."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from tvm import relax, tirx
from tvm.ir import GenericConst, Op


class Dataflow:
    """Who binds and who reads each variable of a function.

    ``bindings`` are all bindings in program order; everywhere else a binding is named by its position in that list.
    """

    def __init__(self, func: relax.Function) -> None:
        self.bindings: list[relax.Binding] = [binding for block in func.body.blocks for binding in block.bindings]
        self._position = {binding.var: at for at, binding in enumerate(self.bindings)}
        self._users: dict[relax.Var, list[int]] = defaultdict(list)
        for at, binding in enumerate(self.bindings):
            for var in relax.analysis.free_vars(binding.value):
                self._users[var].append(at)

    def var(self, at: int) -> relax.Var:
        """The variable bound at that position."""
        return self.bindings[at].var

    def position(self, var: relax.Var) -> int:
        """Where ``var`` is bound; -1 for a parameter, which is there before everything else."""
        return self._position.get(var, -1)

    def users(self, var: relax.Var) -> list[int]:
        """Positions of the bindings that read ``var``, ascending."""
        return self._users[var]

    def sole_user(self, var: relax.Var) -> int | None:
        """The position of the only reader of ``var``; None for several, for none and for an output."""
        users = self.users(var)
        return users[0] if len(users) == 1 and not self.is_output(var) else None

    def is_output(self, var: relax.Var) -> bool:
        """Whether ``var`` can be seen from outside of its dataflow block, by itself or by another name."""
        return not isinstance(var, relax.DataflowVar) or any(
            isinstance(self.bindings[at].value, relax.Var) and not isinstance(self.var(at), relax.DataflowVar)
            for at in self.users(var)
        )

    def call(self, at: int, op: str | None = None) -> relax.Call | None:
        """The operator call bound at that position, if it is one (of ``op``)."""
        name = self.op_name(at)
        return self.bindings[at].value if name and op in (None, name) else None

    def op_name(self, at: int) -> str | None:
        """The name of the operator called at that position, None if something else is bound there."""
        binding = self.bindings[at]
        if not isinstance(binding, relax.VarBinding) or not isinstance(binding.value, relax.Call):
            return None
        return binding.value.op.name if isinstance(binding.value.op, Op) else None

    def reader(self, at: int) -> str:
        """A word for what is bound at that position, for messages."""
        value = self.bindings[at].value
        return self.op_name(at) or ("a tuple" if isinstance(value, relax.Tuple) else "a call")


def static_shape(expr: relax.Expr) -> tuple[int, ...] | None:
    """The shape of a tensor expression; None if a dimension is symbolic or the rank unknown."""
    shape = getattr(expr.ty, "shape", None)
    values = getattr(shape, "values", None)
    if values is None or not all(isinstance(dim, tirx.IntImm) for dim in values):
        return None
    return tuple(int(dim) for dim in values)


def is_tensor_constant(expr: relax.Expr) -> bool:
    """Whether ``expr`` is a constant that holds a tensor (of rank 0 too)."""
    return isinstance(expr, GenericConst) and isinstance(expr.ty, relax.TensorType)


def is_scalar(expr: relax.Expr, expected: float) -> bool:
    """Whether ``expr`` is a literal or a one-element constant of that value, to the precision of its own type."""
    if isinstance(expr, (tirx.IntImm, tirx.FloatImm)):
        return float(expr.value) == expected
    if not is_tensor_constant(expr):
        return False
    value = expr.value.numpy()
    if value.size != 1 or not np.issubdtype(value.dtype, np.floating):
        return False
    return bool(np.isclose(value.item(), expected, rtol=2 * float(np.finfo(value.dtype).eps), atol=0))


def other_operand(call: relax.Call | None, var: relax.Var) -> relax.Expr | None:
    """The operand beside ``var`` in a binary call; None if ``var`` is not exactly one of the two."""
    if call is None or len(call.args) != 2:
        return None
    left, right = call.args
    if left.same_as(var) == right.same_as(var):
        return None
    return right if left.same_as(var) else left
