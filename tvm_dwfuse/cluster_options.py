"""What a user may ask of a compilation for a cluster, checked in one place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .choice import Objective
from .errors import DwfuseError
from .targets import CLUSTER_TARGETS, ClusterTarget
from .variants import VARIANTS

#: The "variant" that fuses nothing.
UNFUSED = "none"


@dataclass(frozen=True)
class ClusterOptions:
    """How a quantized network is compiled for a cluster.

    Args:
        target: a name of :data:`tvm_dwfuse.targets.gap8.CLUSTER_TARGETS`.
        objective: ``"latency"``, the fewest cycles; ``"traffic"``, the fewest L2-L1 bytes of activations; ``"energy"``
            by the target's model; ``"memory"``, the lowest peak of activations alive at once, then latency; or a
            weighted sum such as ``"latency=1,energy=0.5"``: see :class:`tvm_dwfuse.choice.Objective`.
        variant: use this fused variant wherever it is legal; ``"none"`` fuses nothing, None chooses block by block.
        l1_bytes: bytes of L1 for data; None for what the target has.
        double_buffer: whether transfers may overlap with computing.

    Raises:
        DwfuseError: no such target, objective or variant, or more L1 than there is.
    """

    target: str = "gap8"
    objective: str = "latency"
    variant: str | None = None
    l1_bytes: int | None = None
    double_buffer: bool = True

    def __post_init__(self) -> None:
        if self.target not in CLUSTER_TARGETS:
            raise DwfuseError(f"unknown target {self.target!r}; known: {', '.join(CLUSTER_TARGETS)}")
        Objective.parse(self.objective)
        if self.variant is not None and self.variant not in (UNFUSED, *VARIANTS):
            raise DwfuseError(f"unknown variant {self.variant!r}; known: {', '.join((UNFUSED, *VARIANTS))}")
        most = CLUSTER_TARGETS[self.target].l1_bytes
        if self.l1_bytes is not None and not 0 < self.l1_bytes <= most:
            raise DwfuseError(f"L1 of {self.l1_bytes} bytes: {self.target} has up to {most} for data; give fewer")

    def machine(self) -> ClusterTarget:
        """The target's description, with the L1 that may be used."""
        machine = CLUSTER_TARGETS[self.target]
        return machine if self.l1_bytes is None else replace(machine, l1_bytes=self.l1_bytes)

    def to_dict(self) -> dict[str, Any]:
        """The options by name."""
        return asdict(self)

    def to_json(self) -> str:
        """One line of JSON; :meth:`from_json` reads it back."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_json(text: str) -> ClusterOptions:
        """The options that :meth:`to_json` wrote."""
        return ClusterOptions(**json.loads(text))

    def updated(self, changes: dict[str, Any]) -> ClusterOptions:
        """These options with some replaced, by name.

        Raises:
            DwfuseError: there is no such option, or its value is not legal.
        """
        known = [option.name for option in fields(self)]
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise DwfuseError(f"unknown option {unknown[0]!r}; known: {', '.join(known)}")
        return replace(self, **changes)
