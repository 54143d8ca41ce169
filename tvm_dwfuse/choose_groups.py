"""The choice: which layers are computed together, by which variant, and in which layouts activations lie in L2.

Activations that several layers read, those of sums, and the network's own inputs and outputs are HWC. Between them
the network falls apart into runs of layers that follow each other; costs add up over the groups of a run, so dynamic
programming over (layer, layout of the activation before it) finds the best of all groupings and layouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .cluster_options import Objective
from .errors import DwfuseError
from .fusion_candidates import (
    Candidate,
    Request,
    baseline_candidates,
    check_supported,
    fused_candidate,
    illegality,
    l1_need,
    l2_need,
    legal_variants,
    order_of,
    same_in_both_layouts,
    unfused_candidates,
    unfused_l1_need,
)
from .groups import Group, GroupedNetwork
from .integer_network import Add, Layer, Network
from .targets.gap8 import ClusterTarget
from .tiling.search import objective_key
from .variants import Variant

#: Calls of a layer that L2 has room for the code of, on average; more where weights or activations come in pieces.
_CALLS_PER_LAYER = 4
#: Most layers in a group.
_MOST_LAYERS = 3
#: Reasons that a message lists.
_MOST_REASONS = 3


def choose_groups(
    network: Network,
    target: ClusterTarget,
    objective: Objective = "latency",
    variant: str | None = None,
    double_buffer: bool = True,
    baseline: bool = False,
) -> GroupedNetwork:
    """Group the layers of ``network`` so that the objective is least on ``target``.

    Args:
        network: the layers.
        target: the machine; its ``l1_bytes`` bound every group.
        objective: "latency" minimises cycles, then bytes of activations between L2 and L1; "traffic" the reverse.
        variant: None takes the best of unfused and all variants; "none" fuses nothing; a name takes that variant in
            as many places as possible and fuses nothing else.
        double_buffer: whether transfers may run beside kernels.
        baseline: nothing fused, every transfer awaited, HWC throughout L2 and depthwise inputs turned to CHW by the
            DMA: the way of the published kernels, to compare with.

    Raises:
        DwfuseError: a layer does not fit L1 or does not run on clusters, or ``variant`` is legal nowhere; with reasons.
    """
    for layer in network.layers:
        check_supported(layer)
    wanted = Variant.parse(variant) if variant not in (None, "none") else None
    layers = len(network.layers)
    target = target.without_code(layers, _CALLS_PER_LAYER * layers)
    request = Request(target, objective, double_buffer and not baseline)
    mode = _Mode(request, fuse=variant != "none" and not baseline, wanted=wanted, baseline=baseline)
    chosen = [candidate for run in _runs(network) for candidate in _best_cover(network, run, mode)]
    if wanted and not any(candidate.variant == wanted.name for candidate in chosen):
        raise DwfuseError(_illegal_everywhere(network, wanted, request))
    return _grouped(network, chosen)


@dataclass(frozen=True)
class _Mode:
    """Which candidates are considered: with ``wanted``, that variant before all else."""

    request: Request
    fuse: bool
    wanted: Variant | None
    baseline: bool

    def key(self, candidate: Candidate) -> tuple[int, ...]:
        """What a candidate adds to the sum that is minimised; more of the wanted variant come before everything."""
        preferred = self.wanted is not None and candidate.variant == self.wanted.name
        return (-int(preferred), *objective_key(candidate.cost, self.request.objective))


# --- runs of layers -----------------------------------------------------------------------------------------------


def _runs(network: Network) -> Iterator[tuple[Layer, ...]]:
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


def _best_cover(network: Network, run: tuple[Layer, ...], mode: _Mode) -> list[Candidate]:
    """The best groups that cover a run, which begins and ends with HWC activations."""
    best: dict[tuple[int, str], tuple[tuple[int, ...], list[Candidate]]] = {(0, "hwc"): ((0, 0, 0), [])}
    for start in range(len(run)):
        for candidate in _candidates(network, run, start, mode):
            end = start + len(candidate.layers)
            source = _layout(network, run[start].inputs[0], candidate.source)
            sink = _layout(network, candidate.layers[-1].output, candidate.sink)
            if (start, source) not in best:
                continue
            spent, before = best[start, source]
            total = tuple(a + b for a, b in zip(spent, mode.key(candidate), strict=True))
            if (end, sink) not in best or total < best[end, sink][0]:
                best[end, sink] = total, [*before, candidate]
    if (len(run), "hwc") not in best:
        raise DwfuseError(_too_large(network, run, mode.request))
    return best[len(run), "hwc"][1]


def _layout(network: Network, name: str, layout: str) -> str:
    """The layout's name; "hwc" where both are the same."""
    return "hwc" if same_in_both_layouts(network.activations[name]) else layout


def _candidates(network: Network, run: tuple[Layer, ...], start: int, mode: _Mode) -> Iterator[Candidate]:
    """All ways to compute the layers of a run from ``start`` on, in one group, that find room in L2.

    Where no way of a single layer does, all are given: the planner of L2 knows best what to say.
    """
    alone = baseline_candidates if mode.baseline else unfused_candidates
    single = list(alone(network, run[start], mode.request))
    yield from [each for each in single if _fits_l2(network, each, mode)] or single
    if not mode.fuse:
        return
    for end in range(start + 2, min(start + _MOST_LAYERS, len(run)) + 1):
        layers = run[start:end]
        for variant in legal_variants(layers):
            if mode.wanted in (None, variant):
                candidate = fused_candidate(network, layers, variant, mode.request)
                if candidate and _fits_l2(network, candidate, mode):
                    yield candidate


def _fits_l2(network: Network, candidate: Candidate, mode: _Mode) -> bool:
    return l2_need(network, candidate) <= mode.request.target.l2_bytes


# --- results ------------------------------------------------------------------------------------------------------


def _grouped(network: Network, chosen: list[Candidate]) -> GroupedNetwork:
    """The groups in the order of their last layers, which is an order of execution."""
    position = {layer.name: i for i, layer in enumerate(network.layers)}
    chosen = sorted(chosen, key=lambda candidate: position[candidate.layers[-1].name])
    layouts = dict.fromkeys((*network.inputs, *network.outputs), "hwc")
    groups = []
    for index, candidate in enumerate(chosen):
        kind = order_of(candidate.layers) or type(candidate.layers[0].operator).__name__.lower()
        group = Group(f"g{index:02d}_{kind}", candidate.layers, candidate.variant, candidate.plan)
        groups.append(group)
        for name in group.inputs:
            layouts[name] = _layout(network, name, candidate.source)
        layouts[group.output] = _layout(network, group.output, candidate.sink)
    return GroupedNetwork(network, tuple(groups), layouts)


def _too_large(network: Network, run: tuple[Layer, ...], request: Request) -> str:
    needs = [(unfused_l1_need(network, layer, request), layer.name) for layer in run]
    need, name = max(needs)
    return (
        f"{name}: its smallest tile needs {need} bytes of L1, and {request.target.name} has {request.target.l1_bytes} "
        "for data; give more L1, or use a smaller resolution or width"
    )


def _illegal_everywhere(network: Network, variant: Variant, request: Request) -> str:
    reasons = list(_reasons(network, variant, request))
    if not reasons:
        reasons = [f"the network has no layers in the order {variant.order}"]
    more = f"; and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
    return (
        f"variant {variant.name} is legal for no block: {'; '.join(reasons[:_MOST_REASONS])}{more}; choose another one"
    )


def _reasons(network: Network, variant: Variant, request: Request) -> Iterator[str]:
    """Why each place in the variant's order cannot be computed by it."""
    count = 3 if variant.order == "pwdwpw" else 2
    for layer in network.layers:
        layers = [layer]
        while len(layers) < count and (users := network.users(layers[-1].output)):
            layers.append(users[0])
        if order_of(tuple(layers)) != variant.order:
            continue
        yield f"{' + '.join(layer.name for layer in layers)}: {_reason(network, tuple(layers), variant, request)}"


def _reason(network: Network, layers: tuple[Layer, ...], variant: Variant, request: Request) -> str:
    for layer in layers[:-1]:
        if len(network.users(layer.output)) > 1 or layer.output in network.outputs:
            return f"the output of {layer.name} is read elsewhere, too"
    reason = illegality(layers, variant)
    if reason:
        return reason
    need = l1_need(network, layers, variant, request)
    if need > request.target.l1_bytes:
        return f"needs {need} bytes of L1, there are {request.target.l1_bytes}"
    return "its layouts do not fit those around it"
