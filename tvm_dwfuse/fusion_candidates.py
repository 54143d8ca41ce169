"""The ways to compute one layer, or two or three that follow each other: legal variants, and their best plans.

A candidate says in which layouts it reads and writes L2; the choice among them is made in
:mod:`tvm_dwfuse.choose_groups`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from .blocks import Conv
from .errors import DwfuseError
from .groups import Plan
from .integer_network import Activation, Add, AveragePool, Layer, Network
from .targets.gap8 import ClusterTarget
from .tiling.chain import Chain, is_depthwise
from .tiling.cost import Cost, cost
from .tiling.elementwise import AddPlan
from .tiling.search import (
    PlanObjective,
    Traversal,
    best_add,
    best_chain,
    best_pool,
    call_constants,
    chain_front,
    smallest_l1,
    traversal_of,
)
from .tiling.tuned import TunedPlan, TunedPlans
from .variants import VARIANTS, Variant

UNFUSED = "unfused"

_LAYOUTS = ("hwc", "chw")

#: Stages, height, width, layouts and machine; traversal, double buffers, transposing DMA and rows in a step at most.
_ChainKey = tuple[tuple[Conv, ...], int, int, tuple[str, ...], ClusterTarget]
_How = tuple[Traversal, bool, bool, int | None]

#: Steps that the rows of the output are cut in at least, one after the other, until activations find room in L2.
_BANDS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Request:
    """What plans are searched for: the machine, what to minimise, and whether transfers may overlap with kernels.

    Without ``objective`` all plans are wanted that no other is better than in cycles, bytes and energy at once.
    ``tuned`` plans are taken where latency is the objective, as that is what they were tuned for.
    """

    target: ClusterTarget
    objective: PlanObjective | None = "latency"
    double_buffer: bool = True
    tuned: TunedPlans | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to compute ``layers``; ``source`` and ``sink`` are the layouts in L2 of its input and output.

    ``tuned`` is the record that ``plan`` is from, None for one of the search's own.
    """

    layers: tuple[Layer, ...]
    variant: str
    source: str
    sink: str
    plan: Plan
    cost: Cost
    tuned: TunedPlan | None = None


def check_supported(layer: Layer) -> None:
    """Refuse what no plan exists for.

    Raises:
        DwfuseError: a convolution that is grouped without being depthwise, or dilated.
    """
    conv = layer.operator
    if not isinstance(conv, Conv):
        return
    if conv.groups != 1 and not is_depthwise(conv):
        raise DwfuseError(
            f"{layer.name}: {conv.groups} groups of {conv.in_channels} to {conv.out_channels} channels "
            "do not run on clusters; use a depthwise one with as many outputs as inputs, or groups=1"
        )
    if conv.dilation != (1, 1):
        raise DwfuseError(f"{layer.name}: a dilated convolution does not run on clusters; use dilation 1")


def unfused_candidates(network: Network, layer: Layer, request: Request) -> Iterator[Candidate]:
    """A single layer, in every pair of layouts that it fits L1 with."""
    for source, sink in product(_LAYOUTS, _LAYOUTS):
        if isinstance(layer.operator, Conv):
            yield from _chain_candidates(network, (layer,), UNFUSED, (source, sink), request)
        else:
            yield from _elementwise_candidate(network, layer, source, sink, request)


def baseline_candidates(network: Network, layer: Layer, request: Request) -> Iterator[Candidate]:
    """A single layer as the published kernels had it: HWC in L2, depthwise inputs turned to CHW by the DMA."""
    conv = layer.operator
    if not isinstance(conv, Conv):
        yield from _elementwise_candidate(network, layer, "hwc", "hwc", request)
    elif is_depthwise(conv):
        yield from _chain_candidates(network, (layer,), UNFUSED, ("chw", "hwc"), request, dma_transposes=True)
    else:
        yield from _chain_candidates(network, (layer,), UNFUSED, ("hwc", "hwc"), request)


def fused_candidates(
    network: Network, layers: tuple[Layer, ...], variant: Variant, request: Request
) -> Iterator[Candidate]:
    """The best plan of a variant that is legal for ``layers``, or several; none where it does not fit L1."""
    yield from _chain_candidates(network, layers, variant.name, chain_layouts(variant), request)


def _chain_candidates(
    network: Network,
    layers: tuple[Layer, ...],
    variant: str,
    layouts: tuple[str, ...],
    request: Request,
    dma_transposes: bool = False,
) -> list[Candidate]:
    """The plans of a chain that are wanted; where activations do not fit L2, those that can visit it in bands of rows.

    A tuned plan that finds room in L2 is the only one. Where no band is small enough, plans are given nevertheless: the
    planner of L2 knows best what to say.
    """
    given = network.activations[layers[0].inputs[0]]
    target, rows = request.target, network.activations[layers[-1].output].height
    source = "hwc" if dma_transposes else layouts[0]
    chain = (_stages(layers), given.height, given.width, layouts, target)
    if not dma_transposes and (tuned := _tuned_plan(chain, variant, request)):
        candidate = Candidate(layers, variant, source, layouts[-1], tuned.plan, tuned.cost(target), tuned)
        if l2_need(network, candidate) <= target.l2_bytes:
            return [candidate]
    first: list[Candidate] = []
    fitting: list[Candidate] = []
    for parts in _BANDS:
        most_rows = None if parts == 1 else -(-rows // parts)
        how = (traversal_of(variant), request.double_buffer, dma_transposes, most_rows)
        plans = _untuned_plans(chain, how, request.objective)
        found = [Candidate(layers, variant, source, layouts[-1], plan, cost(plan, target)) for plan in plans]
        within = [candidate for candidate in found if l2_need(network, candidate) <= target.l2_bytes]
        first, fitting = first or found, fitting + within
        if len(within) == len(found):
            break
    return fitting or first


def _tuned_plan(chain: _ChainKey, variant: str, request: Request) -> TunedPlan | None:
    """The plan on record of a chain, if it may be used."""
    if request.tuned is None or request.objective != "latency" or not request.double_buffer:
        return None
    return request.tuned.find(*chain, variant)


def _untuned_plans(chain: _ChainKey, how: _How, objective: PlanObjective | None) -> tuple[Chain, ...]:
    """The best plan for an objective, or all that may be the best for somebody."""
    if objective is None:
        return chain_front(*chain, *how)
    plan = best_chain(*chain, objective, *how)
    return (plan,) if plan else ()


def _elementwise_candidate(
    network: Network, layer: Layer, source: str, sink: str, request: Request
) -> Iterator[Candidate]:
    """The best plan of a sum or pool, if any: the bytes are the same in all, so the fastest is best in everything."""
    target, objective, double = request.target, request.objective or "latency", request.double_buffer
    given = network.activations[layer.inputs[0]]
    plan: Plan | None = None
    if isinstance(layer.operator, AveragePool):
        plan = best_pool(given.height, given.width, given.channels, source, target, objective, double)
    elif source == sink:
        plan = best_add(given.bytes, target, objective, double)
    if plan:
        yield Candidate((layer,), UNFUSED, source, sink, plan, cost(plan, target))


def chain_layouts(variant: Variant) -> tuple[str, ...]:
    """Layouts of a variant's tensors: input, intermediates, output."""
    mids = 2 if variant.order == "pwdwpw" else 1
    return (variant.source, *[variant.mid] * mids, variant.sink)


def legal_variants(layers: tuple[Layer, ...]) -> list[Variant]:
    """The variants that compute layers which follow each other, no one else reading what is between them."""
    return [variant for variant in VARIANTS.values() if illegality(layers, variant) is None]


def illegality(layers: tuple[Layer, ...], variant: Variant) -> str | None:
    """Why ``variant`` cannot compute ``layers``, or None if it can; L1 aside."""
    if order_of(layers) != variant.order:
        return f"the layers are not in the order {variant.order}"
    depthwise = _stages(layers)[1 if variant.order != "dwpw" else 0]
    skips_rows = depthwise.strides[0] > depthwise.kernel[0]
    if variant.order != "dwpw" and variant.traversal == "rows" and skips_rows:
        return "the depthwise stride skips rows of the intermediate"
    return None


def order_of(layers: tuple[Layer, ...]) -> str:
    """Such as "dwpw", or something that is no variant's order; any dense convolution may be the first "pw"."""
    words = []
    for i, layer in enumerate(layers):
        conv = layer.operator
        if not isinstance(conv, Conv):
            return ""
        dense = conv.is_pointwise or (i == 0 and conv.groups == 1)
        words.append("dw" if is_depthwise(conv) else "pw" if dense else "conv")
    return "".join(words)


def l1_need(network: Network, layers: tuple[Layer, ...], variant: Variant, request: Request) -> int:
    """Bytes of L1 that the smallest plan of a variant needs."""
    source = network.activations[layers[0].inputs[0]]
    layouts = chain_layouts(variant)
    size, traversal = (source.height, source.width), traversal_of(variant.name)
    return smallest_l1(_stages(layers), *size, layouts, request.target, traversal)


def unfused_l1_need(network: Network, layer: Layer, request: Request) -> int:
    """Bytes of L1 that the smallest plan of a single layer needs, HWC in L2."""
    source = network.activations[layer.inputs[0]]
    if isinstance(layer.operator, Conv):
        return smallest_l1((layer.operator,), source.height, source.width, ("hwc", "hwc"), request.target)
    tile = min(4, source.channels)
    return 3 * 4 + 4 if isinstance(layer.operator, Add) else (source.height * source.width + 1) * tile + 4


def l2_need(network: Network, candidate: Candidate) -> int:
    """Least bytes of L2 that a candidate needs: activations that may live in L3 visit L2 in bands of rows.

    Only rows of HWC tensors are runs of bytes, and the network's own input and output stay in L2.
    """
    plan, output = candidate.plan, candidate.layers[-1].output
    inputs = [network.activations[name] for name in candidate.layers[0].inputs]
    if isinstance(plan, AddPlan):
        return 0
    need = {activation.name: activation.bytes for activation in (*inputs, network.activations[output])}
    layouts = {inputs[0].name: candidate.source, output: candidate.sink}
    in_bands = all(layout == "hwc" or same_in_both_layouts(network.activations[n]) for n, layout in layouts.items())
    if isinstance(plan, Chain) and in_bands:
        rows = {inputs[0].name: plan.live_rows[0], output: plan.tile.rows}
        for name in rows.keys() - {*network.inputs, *network.outputs}:
            need[name] = need[name] * rows[name] // network.activations[name].height
    return sum(need.values()) + (call_constants(plan) if isinstance(plan, Chain) else 0)


def _stages(layers: tuple[Layer, ...]) -> tuple[Conv, ...]:
    return tuple(layer.operator for layer in layers if isinstance(layer.operator, Conv))


def same_in_both_layouts(activation: Activation) -> bool:
    """Whether HWC and CHW are the same: one pixel, or one channel."""
    return activation.height * activation.width == 1 or activation.channels == 1
