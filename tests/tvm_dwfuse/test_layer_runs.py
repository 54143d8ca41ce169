"""Runs of layers, and the activations alive while some of them are computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tests.tiling.networks import Builder, inverted_residual
from tvm_dwfuse.codegen_gap8.memory_limits import Lifetimes, activation_bytes
from tvm_dwfuse.groups import Group, GroupedNetwork
from tvm_dwfuse.integer_network import Layer, Network
from tvm_dwfuse.layer_runs import LiveActivations, layer_runs
from tvm_dwfuse.tiling.elementwise import AddPlan

MOST_LAYERS = 3


def residual() -> Network:
    builder = Builder(8, 8, 8)
    x = inverted_residual(builder, "input", 8, 1, 6)
    return builder.network(builder.conv(x, 16))


def names(run: tuple[Layer, ...]) -> list[str]:
    return [layer.name for layer in run]


def test_runs_end_where_several_layers_read_and_at_sums() -> None:
    assert [names(run) for run in layer_runs(residual())] == [["conv0", "dw1", "conv2"], ["add3"], ["conv4"]]


def test_the_input_of_a_residual_lives_across_the_block() -> None:
    network = residual()
    runs = list(layer_runs(network))
    live = LiveActivations(network, runs, MOST_LAYERS)
    image, expanded = 8 * 8 * 8, 8 * 8 * 48
    block = runs[0]
    assert live.during(block, block) == 2 * image
    assert live.during(block, block[:1]) == image + expanded
    assert live.during(block, block[1:2]) == image + 2 * expanded
    assert live.during(block, block[2:]) == 2 * image + expanded
    assert live.during(runs[1], runs[1]) == 3 * image
    assert live.during(runs[2], runs[2]) == image + 2 * image


def cuts(run: tuple[Layer, ...]) -> Iterator[list[tuple[Layer, ...]]]:
    """All ways to cut a run into groups."""
    if not run:
        yield []
    for count in range(1, min(MOST_LAYERS, len(run)) + 1):
        yield from ([run[:count], *rest] for rest in cuts(run[count:]))


def counted(network: Network, groups: list[tuple[Layer, ...]]) -> list[int]:
    """Bytes alive while each group is computed, as the planner of L2 counts lifetimes."""
    some_plan = AddPlan(1, 1)
    grouped = GroupedNetwork(network, tuple(Group("g", layers, "", some_plan) for layers in groups), {})
    lifetimes, sizes = Lifetimes(grouped), activation_bytes(grouped)
    return [sum(sizes[name] for name in lifetimes.live(index)) for index in range(len(groups))]


@st.composite
def branching(draw: st.DrawFn) -> Network:
    """Two branches of layers that read the same activation, and their sum; perhaps computed in turns."""
    builder = Builder(4, 4, 8)
    stem = builder.conv("input", 8)
    branches = []
    for _ in range(2):
        x, first = stem, len(builder.layers)
        for _ in range(draw(st.integers(1, 3))):
            x = builder.conv(x, draw(st.sampled_from([8, 16]))) if draw(st.booleans()) else builder.depthwise(x)
        x = builder.conv(x, 8)
        branches.append((x, builder.layers[first:]))
    network = builder.network(builder.add(branches[0][0], branches[1][0]))
    if draw(st.booleans()):
        return network
    turns = [layer for pair in zip(branches[0][1], branches[1][1], strict=False) for layer in pair]
    rest = [layer for layer in network.layers[1:-1] if layer not in turns]
    return replace(network, layers=(network.layers[0], *turns, *rest, network.layers[-1]))


def in_turns(network: Network, runs: list[tuple[Layer, ...]]) -> bool:
    return [layer for run in runs for layer in run] != list(network.layers)


@given(branching())
def test_bytes_alive_are_those_of_the_planner_or_a_bound_where_runs_take_turns(network: Network) -> None:
    runs = list(layer_runs(network))
    live = LiveActivations(network, runs, MOST_LAYERS)
    order = {layer.name: i for i, layer in enumerate(network.layers)}
    for choice in product(*(list(cuts(run)) for run in runs)):
        groups = [(run, group) for run, groups in zip(runs, choice, strict=True) for group in groups]
        groups.sort(key=lambda each: order[each[1][-1].name])
        expected = counted(network, [group for _, group in groups])
        found = [live.during(run, group) for run, group in groups]
        assert all(a >= b for a, b in zip(found, expected, strict=True))
        assert in_turns(network, runs) or found == expected
