"""Prints a scheduled PrimFunc as C that all cores of a cluster run together.

Scalars and control flow are replicated: each core computes them, and all come to the same. Runs of DMA statements
become a section of core 0, a parallel loop over the cores becomes a block in terms of the parameter ``core``, and
after each of either all cores meet at a barrier; so none ever stands inside what only some cores execute.

Every node is printed by a rule of a table; one without a rule is refused. What the text calls is declared by
``HEADERS``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from tvm import tirx
from tvm.ir import Expr, Range
from tvm.sym import Analyzer
from tvm.tirx import AllocBuffer, Bind, Evaluate, For, ForKind, IfThenElse, SeqStmt

from ..targets.gap8 import ClusterTarget
from .intrinsics import Pointer, called_intrinsic
from .l1 import OVERREAD_BYTES
from .printer_analysis import (
    ELEMENT_BYTES,
    Kind,
    allocated_in_l1,
    c_element,
    flat,
    kind,
    used_variables,
    written_buffers,
)
from .printer_expressions import COMPARED, ExpressionPrinter, Facts
from .printer_names import Names

#: What a file with printed functions has to include.
HEADERS = ("dwfuse_kernels.h", "dwfuse_runtime.h", "dwfuse_scalar.h")

#: Attribute of a PrimFunc: text of the comment above the C function.
DOC = "gap8.doc"

#: Attribute of a PrimFunc: pairs of names of its parameters, (begin, end), of which begin <= end may be assumed.
RANGES = "gap8.ranges"

_WIDTH = 120
#: Width of calls, which stand indented.
_CALL_WIDTH = 100
_INDENT = "  "


@dataclass(frozen=True)
class CParameter:
    """A parameter of a printed function, e.g. ``const uint8_t *`` and ``x``."""

    ctype: str
    name: str

    def __str__(self) -> str:
        return f"{self.ctype}{self.name}" if self.ctype.endswith("*") else f"{self.ctype} {self.name}"


@dataclass(frozen=True)
class CFunction:
    """A printed function.

    Args:
        name: its name.
        prototype: its prototype, without a semicolon; the first parameters are ``int core, uint8_t *l1``.
        text: the definition, with a comment in front.
        l1_bytes: size of what ``l1`` has to point to, aligned to 4 bytes.
        parameters: those after ``core`` and ``l1``, in the order of the PrimFunc's.
    """

    name: str
    prototype: str
    text: str
    l1_bytes: int
    parameters: tuple[CParameter, ...]

    @property
    def define(self) -> str:
        """A line that defines the macro ``<NAME>_L1_BYTES``."""
        return f"#define {self.name.upper()}_L1_BYTES {self.l1_bytes}"


def print_function(func: tirx.PrimFunc, target: ClusterTarget) -> CFunction:
    """The C of a scheduled PrimFunc. Its int32 parameters are taken to be indices, not negative.

    Raises:
        ValueError: it holds something that has no C here, or something that cores would not agree on.
    """
    return _FunctionPrinter(func, target.cores).function()


class _Mode(Enum):
    """Who executes a statement."""

    ALL = "all cores in step"
    MASTER = "core 0"
    CORE = "each core by itself"


class _FunctionPrinter:
    def __init__(self, func: tirx.PrimFunc, cores: int) -> None:
        self._func = func
        self._cores = cores
        self._names = Names()
        self._facts = Facts()
        self._expressions = ExpressionPrinter(self._names, self._facts)
        self._used = used_variables(func.body)
        self._rules: dict[type, Callable[..., list[str]]] = {
            SeqStmt: self._sequence,
            AllocBuffer: self._alloc,
            Bind: self._bind,
            For: self._for,
            IfThenElse: self._if,
            Evaluate: self._evaluate,
        }

    def function(self) -> CFunction:
        name = str(self._func.attrs["global_symbol"])
        parameters = self._declare_parameters()
        pointers, l1_bytes = self._place_buffers()
        body = self._in_step(flat(self._func.body))
        everything = [CParameter("int", "core"), CParameter("uint8_t *", "l1"), *parameters]
        words = set(re.findall(r"\w+", "\n".join([*pointers, *body])))
        unused = [f"(void){parameter.name};" for parameter in everything if parameter.name not in words]
        prototype = _wrapped(f"void {name}(", [str(parameter) for parameter in everything], ")")
        lines = [*self._comment(), *prototype[:-1], f"{prototype[-1]} {{"]
        lines += [*_indented([*unused, *pointers, *body]), "}"]
        return CFunction(name, "\n".join(prototype), "\n".join(lines) + "\n", l1_bytes, tuple(parameters))

    def _comment(self) -> list[str]:
        doc = str((self._func.attrs or {}).get(DOC, "")).replace("*/", "* /")
        return textwrap.wrap(f"/* {doc} */", _WIDTH, subsequent_indent=" * ") if doc else []

    # --- declarations ---------------------------------------------------------------------------------------------

    def _declare_parameters(self) -> list[CParameter]:
        written = written_buffers(self._func.body)
        parameters = []
        for var in self._func.params:
            name = self._names.declare(var)
            if tirx.is_buffer_var(var):
                const = "" if var in written else "const "
                parameters.append(CParameter(f"{const}{c_element(var)} *", name))
            elif var.ty.dtype == "int32":
                self._facts.is_index(var)
                parameters.append(CParameter("int", name))
            else:
                raise ValueError(f"the C printer has no parameters of type {var.ty}: {name}")
        self._assume_ranges()
        return parameters

    def _assume_ranges(self) -> None:
        named = {var.name: var for var in self._func.params}
        for begin, end in self._func.attrs.get(RANGES, ()):
            length = tirx.Var("length", "int32")
            self._facts.is_index(length)
            self._facts.bind(named[str(end)], named[str(begin)] + length)

    def _place_buffers(self) -> tuple[list[str], int]:
        """Pointers to the L1 buffers, and the size of all."""
        lines, offset = [], 0
        for buffer in allocated_in_l1(self._func.body):
            element = c_element(buffer)
            place = f"l1 + {offset}" if offset else "l1"
            if element != "uint8_t":
                place = f"({element} *)({place})" if offset else f"({element} *){place}"
            lines.append(f"{element} *const {self._names.declare(buffer)} = {place};")
            offset += -(-int(buffer.shape[0]) * ELEMENT_BYTES[buffer.dtype] // 4) * 4
        return lines, offset + OVERREAD_BYTES if offset else 0

    # --- statements -----------------------------------------------------------------------------------------------

    def _statement(self, stmt: tirx.Stmt, mode: _Mode) -> list[str]:
        rule = self._rules.get(type(stmt))
        if rule is None:
            raise ValueError(f"the C printer has no rule for {type(stmt).__name__}: {stmt}")
        return rule(stmt, mode)

    def _block(self, stmt: tirx.Stmt, mode: _Mode) -> list[str]:
        """The lines of a block of its own, indented."""
        with self._names.scope():
            return _indented(self._in_mode(flat(stmt), mode))

    def _sequence(self, stmt: SeqStmt, mode: _Mode) -> list[str]:
        return self._in_mode(flat(stmt), mode)

    def _in_mode(self, stmts: Sequence[tirx.Stmt], mode: _Mode) -> list[str]:
        if mode is _Mode.ALL:
            return self._in_step(stmts)
        return [line for stmt in stmts for line in self._statement(stmt, mode)]

    def _in_step(self, stmts: Sequence[tirx.Stmt]) -> list[str]:
        """Statements of all cores; DMA statements with nothing but scalars in between become one section."""
        lines: list[str] = []
        transfers: list[tirx.Stmt] = []
        for stmt in stmts:
            made_of = kind(stmt)
            if made_of is Kind.TRANSFERS:
                transfers.append(stmt)
            elif made_of is Kind.SCALAR:
                lines += self._statement(stmt, _Mode.ALL)
            elif made_of is Kind.WORK:
                lines += self._master_section(transfers)
                lines += self._statement(stmt, _Mode.ALL)
                transfers = []
        return lines + self._master_section(transfers)

    def _master_section(self, stmts: Sequence[tirx.Stmt]) -> list[str]:
        if not stmts:
            return []
        body = SeqStmt(list(stmts)) if len(stmts) > 1 else stmts[0]
        return ["if (core == 0) {", *self._block(body, _Mode.MASTER), "}", "dwfuse_barrier();"]

    def _alloc(self, stmt: AllocBuffer, mode: _Mode) -> list[str]:
        if mode is _Mode.CORE:
            raise ValueError(f"{stmt.buffer.name} is allocated inside of a parallel loop")
        return []

    def _bind(self, stmt: Bind, mode: _Mode) -> list[str]:
        if stmt.var not in self._used:
            return []
        value = self._expressions.text(stmt.value)
        self._facts.bind(stmt.var, stmt.value)
        return [f"const int {self._names.declare(stmt.var)} = {value};"]

    def _for(self, loop: For, mode: _Mode) -> list[str]:
        if loop.kind == ForKind.PARALLEL:
            return self._parallel(loop, mode)
        if loop.kind != ForKind.SERIAL or loop.step is not None:
            raise ValueError(f"the C printer has no rule for loops like that over {loop.loop_var.name}: {loop}")
        first = self._expressions.text(loop.min)
        stop = self._expressions.text(Analyzer().simplify(loop.min + loop.extent), COMPARED)
        self._facts.bind(loop.loop_var, Range.from_min_extent(loop.min, loop.extent))
        with self._names.scope():
            name = self._names.declare(loop.loop_var)
            body = self._block(loop.body, mode)
        return [f"for (int {name} = {first}; {name} < {stop}; {name}++) {{", *body, "}"]

    def _parallel(self, loop: For, mode: _Mode) -> list[str]:
        if mode is not _Mode.ALL:
            raise ValueError(f"the parallel loop over {loop.loop_var.name} is inside of another")
        bounds = loop.min, loop.extent
        if not all(isinstance(bound, tirx.IntImm) for bound in bounds) or [int(b) for b in bounds] != [0, self._cores]:
            raise ValueError(f"a parallel loop must be over the target's {self._cores} cores: {loop}")
        self._facts.bind(loop.loop_var, Range.from_min_extent(*bounds))
        with self._names.scope():
            self._names.call(loop.loop_var, "core")
            if isinstance(loop.body, (SeqStmt, Bind)):
                return ["{", *self._block(loop.body, _Mode.CORE), "}", "dwfuse_barrier();"]
            return [*self._statement(loop.body, _Mode.CORE), "dwfuse_barrier();"]

    def _if(self, stmt: IfThenElse, mode: _Mode) -> list[str]:
        condition = self._expressions.text(stmt.condition)
        with self._facts.where(stmt.condition):
            lines = [f"if ({condition}) {{", *self._block(stmt.then_case, mode)]
        if stmt.else_case is not None:
            with self._facts.where(tirx.Not(stmt.condition)):
                lines += ["} else {", *self._block(stmt.else_case, mode)]
        return [*lines, "}"]

    def _evaluate(self, stmt: Evaluate, mode: _Mode) -> list[str]:
        if isinstance(stmt.value, tirx.IntImm):
            return []
        intrinsic = called_intrinsic(stmt.value)
        if mode is not (_Mode.MASTER if intrinsic.by_master else _Mode.CORE):
            where = "outside of" if intrinsic.by_master else "inside of"
            raise ValueError(f"{intrinsic.name} must be called {where} a parallel loop over the cores: {stmt}")
        arguments = vars(intrinsic.arguments(stmt.value))
        texts = [self._argument(arguments[parameter.name]) for parameter in intrinsic.parameters]
        return _wrapped(f"{intrinsic.name}(", texts, ");")

    def _argument(self, value: Expr | Pointer) -> str:
        if isinstance(value, Pointer):
            return self._expressions.address(self._names.of(value.buffer), value.offset)
        return self._expressions.text(value)


def _indented(lines: Iterable[str]) -> list[str]:
    return [_INDENT + line for line in lines]


def _wrapped(head: str, items: Sequence[str], tail: str) -> list[str]:
    """``head``, items with commas in between and ``tail``, in lines of limited length aligned behind ``head``."""
    lines, line = [], head
    for index, item in enumerate(items):
        piece = item + (tail if index == len(items) - 1 else ",")
        if line != head and len(line) + 1 + len(piece) > _CALL_WIDTH:
            lines.append(line)
            line = " " * len(head) + piece
        else:
            line += piece if line == head else f" {piece}"
    return [*lines, line]
