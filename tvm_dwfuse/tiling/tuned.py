"""Plans that were found by tuning, as the choice of groups asks for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ..blocks import Conv
from ..targets.gap8 import ClusterTarget
from .chain import Chain
from .cost import Cost, cost


@dataclass(frozen=True)
class TunedPlan:
    """A tuned plan; ``origin`` says in words where its record is.

    ``measured`` are the cycles that a simulator or board took for it, None where the cost model was asked.
    """

    plan: Chain
    origin: str
    measured: int | None = None

    def cost(self, target: ClusterTarget) -> Cost:
        """What the plan takes: measured cycles count in place of the model's."""
        model = cost(self.plan, target)
        if self.measured is None:
            return model
        more = self.measured - model.cycles
        energy = model.energy + target.energy(more, 0)
        return replace(model, cycles=self.measured, energy=energy, parts=(*model.parts, ("measured", more)))


class TunedPlans(Protocol):
    """Records of tuning; which of them may be used is for the caller to say."""

    def find(
        self,
        stages: tuple[Conv, ...],
        height: int,
        width: int,
        layouts: tuple[str, ...],
        target: ClusterTarget,
        variant: str,
    ) -> TunedPlan | None:
        """The best plan on record of a chain in a variant that fits L1 of ``target``; None if there is none."""
