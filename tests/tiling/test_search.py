"""The search: its plans fit, and none of all tiles that fit is better by more than the list of tiles allows."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest

from tests.tiling.geometry import ROOMY, dense, depthwise, pointwise
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Chain, Tile, is_depthwise
from tvm_dwfuse.tiling.cost import cost
from tvm_dwfuse.tiling.elementwise import AddPlan
from tvm_dwfuse.tiling.search import best_add, best_chain, best_pool, chain_front, objective_key, smallest_l1

SMALL = {
    "pw": ((pointwise(16, 24),), ("hwc", "hwc")),
    "dw": ((depthwise(24),), ("chw", "hwc")),
    "conv": ((dense(3, 16, 2),), ("hwc", "chw")),
    "pwdw": ((pointwise(8, 16), depthwise(16)), ("hwc", "chw", "hwc")),
    "dwpw": ((depthwise(8, 2), pointwise(8, 16)), ("hwc", "hwc", "hwc")),
    "pwdwpw": ((pointwise(4, 16), depthwise(16), pointwise(16, 8)), ("hwc",) * 4),
}


def all_plans(stages, size, layouts, target) -> list[Chain]:
    """Every plan with channels and weights in multiples of four that fits L1."""
    out_rows = Chain(stages, size, size, layouts, Tile(1, stages[-1].out_channels, (4,) * len(stages))).out_rows
    blocks = range(4, stages[-1].out_channels + 1, 4) if all(map(is_depthwise, stages[1:])) else ()
    shapes = [(block, (block,) * len(stages)) for block in blocks]
    weights = [[stage.out_channels] if is_depthwise(stage) else range(4, stage.out_channels + 1, 4) for stage in stages]
    shapes += [(stages[-1].out_channels, choice) for choice in product(*weights)]
    plans = []
    for rows, (channels, tiles), doubles in product(range(1, out_rows + 1), shapes, product([False, True], repeat=3)):
        plan = Chain(stages, size, size, layouts, Tile(rows, channels, tiles, *doubles))
        if plan.l1_bytes <= target.l1_bytes:
            plans.append(plan)
    return plans


@pytest.mark.parametrize("objective", ["latency", "traffic", "energy"])
@pytest.mark.parametrize("name", SMALL)
def test_no_tile_is_notably_better(name, objective):
    stages, layouts = SMALL[name]
    target = replace(GAP8, l1_bytes=2 * smallest_l1(stages, 10, 10, layouts, GAP8))
    found = cost(best_chain(stages, 10, 10, layouts, target, objective), target)
    best = min(objective_key(cost(plan, target), objective) for plan in all_plans(stages, 10, layouts, target))
    assert objective_key(found, objective)[0] <= 1.02 * best[0]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("l1_bytes", [2_000, 6_000, 20_000, GAP8.l1_bytes])
def test_plans_fit_l1(name, l1_bytes):
    stages, layouts = SMALL[name]
    target = replace(GAP8, l1_bytes=l1_bytes)
    plan = best_chain(stages, 16, 16, layouts, target)
    need = smallest_l1(stages, 16, 16, layouts, target)
    assert (plan is None) == (need > l1_bytes)
    assert plan is None or plan.l1_bytes <= l1_bytes


def test_the_smallest_need_is_enough_and_a_byte_less_is_not():
    stages, layouts = SMALL["pwdw"]
    need = smallest_l1(stages, 16, 16, layouts, GAP8)
    assert best_chain(stages, 16, 16, layouts, replace(GAP8, l1_bytes=need)).l1_bytes == need
    assert best_chain(stages, 16, 16, layouts, replace(GAP8, l1_bytes=need - 1)) is None


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("most_rows", [None, 3])
def test_the_front_of_a_chain_has_the_best_of_each(name, most_rows):
    stages, layouts = SMALL[name]
    target = replace(GAP8, l1_bytes=2 * smallest_l1(stages, 10, 10, layouts, GAP8))
    front = [cost(plan, target) for plan in chain_front(stages, 10, 10, layouts, target, most_rows=most_rows)]
    for objective in ("latency", "traffic", "energy"):
        best = cost(best_chain(stages, 10, 10, layouts, target, objective, most_rows=most_rows), target)
        assert min(objective_key(each, objective) for each in front) == objective_key(best, objective)
    metrics = [(each.cycles, each.activation_bytes, each.energy) for each in front]
    for a, b in permutations(metrics, 2):
        assert any(x < y for x, y in zip(a, b, strict=True))


def test_no_front_where_nothing_fits():
    stages, layouts = SMALL["pw"]
    assert chain_front(stages, 10, 10, layouts, replace(GAP8, l1_bytes=100)) == ()


def test_transfers_stay_within_what_the_dma_moves_at_once():
    target = replace(GAP8, l1_bytes=1 << 20)
    plan = best_chain((pointwise(256, 256),), 64, 64, ("hwc", "hwc"), target)
    assert max(t.bytes for where in plan.iterations() for t in plan.transfers(*where)) <= target.dma_max_bytes


def test_traversals():
    stages, layouts = SMALL["pwdw"]
    by_rows = best_chain(stages, 16, 16, layouts, GAP8, traversal="rows")
    by_channels = best_chain(stages, 16, 16, layouts, GAP8, traversal="channels")
    assert by_rows.blocks == 1
    assert by_channels.steps == 1


def test_without_double_buffers():
    tile = best_chain((pointwise(64, 64),), 64, 64, ("hwc", "hwc"), GAP8, double_buffer=False).tile
    assert (tile.double_x, tile.double_y, tile.double_w) == (False, False, False)


def test_with_room_for_everything_each_tensor_moves_once():
    stages, layouts = SMALL["pwdwpw"]
    plan = best_chain(stages, 16, 16, layouts, ROOMY, "traffic")
    assert plan.activation_bytes() == 16 * 16 * (4 + 8)


def test_sums_and_pools():
    tight = replace(GAP8, l1_bytes=1000)
    assert best_add(100_000, tight, "latency").l1_bytes <= 1000
    assert best_add(100_000, replace(GAP8, l1_bytes=8), "latency") is None
    assert best_pool(4, 4, 256, "hwc", tight, "latency").l1_bytes <= 1000
    assert best_pool(7, 7, 256, "chw", replace(GAP8, l1_bytes=100), "latency") is None
    assert not best_add(100_000, tight, "latency", double_buffer=False).double
    assert isinstance(best_add(3, GAP8, "traffic"), AddPlan)
