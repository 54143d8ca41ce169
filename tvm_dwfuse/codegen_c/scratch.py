"""Memory of a kernel that is too large for the stack, taken from a pointer that its caller gives."""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, PointerType, PrimType
from tvm.tirx import For, ForKind

from schedules.analysis import substitute

#: Multiple of every offset: a cache line of all the targets but Apple's, whose lines are two of these.
ALIGNMENT = 64

#: TVM puts on the stack what is smaller (``runtime::kMaxStackAlloca``); for the rest its runtime would be called.
_STACK_BYTES = 1024


def align(size: int) -> int:
    """``size`` rounded up to :data:`ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Scratch:
    """Rewrites the body of one kernel; ``bytes`` is what it needs, known when :meth:`rewrite` is done.

    ``pointer`` is the parameter to give the kernel. A buffer inside a parallel loop exists once for each of its tasks:
    loops of more iterations than ``threads`` are split into that many tasks, as TVM's runtime would do. For one thread
    nothing is parallel.
    """

    def __init__(self, threads: int) -> None:
        self.bytes = 0
        self.pointer = tirx.Var("scratch", PointerType(PrimType("uint8")))
        self._threads = threads
        self._memory = tirx.decl_buffer([2**31 - 1], "uint8", "scratch_bytes", layout=None)
        self._task: tuple[Expr, int] | None = None

    def rewrite(self, body: tirx.Stmt) -> tirx.Stmt:
        """The statement with its large buffers declared as parts of the scratch memory."""
        body = tvm_ffi.structural_mutate(body, ((For, self._loop), (tirx.AllocBuffer, self._buffer)))
        return tirx.SeqStmt([tirx.DeclBuffer(self._memory, data=self.pointer), body]) if self.bytes else body

    def _loop(self, loop: For, mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        if loop.kind != ForKind.PARALLEL or self._task:
            return mutator.default_mutate(loop)
        if self._threads == 1:
            return mutator.default_mutate(For(loop.loop_var, loop.min, loop.extent, ForKind.SERIAL, loop.body))
        if int(loop.extent) > self._threads and _has_large_buffers(loop.body):
            loop = _split(loop, self._threads)
        self._task = loop.loop_var, int(loop.extent)
        result = mutator.default_mutate(loop)
        self._task = None
        return result

    def _buffer(self, statement: tirx.AllocBuffer, _mutator: tvm_ffi.structural.StructuralMutator) -> tirx.Stmt:
        buffer = statement.buffer
        size = _scratch_bytes(buffer)
        if not size:
            return statement
        offset: Expr = tirx.const(self.bytes, "int64")
        copies = 1
        if self._task:
            task, copies = self._task
            offset += tirx.Cast("int64", task) * tirx.const(size, "int64")
        self.bytes += size * copies
        place = tirx.BufferLoad(self._memory, [offset])
        kind = tirx.buffer.buffer_data_pointer_type(buffer)
        return tirx.DeclBuffer(buffer, data=Call("tirx.address_of", [place], ret_ty=kind))


def _scratch_bytes(buffer: tirx.Buffer) -> int:
    """Bytes that a buffer takes of the scratch memory; 0 for one that lies on the stack."""
    kind = tvm.DataType(buffer.dtype)
    size = math.prod(int(extent) for extent in buffer.shape) * ((kind.bits * kind.lanes + 7) // 8)
    return 0 if size < _STACK_BYTES and buffer.scope() == "global" else align(size)


def _has_large_buffers(body: tirx.Stmt) -> bool:
    found: list[int] = []
    tvm_ffi.structural_walk(body, (tirx.AllocBuffer, lambda each: found.append(_scratch_bytes(each.buffer))))
    return any(found)


def _split(loop: For, tasks: int) -> For:
    """A parallel loop of ``tasks`` iterations, each of them a chunk of the iterations of ``loop``."""
    extent = int(loop.extent)
    chunk = -(-extent // tasks)
    tasks = -(-extent // chunk)
    kind = loop.loop_var.ty
    task, step = tirx.Var("task", kind), tirx.Var("step", kind)
    index = task * chunk + step
    body = substitute(loop.body, {loop.loop_var: loop.min + index})
    if tasks * chunk > extent:
        body = tirx.IfThenElse(index < extent, body, None)
    inner = For(step, tirx.const(0, kind), tirx.const(chunk, kind), ForKind.SERIAL, body)
    return For(task, tirx.const(0, kind), tirx.const(tasks, kind), ForKind.PARALLEL, inner)
