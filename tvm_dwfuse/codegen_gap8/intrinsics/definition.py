"""What an intrinsic is: a C prototype, the file of its C text, and its meaning as a TensorIR statement."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from tvm import tirx
from tvm.ir import Call, Expr, PrimType, TensorLoad
from tvm.tirx import Evaluate

#: TensorIR's name of each C element type; a ``void`` pointer takes any.
_DTYPES = {"uint8_t": "uint8", "int8_t": "int8", "int32_t": "int32", "void": None}

_PROTOTYPE = re.compile(r"void (\w+)\((.+)\)")
_PARAMETER = re.compile(r"(const )?(\w+) (\*?)(\w+)")


@dataclass(frozen=True)
class Pointer:
    """The address of an element of a flat buffer."""

    buffer: tirx.Buffer
    offset: Expr

    def load(self, index: Expr | int) -> Expr:
        """The element that many elements further, as int32."""
        return self.buffer[self.offset + index].astype("int32")


class Arguments(SimpleNamespace):
    """Arguments of a call by the names of the parameters: int32 expressions, and :class:`Pointer` for pointers."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"The intrinsic has no parameter {name}.")


Meaning = Callable[[Arguments], tirx.Stmt]


@dataclass(frozen=True)
class Parameter:
    """A parameter as C declares it: an ``int``, or a pointer to elements of ``element``, written unless ``const``."""

    name: str
    element: str
    is_pointer: bool
    is_const: bool

    @property
    def dtype(self) -> str | None:
        """Element type of a pointer in TensorIR; None for any."""
        return _DTYPES[self.element]

    @property
    def is_written(self) -> bool:
        """Whether the function may write through it."""
        return self.is_pointer and not self.is_const


@dataclass(frozen=True)
class Intrinsic:
    """A C function that schedules call, one core's share of the work at a time.

    Args:
        prototype: its C prototype, without a semicolon.
        source: the C file that holds it, seen from ``tvm_dwfuse/codegen_gap8``.
        meaning: from the arguments of a call to the statement that does the same.
        by_master: whether core 0 alone calls it, for all; otherwise each core does, within a parallel loop.
    """

    prototype: str
    source: str
    meaning: Meaning
    by_master: bool = False

    @cached_property
    def name(self) -> str:
        """Name of the C function."""
        return self._parts[0]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters in order."""
        return tuple(_parameter(text.strip()) for text in self._parts[1].split(","))

    @property
    def _parts(self) -> tuple[str, str]:
        match = _PROTOTYPE.fullmatch(" ".join(self.prototype.split()))
        if match is None:
            raise ValueError(f"not a prototype of an intrinsic: {self.prototype}")
        return match[1], match[2]

    def __call__(self, **arguments: Expr | int | tuple[tirx.Buffer, Expr | int]) -> Evaluate:
        """A statement that calls it; a pointer is given as (flat buffer, offset in elements).

        Raises:
            ValueError: an argument is missing, unknown or of the wrong type.
        """
        names = [parameter.name for parameter in self.parameters]
        if set(arguments) != set(names):
            wrong = sorted(set(arguments) ^ set(names))
            raise ValueError(f"{self.name}: missing or unknown arguments: {', '.join(wrong)}")
        values = [self._argument(parameter, arguments[parameter.name]) for parameter in self.parameters]
        return Evaluate(tirx.call_extern("void", self.name, *values))

    def arguments(self, call: Call) -> Arguments:
        """The arguments of a call of it.

        Raises:
            ValueError: the call does not fit the prototype.
        """
        values = list(call.args)[1:]
        if len(values) != len(self.parameters):
            raise ValueError(f"{self.name} takes {len(self.parameters)} arguments, not {len(values)}: {call}")
        named = {p.name: _parsed(p, value, self.name) for p, value in zip(self.parameters, values, strict=True)}
        for parameter in self.parameters:
            self._argument(parameter, _as_given(named[parameter.name]))
        return Arguments(**named)

    def _argument(self, parameter: Parameter, value: Any) -> Expr:
        where = f"{self.name}: argument {parameter.name}"
        if parameter.is_pointer:
            return _address(parameter, value, where)
        return _int32(value, where)


def _parameter(text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None or not (match[2] in _DTYPES if match[3] else match[2] == "int" and not match[1]):
        raise ValueError(f"not a parameter of an intrinsic: {text}")
    return Parameter(match[4], match[2], bool(match[3]), bool(match[1]))


def _address(parameter: Parameter, value: Any, where: str) -> Expr:
    if not isinstance(value, tuple) or len(value) != 2 or not tirx.is_buffer_var(value[0]):
        raise ValueError(f"{where} must be (buffer, offset), not {value}")
    buffer, offset = value
    if len(buffer.shape) != 1:
        raise ValueError(f"{where} must point into a flat buffer; {buffer.name} has {len(buffer.shape)} dimensions")
    if parameter.dtype not in (None, buffer.dtype):
        raise ValueError(f"{where} must point to {parameter.dtype}; {buffer.name} holds {buffer.dtype}")
    return tirx.address_of(buffer[_int32(offset, where)])


def _int32(value: Any, where: str) -> Expr:
    if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
        return tirx.IntImm("int32", value)
    if isinstance(value, Expr) and isinstance(value.ty, PrimType) and value.ty.dtype == "int32":
        return value
    raise ValueError(f"{where} must be an int32, not {value}")


def _parsed(parameter: Parameter, value: Expr, name: str) -> Expr | Pointer:
    if not parameter.is_pointer:
        return value
    if isinstance(value, Call) and value.op.name == "tirx.address_of":
        load = value.args[0]
        if isinstance(load, TensorLoad) and len(load.indices) == 1:
            return Pointer(load.source, load.indices[0])
    raise ValueError(f"{name}: argument {parameter.name} must be the address of an element of a flat buffer: {value}")


def _as_given(value: Expr | Pointer) -> Any:
    return (value.buffer, value.offset) if isinstance(value, Pointer) else value
