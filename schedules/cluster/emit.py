"""Short names for what the schedules of this package emit: parameters, scalars, loops, pointers, transfers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.sym import Analyzer
from tvm.tirx.script.builder import ir as T

from tvm_dwfuse.codegen_gap8 import intrinsics
from tvm_dwfuse.tiling.chain import Buffer

#: An int32 scalar: a Python int where it is known.
Scalar = Any

#: What a transfer moves; the DMA counts them apart.
ACTIVATION, CONSTANT = 0, 1


class Pointer(NamedTuple):
    """An element of a flat buffer."""

    buffer: Any
    offset: Scalar = 0

    def at(self, elements: Scalar) -> Pointer:
        """The element that many further on."""
        return Pointer(self.buffer, simplified(self.offset + elements))


def tensor(name: str, dtype: str) -> Pointer:
    """A flat L2 tensor of any length as the next parameter."""
    length = tirx.Var(f"{name}_size", "int32")
    return Pointer(T.arg(name, tirx.decl_buffer([length], dtype, name, layout=None, data_alignment=1)))


def scalars(*names: str) -> list[Scalar]:
    """The next parameters, int32."""
    return [T.arg(name, tirx.Var(name, "int32")) for name in names]


def allocate(buffers: Iterable[Buffer]) -> dict[str, Pointer]:
    """The L1 buffers by name; all slots of one in a run."""
    places = {}
    for buffer in buffers:
        place = T.alloc_buffer((buffer.total,), buffer.dtype, scope="global.l1", align=4, layout=None)
        IRBuilder.name(buffer.name, place)
        places[buffer.name] = Pointer(place)
    return places


def simplified(value: Scalar) -> Scalar:
    """``value`` in its simplest form."""
    if isinstance(value, int):
        return value
    value = Analyzer().simplify(value)
    return int(value) if isinstance(value, tirx.IntImm) else value


def let(name: str, value: Scalar) -> Scalar:
    """Bind a scalar to a name, so that it is computed once; numbers and variables stay what they are."""
    value = simplified(value)
    if isinstance(value, (int, tirx.Var)):
        return value
    var = T.bind(value)
    IRBuilder.name(name, var)
    return var


def smaller(a: Scalar, b: Scalar) -> Scalar:
    """The minimum."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else tirx.min(a, b)


def larger(a: Scalar, b: Scalar) -> Scalar:
    """The maximum."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else tirx.max(a, b)


def ceil_div(a: Scalar, b: int) -> Scalar:
    """``a`` / ``b`` rounded up, of non-negative numbers."""
    return -(-a // b) if isinstance(a, int) else tirx.floordiv(a + (b - 1), b)


def choose(condition: Any, then: Scalar, otherwise: Scalar) -> Scalar:
    """``then`` where the condition holds."""
    if isinstance(condition, bool):
        return then if condition else otherwise
    return tirx.Select(condition, *(tirx.IntImm("int32", v) if isinstance(v, int) else v for v in (then, otherwise)))


@contextmanager
def when(condition: Any) -> Iterator[None]:
    """What is emitted inside happens where the condition holds; ``True`` needs no test."""
    if condition is True:
        yield
        return
    with T.If(condition), T.Then():
        yield


@contextmanager
def loop(name: str, begin: Scalar, end: Scalar) -> Iterator[Scalar]:
    """A serial loop; none for a single iteration."""
    if isinstance(begin, int) and isinstance(end, int) and end - begin == 1:
        yield begin
        return
    with T.serial(begin, end) as var:
        IRBuilder.name(name, var)
        yield var


@contextmanager
def each_core(cores: int) -> Iterator[Scalar]:
    """The loop over the cores of the cluster."""
    with T.parallel(cores) as core:
        IRBuilder.name("core", core)
        yield core


def part(name: str, index: Scalar, parts: int, total: Scalar, unit: int = 1) -> tuple[Scalar, Scalar]:
    """(begin, count) of part ``index`` of ``total`` elements, shared out in whole ``unit``s as evenly as they go."""
    if parts == 1:
        return 0, total
    share = let(f"{name}_share", ceil_div(ceil_div(total, unit), parts) * unit)
    begin = let(f"{name}_begin", smaller(index * share, total))
    return begin, let(f"{name}_count", smaller(share, total - begin))


class Slots(NamedTuple):
    """DMA slots of one purpose, and the buffers that go with them, taken in turns."""

    first: int
    buffers: int

    def turn(self, index: Scalar) -> Scalar:
        """Which of the buffers is in turn."""
        return simplified(index % self.buffers) if self.buffers > 1 else 0

    def slot(self, index: Scalar) -> Scalar:
        """The slot in turn."""
        return self.first + self.turn(index)

    def drain(self) -> None:
        """Wait for all transfers."""
        for index in range(self.buffers):
            wait(self.first + index)


def emit(statement: Any) -> None:
    """Emit a call of an intrinsic."""
    T.add_to_parent(statement)


def wait(slot: Scalar) -> None:
    """Wait for the transfers of a slot; returns at once when there are none."""
    emit(intrinsics.dma_wait(slot=slot))


def fetch(
    slot: Scalar, kind: int, l1: Pointer, l2: Pointer, length: Scalar, lines: Scalar = 1, stride: Scalar = 0
) -> None:
    """Start a transfer into L1, of ``lines`` of ``length`` bytes that lie ``stride`` bytes apart in L2."""
    geometry = {"lines": lines, "line_bytes": simplified(length), "l2_stride": stride}
    emit(intrinsics.dma_in(slot=slot, kind=kind, l1=l1, l2=l2, **geometry))


def store(slot: Scalar, l1: Pointer, l2: Pointer, length: Scalar, lines: Scalar = 1, stride: Scalar = 0) -> None:
    """Start a transfer of activations out of L1, the mirror image of :func:`fetch`."""
    geometry = {"lines": lines, "line_bytes": simplified(length), "l2_stride": stride}
    emit(intrinsics.dma_out(slot=slot, kind=ACTIVATION, l1=l1, l2=l2, **geometry))
