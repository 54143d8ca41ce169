"""What the printer asks of a function before it prints it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import AllocBuffer, Bind, Evaluate, For, ForKind, IfThenElse, SeqStmt

from .intrinsics import called_intrinsic
from .l1 import L1_SCOPE

#: C element types of buffers, and their sizes.
ELEMENTS = {"uint8": "uint8_t", "int8": "int8_t", "int32": "int32_t"}
ELEMENT_BYTES = {"uint8": 1, "int8": 1, "int32": 4}


class Kind(IntEnum):
    """What a statement is made of."""

    NOTHING = 0
    SCALAR = 1
    #: Calls that core 0 makes for all, with or without control flow around.
    TRANSFERS = 2
    #: Anything that all cores take part in.
    WORK = 3


def kind(stmt: tirx.Stmt) -> Kind:
    """What ``stmt`` is made of; anything unknown counts as work."""
    if isinstance(stmt, AllocBuffer) or (isinstance(stmt, Evaluate) and isinstance(stmt.value, tirx.IntImm)):
        return Kind.NOTHING
    if isinstance(stmt, Bind):
        return Kind.SCALAR
    if isinstance(stmt, Evaluate):
        return Kind.TRANSFERS if called_intrinsic(stmt.value).by_master else Kind.WORK
    if isinstance(stmt, SeqStmt):
        return max(kind(part) for part in stmt.seq)
    if isinstance(stmt, IfThenElse):
        return _of_body(stmt.then_case, *([] if stmt.else_case is None else [stmt.else_case]))
    if isinstance(stmt, For) and stmt.kind == ForKind.SERIAL:
        return _of_body(stmt.body)
    return Kind.WORK


def _of_body(*bodies: tirx.Stmt) -> Kind:
    """Scalars inside of a body end with it."""
    most = max(kind(body) for body in bodies)
    return Kind.NOTHING if most is Kind.SCALAR else most


def flat(stmt: tirx.Stmt) -> list[tirx.Stmt]:
    """The statements of a sequence, and of sequences in it; else the one statement."""
    if isinstance(stmt, SeqStmt):
        return [inner for part in stmt.seq for inner in flat(part)]
    return [stmt]


def allocated_in_l1(body: tirx.Stmt) -> list[tirx.Buffer]:
    """The L1 buffers of a function in order.

    Raises:
        ValueError: one is allocated elsewhere, is not flat, or its size is no number.
    """
    buffers: list[tirx.Buffer] = []
    tvm_ffi.structural_walk(body, (AllocBuffer, lambda alloc: buffers.append(alloc.buffer)))
    for buffer in buffers:
        if buffer.scope() != L1_SCOPE:
            raise ValueError(f"{buffer.name} is allocated in {buffer.scope()}, not in {L1_SCOPE}")
        if len(buffer.shape) != 1 or not isinstance(buffer.shape[0], tirx.IntImm):
            raise ValueError(f"{buffer.name} must be flat and of a constant size")
    return buffers


def c_element(buffer: tirx.Buffer) -> str:
    """The C element type of a buffer.

    Raises:
        ValueError: it holds something else than uint8, int8 or int32.
    """
    if buffer.dtype not in ELEMENTS:
        raise ValueError(f"the C printer has no buffers of type {buffer.dtype}: {buffer.name}")
    return ELEMENTS[buffer.dtype]


def written_buffers(body: tirx.Stmt) -> set[tirx.Var]:
    """The buffers that intrinsics may write to."""
    written: set[tirx.Var] = set()

    def visit(stmt: Evaluate) -> None:
        if isinstance(stmt.value, tirx.IntImm):
            return
        intrinsic = called_intrinsic(stmt.value)
        arguments = vars(intrinsic.arguments(stmt.value))
        written.update(arguments[p.name].buffer for p in intrinsic.parameters if p.is_written)

    tvm_ffi.structural_walk(body, (Evaluate, visit))
    return written


def used_variables(body: tirx.Stmt) -> set[tirx.Var]:
    """The variables that occur in expressions, those being declared left out."""
    used: set[tirx.Var] = set()

    def uses(*fields: str) -> Callable[[tirx.Stmt], None]:
        return lambda stmt: used.update(*(_variables(getattr(stmt, field)) for field in fields))

    for node, fields in (
        (Bind, ["value"]),
        (For, ["min", "extent"]),
        (IfThenElse, ["condition"]),
        (Evaluate, ["value"]),
    ):
        tvm_ffi.structural_walk(body, (node, uses(*fields)))
    return used


def _variables(expr: Expr) -> set[tirx.Var]:
    found: set[tirx.Var] = set()
    tvm_ffi.structural_walk(expr, (tirx.Var, found.add))
    return found
