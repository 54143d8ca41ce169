"""The runs that a network falls into between activations that must be HWC, and what is alive in L2 while layers run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from .codegen_gap8.memory_plan import align
from .integer_network import Add, Layer, Network


def layer_runs(network: Network) -> Iterator[tuple[Layer, ...]]:
    """The layers, each once, in runs in which each is the only reader of the one before."""
    followers = {layer.name: _follower(network, layer) for layer in network.layers}
    followed = {follower.name for follower in followers.values() if follower}
    for layer in network.layers:
        if layer.name in followed:
            continue
        run = [layer]
        while (follower := followers[run[-1].name]) is not None:
            run.append(follower)
        yield tuple(run)


def _follower(network: Network, layer: Layer) -> Layer | None:
    """The layer that alone reads the output of ``layer`` and nothing else; None where HWC must pass between."""
    users = network.users(layer.output)
    if len(users) != 1 or layer.output in network.outputs or Add in (type(layer.operator), type(users[0].operator)):
        return None
    return users[0]


@dataclass(frozen=True, eq=False)
class LiveActivations:
    """How many bytes of activations are alive while a group of layers of a run is computed.

    Groups are computed in the order of their last layers. Counted are the group's own input and output, and what other
    groups wrote and will read: that of residual connections above all. What lies between two layers of the group is in
    L1 only. Activations inside another run that is computed in turns with this one are counted whether they are fused
    away or not; the sum is then a bound, and exact in networks whose runs are computed one after the other.

    Args:
        network: the layers, in an order of execution.
        runs: of :func:`layer_runs`.
        most_layers: that a group has.
    """

    network: Network
    runs: Sequence[tuple[Layer, ...]]
    most_layers: int

    def during(self, run: tuple[Layer, ...], group: tuple[Layer, ...]) -> int:
        """Bytes of activations alive while ``group``, layers of ``run``, is computed."""
        time = self._times[group[-1].name]
        inside = {layer.output for layer in run[:-1]}
        waiting = {name for name in self._readers if name not in inside and self._waits(name, time, run[0])}
        return self.bytes({*group[0].inputs, group[-1].output} | waiting)

    def bytes(self, names: Iterable[str]) -> int:
        """Bytes of L2 that these activations take together."""
        return sum(align(self.network.activations[name].bytes) for name in names)

    def _waits(self, name: str, time: int, first: Layer) -> bool:
        """Whether an activation has been written and waits for a reader other than ``first``, or is an output."""
        if self._written.get(name, 0) > time:
            return False
        others = (reader for reader in self._readers[name] if reader != first.name)
        return name in self.network.outputs or any(self._latest[reader] >= time for reader in others)

    @cached_property
    def _times(self) -> dict[str, int]:
        return {layer.name: time for time, layer in enumerate(self.network.layers)}

    @cached_property
    def _written(self) -> dict[str, int]:
        return {layer.output: time for time, layer in enumerate(self.network.layers)}

    @cached_property
    def _readers(self) -> dict[str, list[str]]:
        """The layers that read each activation."""
        names = (*self.network.inputs, *self._written)
        return {name: [layer.name for layer in self.network.users(name)] for name in names}

    @cached_property
    def _latest(self) -> dict[str, int]:
        """When a group that begins with a layer is computed at the latest."""
        latest = {}
        for run in self.runs:
            for place, layer in enumerate(run):
                last = run[min(place + self.most_layers, len(run)) - 1]
                latest[layer.name] = self._times[last.name]
        return latest
