"""The exact choice against enumeration: every objective, layouts, limits of memory, several runs."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tvm_dwfuse.choice import (
    METRICS,
    Costs,
    NoCover,
    Objective,
    Option,
    Run,
    best_cover,
    best_covers,
    best_values,
    least_peak,
    network_costs,
    total,
)

from .chains import all_covers, all_network_covers, costs, runs

OBJECTIVES = (*METRICS, "latency=1,traffic=0.5", "latency=2,energy=1", "energy=1,memory=3", "latency=1,memory=1")

objectives = st.sampled_from(OBJECTIVES).map(Objective.parse)


def ideal(all_costs: list[Costs]) -> Costs:
    return Costs(*(min(getattr(each, name) for each in all_costs) for name in METRICS))


@given(runs(), objectives)
def test_nothing_is_better_than_what_is_chosen(run: Run, objective: Objective) -> None:
    found = [total(cover) for cover in all_covers(run)]
    assume(found)
    best = ideal(found)
    chosen = best_cover(run.length, run.options, objective, run.start, run.end)
    assert objective.key(total(chosen), best) == pytest.approx(min(objective.key(each, best) for each in found))


@given(runs(), objectives, st.integers(0, 9))
def test_within_a_limit_of_memory(run: Run, objective: Objective, limit: int) -> None:
    found = [total(cover) for cover in all_covers(run)]
    within = [each for each in found if each.memory <= limit]
    if not within:
        with pytest.raises(
            NoCover, match=f"at least {min(c.memory for c in found)} bytes" if found else "nothing leads"
        ):
            best_cover(run.length, run.options, objective, run.start, run.end, limit)
        return
    best = ideal(within)
    chosen = total(best_cover(run.length, run.options, objective, run.start, run.end, limit))
    assert chosen.memory <= limit
    assert objective.key(chosen, best) == pytest.approx(min(objective.key(each, best) for each in within))


@given(st.lists(runs(most_stages=3, most_options=4), min_size=2, max_size=3), objectives)
def test_several_runs_share_their_peak(network: list[Run], objective: Objective) -> None:
    found = [total(cover) for cover in all_network_covers(network)]
    assume(found)
    best = ideal(found)
    chosen = network_costs(best_covers(network, objective))
    assert objective.key(chosen, best) == pytest.approx(min(objective.key(each, best) for each in found))
    assert best_values(network) == best
    assert least_peak(network) == best.memory


@given(runs(), objectives)
def test_covers_are_chains_of_stages_and_layouts(run: Run, objective: Objective) -> None:
    try:
        chosen = best_cover(run.length, run.options, objective, run.start, run.end)
    except NoCover:
        assert not list(all_covers(run))
        return
    place = (0, run.start)
    for option in chosen:
        assert (option.first, option.source) == place
        place = option.last, option.sink
    assert place == (run.length, run.end)


@given(runs(), st.data())
def test_what_was_asked_for_comes_before_all_costs(run: Run, data: st.DataObject) -> None:
    wanted = {
        id(option): Option(
            option.first,
            option.last,
            option.name,
            option.source,
            option.sink,
            option.costs,
            rank=-data.draw(st.integers(0, 1)),
        )
        for option in run.options
        if option.stages
    }
    options = tuple(wanted.get(id(option), option) for option in run.options)
    asked = Run(run.length, options, run.start, run.end)
    found = list(all_covers(asked))
    assume(found)
    for objective in map(Objective.parse, OBJECTIVES):
        fewest = min(sum(option.rank for option in cover) for cover in found)
        of_rank = [total(cover) for cover in found if sum(option.rank for option in cover) == fewest]
        chosen = best_covers([asked], objective)[0]
        assert sum(option.rank for option in chosen) == fewest
        best = best_values([asked])
        assert objective.key(total(chosen), best) == pytest.approx(min(objective.key(c, best) for c in of_rank))


def test_the_smaller_start_wins_where_the_rest_decides_the_peak() -> None:
    """Where adding up keys would fail: the first stage's own peak is worse, that of the whole is not."""
    options = [
        Option(0, 1, "slow and small", "hwc", "hwc", Costs(latency=9, memory=1)),
        Option(0, 1, "fast and large", "hwc", "hwc", Costs(latency=1, memory=5)),
        Option(1, 2, "unfused", "hwc", "hwc", Costs(latency=1, memory=7)),
    ]
    chosen = best_cover(2, options, Objective.parse("memory"))
    assert [option.name for option in chosen] == ["fast and large", "unfused"]


def test_a_change_of_layout_is_paid_for() -> None:
    options = [
        Option(0, 1, "a", "hwc", "chw", Costs(latency=1)),
        Option(1, 2, "b", "hwc", "hwc", Costs(latency=1)),
        Option(0, 2, "ab", "hwc", "hwc", Costs(latency=5)),
        Option(1, 1, "transpose", "chw", "hwc", Costs(latency=2)),
    ]
    latency = Objective.parse("latency")
    assert [option.name for option in best_cover(2, options, latency)] == ["a", "transpose", "b"]
    assert [option.name for option in best_cover(2, options[:3], latency)] == ["ab"]


@given(costs, costs, costs)
def test_costs_add_up_but_memory_is_the_peak(a: Costs, b: Costs, c: Costs) -> None:
    assert (a + b) + c == a + (b + c)
    assert (a + b).memory == max(a.memory, b.memory)
    assert (a + b).latency == a.latency + b.latency
    if a.dominates(b):
        assert not b.dominates(a)
        assert not (b + c).dominates(a + c)


def test_what_no_run_can_have() -> None:
    with pytest.raises(ValueError, match="of a run of 1"):
        Run(1, (Option(0, 2, "x", "hwc", "hwc", Costs()),))
    with pytest.raises(ValueError, match="below 0"):
        Run(1, (Option(0, 1, "x", "hwc", "hwc", Costs(latency=-1)),))
    with pytest.raises(ValueError, match="no rank"):
        Run(1, (Option(0, 0, "x", "hwc", "chw", Costs(), rank=-1),))
    with pytest.raises(NoCover, match="run 1: nothing leads from stage 0 in hwc"):
        best_covers([Run(0, ()), Run(1, ())], Objective.parse("latency"))
