"""The memory planner: plans are played byte for byte, and what does not fit is refused with the facts."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from tests.codegen_gap8.geometry import Builder, depthwise, mobilenet_v1, mobilenet_v2, pointwise, stem
from tests.codegen_gap8.play import Player
from tvm_dwfuse.codegen_gap8.memory import estimate, plan_memory, rough_cycles
from tvm_dwfuse.codegen_gap8.memory_calls import bands, first_bytes, pieces
from tvm_dwfuse.codegen_gap8.memory_limits import Lifetimes, resized
from tvm_dwfuse.codegen_gap8.memory_plan import L3Transfer, MemoryPlan, Region, Traffic
from tvm_dwfuse.codegen_gap8.memory_regions import STRATEGIES, check_regions, gaps, place
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.groups import GroupedNetwork
from tvm_dwfuse.targets.gap8 import GAP8, ClusterTarget

#: Random networks.
SEEDS = 30


def small(l2_bytes: int, l3_bytes: int = 1 << 20) -> ClusterTarget:
    """GAP8 with so much L2 for data, whatever the code takes."""
    return replace(GAP8.without_code(0, 0), l2_bytes=l2_bytes, l3_bytes=l3_bytes)


def check_plan(grouped: GroupedNetwork, plan: MemoryPlan, target: ClusterTarget) -> None:
    """Regions are disjoint and fit, all is computed once, and every byte is where it should be, however late."""
    check_regions(plan.regions, target.l2_bytes - (plan.constant_bytes if plan.mode == "resident" else 0))
    spilled = [replace(region, address=region.address - plan.weights_bytes) for region in plan.spilled]
    check_regions(spilled, target.l3_bytes - plan.weights_bytes)
    assert list(dict.fromkeys(call.group for call in plan.invocations)) == [group.name for group in grouped.groups]
    for late in (False, True):
        Player(grouped, plan, late).run()


def random_network(seed: int) -> GroupedNetwork:
    """Some ten layers with residual sums, fused chains and CHW activations."""
    rng = np.random.default_rng(seed)
    net = Builder(int(rng.integers(9, 24)), int(rng.integers(9, 24)), int(rng.integers(1, 5)))
    now = int(rng.integers(4, 20))
    net.conv(stem(now, net.activations["input"].channels), rows=int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(3, 9))):
        knobs = {"rows": int(rng.integers(1, 4)), "channels": int(rng.integers(3, 9))}
        x, out = net.last, int(rng.integers(4, 24))
        choice = rng.integers(0, 6)
        if choice == 0:
            net.conv(pointwise(now, out), layout=str(rng.choice(["hwc", "chw"])), **knobs)
        elif choice == 1:
            net.conv(depthwise(now, int(rng.integers(1, 3)), int(rng.choice([3, 5]))), **knobs)
            out = now
        elif choice == 2:
            net.conv(depthwise(now), pointwise(now, out), **knobs)
        elif choice == 3:
            net.conv(pointwise(now, out), depthwise(out), **knobs)
        else:
            net.conv(pointwise(now, out), **knobs)
            net.conv(depthwise(out), pointwise(out, now), layout=net.layouts[x], **knobs)
            net.add(x, net.last, chunk=int(rng.integers(5, 200)))
            out = now
        now = out
    net.pool(tile=int(rng.integers(3, 9)))
    net.conv(pointwise(now, int(rng.integers(3, 30))), channels=4)
    return net.done(f"random{seed}")


@cache
def random_plans(seed: int) -> tuple[GroupedNetwork, dict[int, MemoryPlan | str]]:
    """A random network, and its plan, or why there is none, for several sizes of L2."""
    grouped = random_network(seed)
    whole = sum(a.bytes for a in grouped.network.activations.values())
    plans: dict[int, MemoryPlan | str] = {}
    for l2_bytes in (1 << 20, whole, whole // 2, whole // 4, whole // 8):
        try:
            plans[l2_bytes] = plan_memory(grouped, small(l2_bytes))
        except DwfuseError as error:
            plans[l2_bytes] = str(error)
    return grouped, plans


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_networks_find_every_byte_in_every_l2(seed: int) -> None:
    grouped, plans = random_plans(seed)
    for l2_bytes, plan in plans.items():
        if isinstance(plan, MemoryPlan):
            check_plan(grouped, plan, small(l2_bytes))
        else:
            assert re.search(rf"layer \S+.*: needs \d+ bytes of L2 .* has {l2_bytes} for data; ", plan)
    first = plans[1 << 20]
    assert isinstance(first, MemoryPlan)
    assert (first.mode, first.spilled) == ("resident", ())


def test_random_networks_cover_bands_pieces_and_spilled_activations() -> None:
    seen = {"bands": 0, "pieces": 0, "spilled": 0, "sum in bands": 0}
    for seed in range(SEEDS):
        grouped, plans = random_plans(seed)
        for plan in plans.values():
            if isinstance(plan, MemoryPlan):
                seen["spilled"] += bool(plan.spilled)
                seen["bands"] += any(call.output.row0 for call in plan.invocations)
                seen["pieces"] += any(call.blocks[0] for call in plan.invocations)
                seen["sum in bands"] += any(len(plan.calls(g.name)) > 1 for g in grouped.groups if g.name[:3] == "add")
    assert min(seen.values()) >= 3, seen


@cache
def planned(name: str) -> tuple[GroupedNetwork, MemoryPlan]:
    grouped = {
        "v1_128": lambda: mobilenet_v1(128),
        "v1_224": lambda: mobilenet_v1(224),
        "v1_224_pwdw": lambda: mobilenet_v1(224, fused="pwdw"),
        "v1_0.25_128": lambda: mobilenet_v1(128, 0.25),
        "v2_128": lambda: mobilenet_v2(128),
    }[name]()
    return grouped, plan_memory(grouped, GAP8)


@pytest.mark.parametrize("name", ["v1_128", "v1_224", "v1_224_pwdw", "v1_0.25_128", "v2_128"])
def test_mobilenets_find_every_byte(name: str) -> None:
    check_plan(*planned(name), GAP8)


def test_mobilenet_v1_224_unfused_keeps_its_largest_activations_in_l3() -> None:
    grouped, plan = planned("v1_224")
    largest = [name for name, a in grouped.network.activations.items() if a.bytes > GAP8.l2_bytes]
    assert largest
    assert set(largest) <= {region.name for region in plan.spilled}


def test_weights_of_mobilenet_v1_128_stream_mostly_behind_the_computation() -> None:
    grouped, plan = planned("v1_128")
    cycles = {group.name: rough_cycles(group) for group in grouped.groups}
    timeline = estimate(plan, cycles, GAP8)
    from_l3 = plan.l3_in / GAP8.l3_bytes_per_cycle
    assert plan.l3_in == plan.weights_bytes > 4_000_000
    assert sum(timeline.stalls.values()) < 0.2 * from_l3
    # The last three layers hold 2.6 MB, far more than L2, and compute for less time than that takes.
    assert {name for name, stall in timeline.stalls.items() if stall > 10_000} <= {"pw24", "pw26", "pw28"}
    assert timeline.total == pytest.approx(sum(timeline.cycles.values()), abs=100)


def test_the_timeline_of_three_layers_is_what_one_computes_by_hand() -> None:
    net = Builder(8, 8, 16)
    for _ in range(3):
        net.conv(pointwise(16, 16), channels=16, rows=8)
    grouped, size = net.done(), 16 * (16 + 8)
    target = replace(small(2 * 1024 + 2 * size), l3_bytes_per_cycle=1.0, l3_latency=100)
    cycles = {group.name: 1000 for group in grouped.groups}
    plan = plan_memory(grouped, target, cycles)
    assert (plan.mode, plan.l3_in, len(plan.invocations)) == ("streamed", 3 * size, 3)
    # The first layer waits for its constants; those of the others come while it computes.
    call = target.fork + 400
    assert estimate(plan, cycles, target).total == size + 100 + 3 * (1000 + call)
    # If it takes no time, then the second one waits for the rest of the time that its own take.
    quick = estimate(plan, {**cycles, "pw0": 0}, target)
    assert quick.stalls == {"pw0": size + 100, "pw1": size + 100 - call, "pw2": 0}


def test_traffic_of_whole_calls_is_that_of_the_plans() -> None:
    grouped, plan = planned("v1_0.25_128")
    for group in grouped.groups:
        if len(plan.calls(group.name)) == 1:
            assert plan.traffic[group.name].activation == group.plan.activation_bytes()
    assert plan.total_traffic == sum(plan.traffic.values(), Traffic())


def test_pieces_fetch_the_resident_input_once_more_each() -> None:
    net = Builder(4, 4, 64)
    net.conv(pointwise(64, 64), rows=4, channels=16)
    grouped = net.done()
    whole, cut = (plan_memory(grouped, small(l2)) for l2 in (1 << 16, 5000))
    calls = len(cut.invocations)
    assert calls > 1
    assert cut.traffic["pw0"].activation_in == calls * whole.traffic["pw0"].activation_in == calls * 1024
    assert cut.traffic["pw0"].constant_in == whole.traffic["pw0"].constant_in == 64 * (64 + 8)


def test_the_objective_traffic_moves_no_more_than_latency() -> None:
    grouped = mobilenet_v1(96, 0.5)
    target = small(120_000, 8 << 20)
    fast, small_traffic = (plan_memory(grouped, target, objective=o) for o in ("latency", "traffic"))
    assert small_traffic.total_traffic.activation <= fast.total_traffic.activation
    check_plan(grouped, small_traffic, target)


def test_bands_overlap_by_the_halo_and_tile_the_output() -> None:
    net = Builder(16, 8, 4)
    net.conv(depthwise(4), rows=2)
    group = net.done().groups[0]
    made = bands(group, 4)
    assert [(band.begin, band.end) for band in made] == [(0, 4), (4, 8), (8, 12), (12, 16)]
    rows = [(band.inputs[0].lo // 32, band.inputs[0].hi // 32) for band in made]
    assert rows == [(0, 5), (3, 9), (7, 13), (11, 16)]
    assert all(before.output.hi == after.output.lo for before, after in pairwise(made))


def test_pieces_hold_all_channels_once() -> None:
    net = Builder(8, 8, 12)
    net.conv(pointwise(12, 50), depthwise(50), channels=8)
    group = net.done().groups[0]
    made = pieces(group, 700, 4096)
    assert len(made) > 1
    assert max(piece.bytes for piece in made) <= 700
    assert [made[0].begin, made[-1].end] == [0, 7]
    assert all(a.offset + a.bytes == b.offset and a.end == b.begin for a, b in pairwise(made))
    for array in range(4):
        assert [made[0].arrays[array].lo, made[-1].arrays[array].hi] == [0, 50]
        assert all(a.arrays[array].hi == b.arrays[array].lo for a, b in pairwise(made))
    assert first_bytes(group) > 0


def test_lifetimes_reach_to_the_last_user() -> None:
    net = Builder(8, 8, 4)
    x = net.conv(pointwise(4, 4))
    net.conv(depthwise(4))
    net.add(x, net.conv(pointwise(4, 4)))
    grouped = net.done()
    assert Lifetimes(grouped).spans == {
        "input": (0, 0), "pw0_out": (0, 3), "dw1_out": (1, 2), "pw2_out": (2, 3), "add3_out": (3, 3),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "call_code"), [("v1_128", 150), ("v1_224", 150), ("v1_128", 1000), ("v1_224", 600)])
def test_code_and_data_fit_l2_together(name: str, call_code: int) -> None:
    grouped, plan = planned(name)
    target = replace(GAP8, call_code_bytes=call_code)
    if call_code != GAP8.call_code_bytes:
        plan = plan_memory(grouped, target)
        check_plan(grouped, plan, target)
    room = target.without_code(len(grouped.groups), len(plan.invocations)).l2_bytes
    assert 0.8 * room < plan.l2_bytes <= room < GAP8.l2_bytes - 30_000


def test_too_many_calls_for_l2_are_refused() -> None:
    net = Builder(32, 32, 8)
    for _ in range(3):
        net.conv(pointwise(8, 8), rows=1)
    grouped = net.done()
    tight = small(14_000)
    calls = len(plan_memory(grouped, tight).invocations)
    assert calls > 3
    with pytest.raises(DwfuseError, match=r"needs .* bytes of L2 .* for data|the code of its calls leaves too little"):
        plan_memory(grouped, replace(tight, call_code_bytes=14_000 // calls))


# --- Refusals. --------------------------------------------------------------------------------------------------------


def test_weights_that_cannot_be_cut_are_refused_with_the_numbers() -> None:
    net = Builder(4, 4, 64)
    net.conv(depthwise(64), pointwise(64, 200))
    with pytest.raises(DwfuseError) as error:
        plan_memory(net.done(), small(10_000))
    weights = 64 * (3 * 4 + 8) + 200 * (64 + 8)
    message = str(error.value)
    assert (
        f"layer dw_pw0/0 + dw_pw0/1: needs {weights + 1024 + 3200} bytes of L2 ({weights} of them weights)" in message
    )
    assert "gap8 has 10000 for data; no smaller input would fit" in message


def test_the_largest_input_that_fits_is_told_and_fits() -> None:
    def network(size: int) -> GroupedNetwork:
        net = Builder(size, size, 3)
        net.conv(stem(16), layout="chw")
        net.conv(depthwise(16), layout="chw")
        net.pool()
        return net.done()

    target = small(40_000)
    with pytest.raises(DwfuseError, match="about") as error:
        plan_memory(network(200), target)
    found = re.search(r"about (\d+)x(\d+)", str(error.value))
    assert found
    assert found[1] == found[2]
    size = int(found[1])
    plan_memory(network(size), target)
    with pytest.raises(DwfuseError):
        plan_memory(network(size + 8), target)


def test_a_network_for_another_size_is_the_one_built_for_it() -> None:
    grouped, other = resized(mobilenet_v1(224), 96, 96), mobilenet_v1(96)
    assert grouped is not None
    assert grouped.network.activations == other.network.activations
    assert [group.plan for group in grouped.groups] == [group.plan for group in other.groups]


def test_a_dense_layer_on_an_image_has_no_other_size() -> None:
    net = Builder(8, 8, 4)
    net.conv(pointwise(4, 4))
    net.conv(pointwise(256, 10))
    assert resized(net.done(), 4, 4) is None


def test_too_little_l3_is_refused() -> None:
    net = Builder(8, 8, 16)
    for _ in range(6):
        net.conv(pointwise(16, 16))
    with pytest.raises(DwfuseError, match=r"layer pw\d/0: .* need up to 2304 bytes of L3, gap8 has 2000"):
        plan_memory(net.done(), small(3000, 2000))
    with pytest.raises(DwfuseError, match="gap8 has no L3"):
        plan_memory(net.done(), small(3000, 0))


def test_the_check_finds_overlaps() -> None:
    a = Region("a", "activation", 16, 0, 3, 0)
    check_regions([a, replace(a, name="b", address=16), replace(a, name="c", first=4, last=5)], 32)
    for wrong in (replace(a, name="b", address=8), replace(a, name="b", address=24), a):
        with pytest.raises(DwfuseError, match="memory plan"):
            check_regions([a, wrong], 32)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_placements_are_disjoint(strategy: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        firsts = rng.integers(0, 20, 25)
        regions = [
            Region(f"r{i}", "activation", int(rng.integers(1, 9)) * 8, int(t), int(t + rng.integers(0, 6)))
            for i, t in enumerate(firsts)
        ]
        placed = place(regions, 1000, strategy)
        assert placed is not None
        assert [replace(region, address=0) for region in placed] == regions
        check_regions(placed, 1000)
    assert place([Region("r", "activation", 16, 0, 0)], 8, strategy) is None


def test_gaps_are_those_between_what_is_in_use() -> None:
    new = Region("new", "constants", 16, 2, 3)
    # The memory ends in mid-word.
    others = [Region("a", "activation", 16, 0, 2, 16), Region("b", "activation", 16, 4, 5, 48)]
    assert gaps(new, others, 100) == [(0, 16), (32, 96)]


def test_slots_are_never_shared() -> None:
    for name in ("v1_128", "v1_224"):
        _, plan = planned(name)
        under_way: set[int] = set()
        for step in plan.steps:
            if isinstance(step, L3Transfer):
                assert step.slot not in under_way
                under_way.add(step.slot)
            else:
                under_way.remove(step.slot)
        assert not under_way
