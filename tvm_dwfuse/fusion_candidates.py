"""The ways to compute one layer, or two or three that follow each other: legal variants, and their best plans.

A candidate says in which layouts it reads and writes L2; the choice among them is made in
:mod:`tvm_dwfuse.choose_groups`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from .blocks import Conv
from .cluster_options import Objective
from .errors import DwfuseError
from .groups import Plan
from .integer_network import Activation, Add, AveragePool, Layer, Network
from .targets.gap8 import ClusterTarget
from .tiling.chain import Chain, is_depthwise
from .tiling.cost import Cost, cost
from .tiling.elementwise import AddPlan
from .tiling.search import Traversal, best_add, best_chain, best_pool, call_constants, smallest_l1
from .variants import VARIANTS, Variant

UNFUSED = "unfused"

_LAYOUTS = ("hwc", "chw")

#: Steps that the rows of the output are cut in at least, one after the other, until activations find room in L2.
_BANDS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Request:
    """What plans are searched for: the machine, what to minimise, and whether transfers may overlap with kernels."""

    target: ClusterTarget
    objective: Objective = "latency"
    double_buffer: bool = True


@dataclass(frozen=True)
class Candidate:
    """One way to compute ``layers``; ``source`` and ``sink`` are the layouts in L2 of its input and output."""

    layers: tuple[Layer, ...]
    variant: str
    source: str
    sink: str
    plan: Plan
    cost: Cost


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
            found = _chain_candidate(network, (layer,), UNFUSED, (source, sink), request)
        else:
            found = _elementwise_candidate(network, layer, source, sink, request)
        if found:
            yield found


def baseline_candidates(network: Network, layer: Layer, request: Request) -> Iterator[Candidate]:
    """A single layer as the published kernels had it: HWC in L2, depthwise inputs turned to CHW by the DMA."""
    conv = layer.operator
    if not isinstance(conv, Conv):
        found = _elementwise_candidate(network, layer, "hwc", "hwc", request)
    elif is_depthwise(conv):
        found = _chain_candidate(network, (layer,), UNFUSED, ("chw", "hwc"), request, dma_transposes=True)
    else:
        found = _chain_candidate(network, (layer,), UNFUSED, ("hwc", "hwc"), request)
    if found:
        yield found


def fused_candidate(
    network: Network, layers: tuple[Layer, ...], variant: Variant, request: Request
) -> Candidate | None:
    """The best plan of a variant that is legal for ``layers``, or None where it does not fit L1."""
    return _chain_candidate(network, layers, variant.name, chain_layouts(variant), request, _traversal(variant))


def _chain_candidate(
    network: Network,
    layers: tuple[Layer, ...],
    variant: str,
    layouts: tuple[str, ...],
    request: Request,
    traversal: Traversal = "any",
    dma_transposes: bool = False,
) -> Candidate | None:
    """The best plan of a chain; where activations do not fit L2, the best that can visit it in bands of rows."""
    stages, given = _stages(layers), network.activations[layers[0].inputs[0]]
    target, objective, double = request.target, request.objective, request.double_buffer
    rows = network.activations[layers[-1].output].height
    source = "hwc" if dma_transposes else layouts[0]
    first: Candidate | None = None
    for parts in _BANDS:
        most_rows = None if parts == 1 else -(-rows // parts)
        plan = best_chain(
            stages,
            given.height,
            given.width,
            layouts,
            target,
            objective,
            traversal,
            double,
            dma_transposes,
            most_rows,
        )
        if plan is None:
            return first
        found = Candidate(layers, variant, source, layouts[-1], plan, cost(plan, target))
        if l2_need(network, found) <= target.l2_bytes:
            return found
        first = first or found
    return first


def _elementwise_candidate(
    network: Network, layer: Layer, source: str, sink: str, request: Request
) -> Candidate | None:
    target, objective, double = request.target, request.objective, request.double_buffer
    given = network.activations[layer.inputs[0]]
    plan: Plan | None = None
    if isinstance(layer.operator, AveragePool):
        plan = best_pool(given.height, given.width, given.channels, source, target, objective, double)
    elif source == sink:
        plan = best_add(given.bytes, target, objective, double)
    return Candidate((layer,), UNFUSED, source, sink, plan, cost(plan, target)) if plan else None


def _traversal(variant: Variant) -> Traversal:
    return "channels" if variant.traversal == "channels" else "rows"


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
    return smallest_l1(_stages(layers), source.height, source.width, layouts, request.target, _traversal(variant))


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
