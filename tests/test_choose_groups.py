"""The choice of groups: best of all there are, legal, within L1, and as good as the project promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiling.geometry import ROOMY
from tests.tiling.networks import Builder, inverted_residual, mobilenet_v1
from tvm_dwfuse.choice import METRICS, Costs, Objective
from tvm_dwfuse.choose_groups import GroupChoice, choose_groups
from tvm_dwfuse.codegen_gap8.memory_limits import Lifetimes, activation_bytes
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.fusion_candidates import Candidate, Request, fused_candidates, legal_variants, unfused_candidates
from tvm_dwfuse.groups import Group, GroupedNetwork
from tvm_dwfuse.integer_network import Add, Layer, Network
from tvm_dwfuse.targets.gap8 import GAP8, ClusterTarget
from tvm_dwfuse.tiling.chain import Chain
from tvm_dwfuse.tiling.cost import cost
from tvm_dwfuse.tiling.elementwise import AddPlan
from tvm_dwfuse.variants import VARIANTS


def totals(grouped: GroupedNetwork, target: ClusterTarget = GAP8) -> tuple[int, int]:
    """(cycles, bytes of activations) of all groups."""
    costs = [cost(group.plan, target) for group in grouped.groups]
    return sum(found.cycles for found in costs), sum(found.activation_bytes for found in costs)


def block(network: Network) -> Counter[str]:
    return Counter(group.variant for group in network.groups)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Chains of pointwise and depthwise layers in any order, at times with a residual sum or a pool at the end."""
    builder, x = Builder(8, 8, 4), "input"
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            x = builder.depthwise(x, 3, draw(st.sampled_from([1, 2])))
        else:
            x = builder.conv(x, draw(st.sampled_from([4, 24])))
    if draw(st.booleans()):
        x = builder.add(x, builder.conv(x, builder.activations[x].channels))
    if draw(st.booleans()):
        x = builder.pool(x)
    return builder.network(x)


# --- the best of all ----------------------------------------------------------------------------------------------


def all_choices(network: Network, request: Request) -> Iterator[list[Candidate]]:
    """Every way to cover the network with candidates, of any layouts."""

    def extend(done: list[Candidate], left: tuple[Layer, ...]) -> Iterator[list[Candidate]]:
        if not left:
            yield done
            return
        for candidate in unfused_candidates(network, left[0], request):
            yield from extend([*done, candidate], left[1:])
        for count in (2, 3):
            layers = left[:count]
            chained = all(
                network.users(a.output) == [b] and a.output not in network.outputs for a, b in pairwise(layers)
            )
            if len(layers) < count or not chained:
                continue
            for variant in legal_variants(layers):
                for candidate in fused_candidates(network, layers, variant, request):
                    yield from extend([*done, candidate], left[count:])

    yield from extend([], network.layers)


def layouts_agree(network: Network, choice: list[Candidate]) -> bool:
    """Whether whoever reads an activation finds it as it was written, HWC where that is asked for."""
    written = dict.fromkeys(network.inputs, "hwc")
    written |= {candidate.layers[-1].output: candidate.sink for candidate in choice}
    read = [(name, candidate.source) for candidate in choice for name in candidate.layers[0].inputs]
    shared = [name for name in written if len(network.users(name)) > 1]
    summed = [name for layer in network.layers if isinstance(layer.operator, Add) for name in layer.inputs]
    summed += [layer.output for layer in network.layers if isinstance(layer.operator, Add)]
    expected = [*read, *((name, "hwc") for name in (*network.outputs, *shared, *summed))]
    sizes = network.activations
    return all(written[name] == layout for name, layout in expected if sizes[name].height * sizes[name].width > 1)


def live_bytes(network: Network, groups: Sequence[tuple[Layer, ...]]) -> int:
    """The peak of activations alive at once, as the planner of L2 counts lifetimes."""
    order = {layer.name: i for i, layer in enumerate(network.layers)}
    groups = sorted(groups, key=lambda layers: order[layers[-1].name])
    some_plan = AddPlan(1, 1)
    grouped = GroupedNetwork(network, tuple(Group("g", layers, "", some_plan) for layers in groups), {})
    lifetimes, sizes = Lifetimes(grouped), activation_bytes(grouped)
    return max(sum(sizes[name] for name in lifetimes.live(index)) for index in range(len(groups)))


def costs_of(network: Network, choice: list[Candidate]) -> Costs:
    sums = (sum(getattr(c.cost, what) for c in choice) for what in ("cycles", "activation_bytes", "energy"))
    return Costs(*sums, live_bytes(network, [candidate.layers for candidate in choice]))


@pytest.mark.parametrize("text", [*METRICS, "latency=1,traffic=1", "energy=1,memory=2"])
@settings(max_examples=8)
@given(network=networks(), l1_bytes=st.sampled_from([3_000, GAP8.l1_bytes]))
def test_nothing_is_better_than_what_is_chosen(text, network, l1_bytes):
    target, objective = replace(GAP8, l1_bytes=l1_bytes), Objective.parse(text)
    plans_for = None if objective.single is None else "latency" if text == "memory" else text
    choices = all_choices(network, Request(target, plans_for))
    found = [costs_of(network, choice) for choice in choices if layouts_agree(network, choice)]
    best = Costs(*(min(getattr(costs, name) for costs in found) for name in METRICS))
    chosen = GroupChoice(network, target, text).best
    assert objective.key(chosen.costs, best) == pytest.approx(min(objective.key(costs, best) for costs in found))
    assert totals(chosen.grouped, target) == (chosen.costs.latency, chosen.costs.traffic)
    assert chosen.costs.memory == live_bytes(network, [group.layers for group in chosen.grouped.groups])


@settings(max_examples=10)
@given(network=networks())
def test_the_front_is_that_of_all_choices(network):
    request = Request(GAP8, None)
    found = {costs_of(network, c) for c in all_choices(network, request) if layouts_agree(network, c)}
    front = GroupChoice(network, GAP8, several_plans=True).front()
    assert front.exact
    assert {costs for costs, _ in front.points} == {c for c in found if not any(o.dominates(c) for o in found)}
    for name in METRICS:
        best = getattr(GroupChoice(network, GAP8, name).best.costs, name)
        assert min(getattr(costs, name) for costs, _ in front.points) == best


@settings(max_examples=40)
@given(networks())
def test_groups_cover_the_network_in_an_order_of_execution(network):
    grouped = choose_groups(network, GAP8)
    assert sorted(layer.name for group in grouped.groups for layer in group.layers) == sorted(
        layer.name for layer in network.layers
    )
    ready = set(network.inputs)
    for group in grouped.groups:
        assert set(group.inputs) <= ready
        ready.add(group.output)
    assert len({group.name for group in grouped.groups}) == len(grouped.groups)
    assert all(group.name.isidentifier() for group in grouped.groups)
    assert set(grouped.layouts) == ready


@settings(max_examples=40)
@given(networks())
def test_layouts_are_those_of_the_plans_on_both_sides(network):
    grouped = choose_groups(network, GAP8)
    for group in grouped.groups:
        if isinstance(group.plan, Chain):
            ends = (group.inputs[0], group.plan.layouts[0]), (group.output, group.plan.layouts[-1])
            for name, layout in ends:
                activation = grouped.activation(name)
                same = activation.height * activation.width == 1 or activation.channels == 1
                assert same or grouped.layouts[name] == layout
    assert all(grouped.layouts[name] == "hwc" for name in (*network.inputs, *network.outputs))


# --- what is promised ---------------------------------------------------------------------------------------------


def separable_blocks(resolution: int, width: float) -> Network:
    """MobileNetV1 without its first convolution and its head."""
    whole = mobilenet_v1(width, resolution)
    layers = whole.layers[1:-2]
    return replace(whole, inputs=layers[0].inputs, outputs=(layers[-1].output,), layers=layers)


@pytest.mark.parametrize(("width", "resolution"), [(1.0, 224), (0.25, 128)])
@pytest.mark.parametrize(("variant", "saved"), [("dwpw_hwc_hwc_hwc_rows", 0.401), ("pwdw_hwc_chw_hwc_channels", 0.552)])
def test_bytes_saved_where_each_activation_crosses_once(width, resolution, variant, saved):
    """The figures of Daghero et al. 2024 for MobileNetV1's separable blocks, at every width and resolution."""
    network = separable_blocks(resolution, width)
    unfused = totals(choose_groups(network, ROOMY, "traffic", variant="none"), ROOMY)[1]
    activations = network.activations
    once = sum(activations[name].bytes for layer in network.layers for name in (layer.inputs[0], layer.output))
    assert unfused == once
    fused = choose_groups(network, ROOMY, "traffic", variant=variant)
    assert block(fused)[variant] == (13 if variant.startswith("dwpw") else 12)
    assert 1 - totals(fused, ROOMY)[1] / unfused == pytest.approx(saved, abs=0.0006)


@pytest.mark.parametrize("resolution", [128, 224])
def test_mobilenet_v1_keeps_its_promises(resolution):
    network = mobilenet_v1(1.0, resolution)
    baseline, unfused, latency = (
        totals(choose_groups(network, GAP8, **options)) for options in ({"baseline": True}, {"variant": "none"}, {})
    )
    once = sum(network.activations[name].bytes for layer in network.layers for name in (layer.inputs[0], layer.output))
    traffic = totals(choose_groups(network, GAP8, "traffic"))
    assert traffic[1] <= (1 - 0.53) * once
    assert latency[0] <= unfused[0] <= baseline[0]
    assert resolution != 128 or latency[0] <= 14e6


def test_whole_bottlenecks_are_fused_between_their_sums():
    builder, x = Builder(16, 16, 16), "input"
    for _ in range(3):
        x = inverted_residual(builder, x, 16, 1, 6)
    network = builder.network(x)
    grouped = choose_groups(network, GAP8, "traffic")
    assert block(grouped) == {"pwdwpw_hwc_hwc_hwc_rows": 3, "unfused": 3}
    # A bottleneck reads and writes 16 channels, a sum reads two tensors of them and writes one.
    assert totals(grouped)[1] == 3 * (2 + 3) * 16 * 16 * 16


@pytest.mark.parametrize("objective", ["latency", "traffic"])
def test_more_l1_is_never_worse(objective):
    network = mobilenet_v1(0.25, 64)
    found = []
    for l1_bytes in (6_000, 16_000, 48_000):
        target = replace(GAP8, l1_bytes=l1_bytes)
        grouped = choose_groups(network, target, objective)
        assert max(group.plan.l1_bytes for group in grouped.groups) <= l1_bytes
        found.append(totals(grouped, target)[0 if objective == "latency" else 1])
    assert found == sorted(found, reverse=True)


# --- what may be asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_asked_for_is_the_only_one_and_everywhere_it_can_be(name):
    builder, x = Builder(12, 12, 8), "input"
    for _ in range(3):
        x = builder.conv(builder.depthwise(builder.conv(x, 32)), 8)
    grouped = choose_groups(builder.network(x), GAP8, variant=name)
    order, source, _, sink, _ = name.split("_")
    at_ends = (order.startswith("pw") and source == "chw") + (order.endswith("pw") and sink == "chw")
    assert block(grouped)[name] == 3 - at_ends  # the network itself begins and ends with HWC
    assert set(block(grouped)) <= {name, "unfused"}


def test_the_first_convolution_is_fused_with_the_depthwise_layer_after_it():
    network = mobilenet_v1(0.25, 64)
    grouped = choose_groups(network, GAP8, variant="pwdw_hwc_chw_hwc_rows")
    assert [layer.name for layer in grouped.groups[0].layers] == ["conv0", "dw1"]


def test_nothing_is_fused_when_nothing_shall_be():
    grouped = choose_groups(mobilenet_v1(0.25, 64), GAP8, variant="none")
    assert set(block(grouped)) == {"unfused"}


def test_no_double_buffers():
    grouped = choose_groups(mobilenet_v1(0.25, 64), GAP8, double_buffer=False)
    tiles = [group.plan.tile for group in grouped.groups if isinstance(group.plan, Chain)]
    assert not any(tile.double_x or tile.double_y or tile.double_w for tile in tiles)


def test_the_baseline_is_unfused_hwc_and_transposed_by_the_dma():
    grouped = choose_groups(mobilenet_v1(0.25, 64), GAP8, baseline=True)
    assert set(block(grouped)) == {"unfused"}
    assert set(grouped.layouts.values()) == {"hwc"}
    for group in grouped.groups:
        if isinstance(group.plan, Chain):
            assert group.plan.dma_transposes == ("dw" in group.layers[0].name)


def test_activations_with_several_readers_stay_hwc_and_are_not_fused_away():
    builder = Builder(8, 8, 8)
    expanded = builder.conv("input", 16)
    filtered = builder.depthwise(expanded)
    network = builder.network(builder.add(expanded, filtered))
    grouped = choose_groups(network, GAP8, "traffic")
    assert set(block(grouped)) == {"unfused"}
    assert grouped.layouts[expanded] == "hwc"


# --- bad requests -------------------------------------------------------------------------------------------------


def test_an_l1_too_small_names_layer_and_bytes():
    network = mobilenet_v1(0.25, 64)
    with pytest.raises(DwfuseError, match=r"dw\d+: its smallest tile needs \d+ bytes of L1, and gap8 has 700 for data"):
        choose_groups(network, replace(GAP8, l1_bytes=700))


def test_a_variant_that_is_legal_nowhere_names_reasons():
    builder = Builder(8, 8, 8)
    pointwise_only = builder.network(builder.conv(builder.conv("input", 16), 8))
    with pytest.raises(DwfuseError, match="no layers in the order pwdw; choose another one"):
        choose_groups(pointwise_only, GAP8, variant="pwdw_hwc_chw_hwc_rows")

    builder = Builder(8, 8, 8)
    expanded = builder.conv("input", 16)
    shared = builder.network(builder.add(expanded, builder.depthwise(expanded)))
    with pytest.raises(DwfuseError, match=r"conv0 \+ dw1: the output of conv0 is read elsewhere"):
        choose_groups(shared, GAP8, variant="pwdw_hwc_chw_hwc_rows")

    builder = Builder(8, 8, 8)
    skipping = builder.network(builder.depthwise(builder.conv("input", 16), 1, 2))
    with pytest.raises(DwfuseError, match="skips rows"):
        choose_groups(skipping, GAP8, variant="pwdw_hwc_hwc_hwc_rows")

    builder = Builder(32, 32, 64)
    wide = builder.network(builder.depthwise(builder.conv("input", 64)))
    with pytest.raises(DwfuseError, match=r"needs \d+ bytes of L1, there are 20000"):
        choose_groups(wide, replace(GAP8, l1_bytes=20_000), variant="pwdw_hwc_chw_hwc_channels")


def test_convolutions_without_a_kernel_are_refused_by_name():
    network = mobilenet_v1(0.25, 64)
    first = network.layers[0]
    for changes, words in (({"groups": 3, "out_channels": 9}, "3 groups"), ({"dilation": (2, 2)}, "dilated")):
        layer = replace(first, operator=replace(first.operator, **changes))
        with pytest.raises(DwfuseError, match=f"conv0: .*{words}|conv0: a {words}"):
            choose_groups(replace(network, layers=(layer, *network.layers[1:])), GAP8)
