"""int32 expressions in C, by a table of operators.

Python's floor division is C's ``/`` where neither side is negative; where that cannot be proved, a helper of
``dwfuse_scalar.h`` rounds. Loads from memory are refused: every core computes every scalar, and all must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tvm import tirx
from tvm.ir import Call, Expr, PrimType, Range
from tvm.sym import Analyzer, ConstIntBound, Extension, ProofStrength

from .printer_names import Names


class Fragment(NamedTuple):
    """C text, and how tightly its outermost operator binds."""

    text: str
    precedence: int


class Infix(NamedTuple):
    """An operator between two operands, each in parentheses unless it binds at least as tightly as asked."""

    symbol: str
    precedence: int
    left: int
    right: int


_ATOM, _UNARY, _PRODUCT, _SUM, _SHIFT, _ORDER, _EQUALITY, _BITS, _AND, _OR, _CHOICE = range(11, 0, -1)

#: Least precedence of what stands beside ``<`` without parentheses.
COMPARED = _SUM

#: Shifts, bits and ``&&`` within ``||`` take more parentheses than C needs, as compilers like to see them.
_INFIX: dict[type, Infix] = {
    tirx.Mul: Infix("*", _PRODUCT, _PRODUCT, _UNARY),
    tirx.Div: Infix("/", _PRODUCT, _PRODUCT, _UNARY),
    tirx.Mod: Infix("%", _PRODUCT, _PRODUCT, _UNARY),
    tirx.Add: Infix("+", _SUM, _SUM, _PRODUCT),
    tirx.Sub: Infix("-", _SUM, _SUM, _PRODUCT),
    tirx.LShift: Infix("<<", _SHIFT, _UNARY, _UNARY),
    tirx.RShift: Infix(">>", _SHIFT, _UNARY, _UNARY),
    tirx.LT: Infix("<", _ORDER, _SUM, _SUM),
    tirx.LE: Infix("<=", _ORDER, _SUM, _SUM),
    tirx.GT: Infix(">", _ORDER, _SUM, _SUM),
    tirx.GE: Infix(">=", _ORDER, _SUM, _SUM),
    tirx.EQ: Infix("==", _EQUALITY, _SUM, _SUM),
    tirx.NE: Infix("!=", _EQUALITY, _SUM, _SUM),
    tirx.BitwiseAnd: Infix("&", _BITS, _UNARY, _UNARY),
    tirx.BitwiseOr: Infix("|", _BITS, _UNARY, _UNARY),
    tirx.BitwiseXor: Infix("^", _BITS, _UNARY, _UNARY),
    tirx.And: Infix("&&", _AND, _AND, _AND),
    tirx.Or: Infix("||", _OR, _EQUALITY, _EQUALITY),
}

_HELPERS: dict[type, str] = {tirx.Min: "dwfuse_min", tirx.Max: "dwfuse_max"}

#: Floor division: the operator for operands that are not negative, and the helper for any.
_FLOOR: dict[type, tuple[type, str]] = {
    tirx.FloorDiv: (tirx.Div, "dwfuse_floordiv"),
    tirx.FloorMod: (tirx.Mod, "dwfuse_floormod"),
}


class Facts:
    """What is known of the scalars at one place of a function."""

    def __init__(self) -> None:
        self._analyzer = Analyzer()
        self._analyzer.enabled_extensions = Extension.TransitivelyProveInequalities

    def is_index(self, var: tirx.Var) -> None:
        """``var`` is not negative."""
        self._analyzer.update(var, ConstIntBound(0, 2**31 - 1))

    def bind(self, var: tirx.Var, value: Expr | Range) -> None:
        """``var`` equals ``value``, or lies in it."""
        self._analyzer.bind(var, value, allow_override=True)

    @contextmanager
    def where(self, condition: Expr) -> Iterator[None]:
        """Inside, ``condition`` holds."""
        with self._analyzer.constraint_scope(condition):
            yield

    def prove(self, condition: Expr) -> bool:
        """Whether ``condition`` always holds, as far as can be told."""
        return self._analyzer.can_prove(condition, ProofStrength.SYMBOLIC_BOUND)


class ExpressionPrinter:
    """Prints int32 and boolean expressions over declared scalars."""

    def __init__(self, names: Names, facts: Facts) -> None:
        self._names = names
        self._facts = facts
        self._rules: dict[type, Callable[[Expr], Fragment]] = {
            tirx.Var: self._variable,
            tirx.IntImm: self._number,
            tirx.Not: self._not,
            tirx.Select: self._select,
            tirx.Cast: self._cast,
            Call: self._call,
            **{node: self._infix for node in _INFIX},
            **{node: self._helper for node in _HELPERS},
            **{node: self._floor for node in _FLOOR},
        }

    def text(self, expr: Expr, precedence: int = 0) -> str:
        """C text of ``expr``, in parentheses unless it binds at least as tightly as ``precedence``.

        Raises:
            ValueError: it has a type or an operator without a rule.
        """
        fragment = self._fragment(expr)
        return fragment.text if fragment.precedence >= precedence else f"({fragment.text})"

    def address(self, pointer: str, offset: Expr) -> str:
        """C text of the address ``offset`` elements from ``pointer``."""
        if isinstance(offset, tirx.IntImm) and int(offset) == 0:
            return pointer
        return f"{pointer} + {self.text(offset, _PRODUCT)}"

    def _fragment(self, expr: Expr) -> Fragment:
        rule = self._rules.get(type(expr))
        if rule is None:
            raise ValueError(f"the C printer has no rule for {type(expr).__name__}: {expr}")
        if not isinstance(expr.ty, PrimType) or expr.ty.dtype not in ("int32", "bool"):
            raise ValueError(f"the C printer has no scalars of type {expr.ty}: {expr}")
        return rule(expr)

    def _variable(self, var: tirx.Var) -> Fragment:
        return Fragment(self._names.of(var), _ATOM)

    def _number(self, number: tirx.IntImm) -> Fragment:
        value = int(number)
        if value == -(2**31):
            return Fragment("INT32_MIN", _ATOM)
        return Fragment(str(value), _ATOM if value >= 0 else _UNARY)

    def _not(self, expr: tirx.Not) -> Fragment:
        return Fragment(f"!{self.text(expr.a, _UNARY)}", _UNARY)

    def _select(self, expr: tirx.Select) -> Fragment:
        return self._choice(expr.condition, expr.true_value, expr.false_value)

    def _choice(self, condition: Expr, then: Expr, otherwise: Expr) -> Fragment:
        parts = self.text(condition, _OR), self.text(then, _OR), self.text(otherwise, _OR)
        return Fragment("{} ? {} : {}".format(*parts), _CHOICE)

    def _cast(self, expr: tirx.Cast) -> Fragment:
        return self._fragment(expr.value)

    def _call(self, call: Call) -> Fragment:
        if getattr(call.op, "name", None) != "prim.if_then_else":
            raise ValueError(f"the C printer has no rule for a call of {getattr(call.op, 'name', call.op)}: {call}")
        return self._choice(*call.args)

    def _infix(self, expr: Expr) -> Fragment:
        return self._between(_INFIX[type(expr)], expr.a, expr.b)

    def _between(self, infix: Infix, a: Expr, b: Expr) -> Fragment:
        text = f"{self.text(a, infix.left)} {infix.symbol} {self.text(b, infix.right)}"
        return Fragment(text, infix.precedence)

    def _helper(self, expr: Expr) -> Fragment:
        return self._function(_HELPERS[type(expr)], expr.a, expr.b)

    def _floor(self, expr: Expr) -> Fragment:
        operator, helper = _FLOOR[type(expr)]
        if self._facts.prove(expr.a >= 0) and self._facts.prove(expr.b > 0):
            return self._between(_INFIX[operator], expr.a, expr.b)
        return self._function(helper, expr.a, expr.b)

    def _function(self, name: str, *arguments: Expr) -> Fragment:
        return Fragment(f"{name}({', '.join(self.text(argument) for argument in arguments)})", _ATOM)
