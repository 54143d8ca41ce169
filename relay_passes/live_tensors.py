"""Which activations are alive at each point of a function, and how many bytes they have."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import tvm
from tvm import relax, tirx

from .dataflow import Dataflow

#: Operators whose result is their argument under another shape or name.
_ALIASES = ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten")


class LiveTensors:
    """The lifetimes of the tensors of one function, in the order of its program.

    A tensor lives from the binding that makes it to the last one that reads it or another name of it; parameters live
    from the start, outputs to the end. Constants are not counted. A tensor whose shape is not static has no bytes.
    """

    def __init__(self, flow: Dataflow, params: Iterable[relax.Var]) -> None:
        self._flow = flow
        self._root: dict[relax.Var, relax.Var] = {}
        self._bytes: dict[relax.Var, int] = {}
        self._last_use: dict[relax.Var, int] = {}
        for param in params:
            self._add(param)
        for at in range(len(flow.bindings)):
            self._add(flow.var(at))
        for var, root in self._root.items():
            self._last_use[root] = max(self._end(var), self._last_use.get(root, -1))

    def during(self, at: int, reads: Iterable[relax.Var], inside: frozenset[int] = frozenset()) -> int:
        """Bytes alive while a kernel runs in the place of the binding at position ``at``.

        Args:
            at: the last of the kernel's bindings.
            reads: the variables that it reads.
            inside: positions of all its bindings: what these bind but the last is never a tensor.
        """
        result = self._root[self._flow.var(at)]
        alive = {self._root[var] for var in reads} | {result}
        for root in self._bytes:
            made = self._flow.position(root)
            if made < at <= self._last_use[root] and made not in inside:
                alive.add(root)
        return sum(self._bytes[root] for root in alive)

    def peak(self, without: frozenset[int] = frozenset()) -> int:
        """The most bytes alive at any binding that makes a tensor, but those at the positions ``without``."""
        points = (at for at in range(len(self._flow.bindings)) if at not in without and self._makes(at))
        return max((self.during(at, ()) for at in points), default=0)

    def _makes(self, at: int) -> bool:
        var = self._flow.var(at)
        return self._root[var].same_as(var)

    def _end(self, var: relax.Var) -> int:
        """The position of the last reader of that name, or the end of the function if it is an output."""
        at = self._flow.position(var)
        if at >= 0 and self._flow.is_output(var):
            return len(self._flow.bindings)
        return max(self._flow.users(var), default=at)

    def _add(self, var: relax.Var) -> None:
        source = _aliased(self._flow, var)
        if source is not None and source in self._root:
            self._root[var] = self._root[source]
            return
        self._root[var] = var
        self._bytes[var] = tensor_bytes(var.ty)


def _aliased(flow: Dataflow, var: relax.Var) -> relax.Expr | None:
    """The variable that ``var`` is another name of, if it is."""
    at = flow.position(var)
    if at < 0:
        return None
    value = flow.bindings[at].value
    if isinstance(value, relax.TupleGetItem):
        return value.tuple_value
    if flow.op_name(at) in _ALIASES:
        return value.args[0]
    return value if isinstance(value, relax.Var) else None


def tensor_bytes(kind: tvm.ir.Type) -> int:
    """Bytes of a tensor of that type, or of all tensors of a tuple; 0 where a dimension is not known."""
    if hasattr(kind, "fields"):
        return sum(tensor_bytes(field) for field in kind.fields)
    dims = getattr(getattr(kind, "shape", None), "values", None)
    if dims is None or not all(isinstance(dim, tirx.IntImm) for dim in dims):
        return 0
    return math.prod(int(dim) for dim in dims) * np.dtype(str(kind.dtype)).itemsize
