"""The least L2 that a network needs, which activations must live in L3, and the refusal of what cannot fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from ..blocks import Conv
from ..errors import DwfuseError
from ..groups import Group, GroupedNetwork, Plan
from ..integer_network import Add, AveragePool, Network
from ..targets.gap8 import ClusterTarget
from ..tiling.chain import Chain
from ..tiling.elementwise import AddPlan
from .memory_calls import band_unit, bands, pieces
from .memory_plan import align


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """From which group to which each activation is needed; inputs of the network from the first one on."""

    grouped: GroupedNetwork

    @cached_property
    def spans(self) -> dict[str, tuple[int, int]]:
        """(index of the first group, index of the last group) of every activation outside of groups."""
        groups = self.grouped.groups
        spans = dict.fromkeys(self.grouped.network.inputs, (0, 0))
        for i, group in enumerate(groups):
            spans[group.output] = (i, i)
            for name in group.inputs:
                spans[name] = (spans[name][0], i)
        for name in self.grouped.network.outputs:
            spans[name] = (spans[name][0], len(groups) - 1)
        return spans

    def live(self, index: int) -> list[str]:
        """The activations needed while the group of that index runs."""
        return [name for name, (first, last) in self.spans.items() if first <= index <= last]


def window_bytes(group: Group, size: int, whole: dict[str, int]) -> dict[str, int]:
    """Bytes of L2 that the largest band of ``size`` takes of each operand; ``whole`` has the operands' sizes."""
    largest = dict.fromkeys((*group.inputs, group.output), 0)
    for band in bands(group, size):
        for name, span in zip((*group.inputs, group.output), (*band.inputs, band.output), strict=True):
            lo, hi = span.aligned(whole[name])
            largest[name] = max(largest[name], align(hi - lo))
    return largest


def activation_bytes(grouped: GroupedNetwork) -> dict[str, int]:
    """Aligned size of each activation that is an operand of a group."""
    operands = {name for group in grouped.groups for name in (*group.inputs, group.output)}
    return {name: align(grouped.activation(name).bytes) for name in operands}


class Needs:
    """The least L2 that each group needs, given which activations live in L3."""

    def __init__(self, grouped: GroupedNetwork) -> None:
        self.grouped = grouped
        self.lifetimes = Lifetimes(grouped)
        self.sizes = activation_bytes(grouped)
        self._least = [window_bytes(group, band_unit(group, grouped), self.sizes) for group in grouped.groups]
        self.constants = [max((p.bytes for p in pieces(group, 0, 0)), default=0) for group in grouped.groups]

    def resident(self, index: int, spilled: set[str]) -> int:
        """Bytes of whole activations in L2 while that group runs."""
        return sum(self.sizes[name] for name in self.lifetimes.live(index) if name not in spilled)

    def windows(self, index: int, spilled: set[str]) -> int:
        """Bytes of the smallest windows on its operands that live in L3."""
        return sum(size for name, size in self._least[index].items() if name in spilled)

    def total(self, index: int, spilled: set[str]) -> int:
        """Bytes of L2 in all."""
        return self.resident(index, spilled) + self.windows(index, spilled) + self.constants[index]

    def spillable(self, index: int, spilled: set[str]) -> list[str]:
        """Activations that could move to L3 to make room for that group, the cheapest first.

        The network's inputs and outputs stay in L2: the caller puts and finds them there.
        """
        kept = {*spilled, *self.grouped.network.inputs, *self.grouped.network.outputs}
        return sorted((name for name in self.lifetimes.live(index) if name not in kept), key=self.cost)

    def cost(self, name: str) -> int:
        """Bytes between L2 and L3 if that activation lives in L3."""
        readers = sum(group.inputs.count(name) for group in self.grouped.groups)
        return self.sizes[name] * (1 + readers)


class DoesNotFit(Exception):
    """The group ``index`` needs more than there is, with all that can be in L3 there."""

    def __init__(self, index: int, spilled: set[str]) -> None:
        super().__init__(index, spilled)
        self.index = index
        self.spilled = spilled


def choose_spilled(needs: Needs, capacity: int) -> set[str]:
    """Activations to keep in L3 so that each group finds the L2 it needs.

    Raises:
        DoesNotFit: some group needs more even so.
    """
    spilled: set[str] = set()
    indices = range(len(needs.grouped.groups))
    for index in indices:
        while needs.total(index, spilled) > capacity:
            candidates = needs.spillable(index, spilled)
            if not candidates:
                raise DoesNotFit(index, spilled)
            enough = (name for name in candidates if needs.total(index, spilled | {name}) <= capacity)
            spilled.add(next(enough, max(candidates, key=lambda name: needs.sizes[name])))
    for name in sorted(spilled, key=needs.cost, reverse=True):
        if all(needs.total(index, spilled - {name}) <= capacity for index in indices):
            spilled.remove(name)
    return spilled


def refusal(needs: Needs, target: ClusterTarget, misfit: DoesNotFit) -> DwfuseError:
    """The error that names the layer, what it needs, what there is, and the largest input that would fit."""

    def fits(smaller: GroupedNetwork) -> bool:
        try:
            choose_spilled(Needs(smaller), target.l2_bytes)
        except DoesNotFit:
            return False
        return True

    index = misfit.index
    names = " + ".join(layer.name for layer in needs.grouped.groups[index].layers)
    needed, weights = needs.total(index, misfit.spilled), needs.constants[index]
    size = largest_fitting(needs.grouped, fits)
    remedy = f"the largest input that would fit is about {size[0]}x{size[1]}" if size else "no smaller input would fit"
    return DwfuseError(
        f"layer {names}: needs {needed} bytes of L2 ({weights} of them weights), {target.name} has {target.l2_bytes} "
        f"for data; {remedy}"
    )


def largest_fitting(grouped: GroupedNetwork, fits: Callable[[GroupedNetwork], bool]) -> tuple[int, int] | None:
    """(height, width) of the largest smaller input for which ``fits`` holds, the ratio of the sides kept; or None.

    Sizes above 64 are tried in steps of 8.
    """
    image = grouped.activation(grouped.network.inputs[0])
    height = image.height - 1
    while height > 0:
        if height > 64:
            height -= height % 8
        width = max(1, round(image.width * height / image.height))
        smaller = resized(grouped, height, width)
        if smaller is not None and fits(smaller):
            return height, width
        height -= 1
    return None


def resized(grouped: GroupedNetwork, height: int, width: int) -> GroupedNetwork | None:
    """The same network for an input of another size; None if it has no such form (a dense layer on an image)."""
    network = grouped.network
    sizes = dict.fromkeys(network.inputs, (height, width))
    for layer in network.layers:
        size, operator = sizes[layer.inputs[0]], layer.operator
        if isinstance(operator, Conv):
            if network.activations[layer.inputs[0]].channels != operator.in_channels:
                return None
            size = operator.out_size(*size)
        elif isinstance(operator, AveragePool):
            size = (1, 1)
        if min(size) < 1:
            return None
        sizes[layer.output] = size
    activations = {
        name: replace(activation, height=sizes[name][0], width=sizes[name][1])
        for name, activation in network.activations.items()
    }
    smaller = Network(network.name, network.inputs, network.outputs, network.layers, activations)
    groups = tuple(replace(group, plan=_resized_plan(group, sizes)) for group in grouped.groups)
    return GroupedNetwork(smaller, groups, grouped.layouts)


def _resized_plan(group: Group, sizes: dict[str, tuple[int, int]]) -> Plan:
    height, width = sizes[group.inputs[0]]
    plan = group.plan
    if isinstance(plan, Chain):
        plan = replace(plan, height=height, width=width)
        return replace(plan, tile=replace(plan.tile, rows=min(plan.tile.rows, plan.out_rows)))
    if isinstance(plan, AddPlan):
        operator = group.layers[0].operator
        assert isinstance(operator, Add)
        elements = height * width * operator.channels
        return replace(plan, elements=elements, chunk=min(plan.chunk, elements))
    return replace(plan, height=height, width=width)
