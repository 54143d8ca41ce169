"""Groups of layers that one generated function computes, and a network cut into them."""

from __future__ import annotations

from dataclasses import dataclass

from .integer_network import Activation, Layer, Network
from .targets.gap8 import ClusterTarget
from .tiling.chain import Chain
from .tiling.cost import Cost, cost
from .tiling.elementwise import AddPlan, PoolPlan
from .tiling.tuned import TunedPlan

Plan = Chain | AddPlan | PoolPlan


@dataclass(frozen=True, eq=False)
class Group:
    """Layers computed together: one fused block, or a single layer.

    Args:
        name: a C identifier, unique in the network.
        layers: one layer for each stage of a chain; the activations between them never leave L1.
        variant: a name of ``tvm_dwfuse.variants.VARIANTS``, or ``"unfused"`` for a single layer.
        plan: geometry, tile and buffers.
        tuned: the record that ``plan`` is from; None for one that the compiler found by itself.
    """

    name: str
    layers: tuple[Layer, ...]
    variant: str
    plan: Plan
    tuned: TunedPlan | None = None

    def cost(self, target: ClusterTarget) -> Cost:
        """What it takes on ``target``, as measured where there is a measurement, else by the cost model."""
        return self.tuned.cost(target) if self.tuned else cost(self.plan, target)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the activations it reads."""
        return self.layers[0].inputs

    @property
    def output(self) -> str:
        """Name of the activation it writes."""
        return self.layers[-1].output


@dataclass(frozen=True, eq=False)
class GroupedNetwork:
    """A network, its groups in order of execution, and the layout in L2, "hwc" or "chw", of each activation there."""

    network: Network
    groups: tuple[Group, ...]
    layouts: dict[str, str]

    def activation(self, name: str) -> Activation:
        """The activation of that name."""
        return self.network.activations[name]
