"""The tasks of a network on a cluster: each shape once, and only what may become part of its best groups."""

from __future__ import annotations

import pytest

from tests.tiling.networks import Builder, mobilenet_v1
from tvm_dwfuse.choose_groups import choose_groups
from tvm_dwfuse.integer_network import Network
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Chain
from tvm_dwfuse.tuning.cluster_scope import ClusterScope
from tvm_dwfuse.tuning.cluster_task import GVSOC_UNIT, ClusterTask


@pytest.fixture(scope="module")
def network() -> Network:
    return mobilenet_v1(0.25, 64)


@pytest.fixture(scope="module")
def scope(network: Network) -> ClusterScope:
    return ClusterScope([network], GAP8)


def chosen(network: Network) -> list[tuple[Chain, str]]:
    groups = choose_groups(network, GAP8).groups
    return [(group.plan, group.variant) for group in groups if isinstance(group.plan, Chain)]


def defaults(scope: ClusterScope) -> dict[str, float]:
    return {task.key: float(task.cost(task.space.default).cycles) for task in scope.tasks}


def test_what_is_chosen_is_in_use(network: Network, scope: ClusterScope) -> None:
    keys = {task.key for task in scope.tasks}
    shares = scope.shares(defaults(scope))
    for plan, variant in chosen(network):
        key = ClusterTask.of(plan, variant, GAP8).key
        assert key in keys
        assert shares[key] >= 1


def test_the_total_is_that_of_the_chosen_groups(network: Network, scope: ClusterScope) -> None:
    cycles = sum(group.cost(GAP8).cycles for group in choose_groups(network, GAP8).groups)
    assert scope.total(defaults(scope)) == scope.total({}) == cycles
    half = {key: cost / 2 for key, cost in defaults(scope).items()}
    assert cycles / 2 < scope.total(half) < 0.52 * cycles  # the pool is no task


def test_equal_layers_are_one_task(network: Network, scope: ClusterScope) -> None:
    assert len({task.key for task in scope.tasks}) == len(scope.tasks)
    assert max(scope.shares({}).values()) >= 4  # MobileNetV1's five equal blocks


def test_what_is_far_from_the_best_is_no_task(scope: ClusterScope) -> None:
    """Such as a depthwise convolution straight from HWC, which takes twice as long as one from CHW."""
    shares = scope.shares({})
    assert 0 < len(scope.tasks) < len(shares)
    assert {task.key for task in scope.tasks} == {key for key, share in shares.items() if share > 0}


def test_a_rival_that_got_faster_is_in_use_then(scope: ClusterScope) -> None:
    before = scope.shares({})
    rival = next(task for task in scope.tasks if 0 < before[task.key] < 0.5)
    after = scope.shares({rival.key: rival.cost(rival.space.default).cycles / 2})
    assert after[rival.key] >= 1
    assert any(share < before[key] for key, share in after.items())
    assert scope.shares({rival.key: float("inf")}) == before


def test_each_of_several_networks_counts_alike() -> None:
    networks = [mobilenet_v1(0.25, 32), mobilenet_v1(0.5, 32)]
    alone, both = [ClusterScope([each], GAP8) for each in networks], ClusterScope(networks, GAP8)
    whole = [each.total({}) for each in alone]
    assert both.total({}) == sum(whole)
    for key, share in both.shares({}).items():
        parts = (each.shares({}).get(key, 0.0) / total for each, total in zip(alone, whole, strict=True))
        assert share == pytest.approx(sum(parts))


def test_what_a_simulation_has_no_room_for_is_no_task() -> None:
    builder = Builder(100, 100, 32)
    network = builder.network(builder.conv(builder.conv("input", 8), 64))
    assert {task.stages[-1].out_channels for task in ClusterScope([network], GAP8).tasks} == {8, 64}
    simulated = ClusterScope([network], GAP8, GVSOC_UNIT).tasks
    assert {task.stages[-1].out_channels for task in simulated} == {8}
    assert all(task.operand_bytes < GAP8.l2_bytes for task in simulated)
