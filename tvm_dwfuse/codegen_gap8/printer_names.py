"""C names of TensorIR variables: their own, with a number added where two would be the same in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx

_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """auto break case char const continue default do double else enum extern float for goto if inline int long
        register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
        core l1""",
    )
)


class Names:
    """Names in nested scopes; no name hides another. ``core`` and ``l1`` are the function's own parameters."""

    def __init__(self) -> None:
        self._scopes: list[dict[tirx.Var, str]] = [{}]

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is declared inside is unknown outside."""
        self._scopes.append({})
        yield
        self._scopes.pop()

    def declare(self, var: tirx.Var) -> str:
        """A name for ``var``, free at this place."""
        wanted = re.sub(r"\W", "_", var.name)
        wanted = f"v{wanted}" if not wanted or wanted[0].isdigit() else wanted
        name, number = wanted, 0
        while self._is_taken(name):
            number += 1
            name = f"{wanted}_{number}"
        return self.call(var, name)

    def call(self, var: tirx.Var, name: str) -> str:
        """Give ``var`` a name that stands already."""
        self._scopes[-1][var] = name
        return name

    def of(self, var: tirx.Var) -> str:
        """The name of a declared variable.

        Raises:
            ValueError: it is not declared here, e.g. used outside of the block that binds it.
        """
        for scope in reversed(self._scopes):
            if var in scope:
                return scope[var]
        raise ValueError(f"{var.name} is used where it is not declared")

    def _is_taken(self, name: str) -> bool:
        return name in _RESERVED or any(name in scope.values() for scope in self._scopes)
