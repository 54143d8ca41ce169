"""Words that the meanings of intrinsics are written in. All but the arithmetic need an ``IRBuilder`` around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from .definition import Pointer


@contextmanager
def loops(**extents: Expr | int) -> Iterator[tuple[tirx.Var, ...]]:
    """Nested serial loops, outermost first, each from 0 to the extent given by the name of its variable."""
    with ExitStack() as stack:
        variables = []
        for name, extent in extents.items():
            variables.append(stack.enter_context(T.serial(0, extent)))
            IRBuilder.name(name, variables[-1])
        yield tuple(variables)


class Accumulator:
    """An int32 that starts at zero."""

    def __init__(self) -> None:
        self._buffer = T.alloc_buffer((1,), "int32", scope="local", layout=None)
        IRBuilder.name("acc", self._buffer)
        T.buffer_store(self._buffer, 0, [0])

    @property
    def value(self) -> Expr:
        """What it holds."""
        return self._buffer[0]

    def add(self, term: Expr) -> None:
        """Add an int32."""
        T.buffer_store(self._buffer, self.value + term, [0])


def store_clipped(pointer: Pointer, index: Expr, value: Expr) -> None:
    """Store an int32 in an element of type uint8, clipped to what it holds."""
    T.buffer_store(pointer.buffer, tirx.max(tirx.min(value, 255), 0).astype("uint8"), [pointer.offset + index])


def requantized(acc: Expr, constants: Pointer, channel: Expr, shift: Expr) -> Expr:
    """``(m * acc + l) >> shift`` with the pair (m, l) of ``channel``."""
    return (constants.load(2 * channel) * acc + constants.load(2 * channel + 1)) >> shift
