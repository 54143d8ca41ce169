"""The Pareto front against enumeration, and the promise of a front that was thinned out."""

from __future__ import annotations

import random
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tvm_dwfuse.choice import Costs, NoCover, Option, Run, front, pareto, total
from tvm_dwfuse.choice.pareto_front import nondominated

from .chains import all_covers, all_network_covers, runs


def undominated(all_costs: list[Costs]) -> set[Costs]:
    return {costs for costs in all_costs if not any(other.dominates(costs) for other in all_costs)}


@given(runs(), st.none() | st.integers(0, 9))
def test_the_front_of_a_run_is_that_of_all_covers(run: Run, limit: int | None) -> None:
    found = [total(cover) for cover in all_covers(run)]
    within = [each for each in found if limit is None or each.memory <= limit]
    if not within:
        with pytest.raises(NoCover):
            pareto(run.length, run.options, run.start, run.end, limit)
        return
    points = pareto(run.length, run.options, run.start, run.end, limit)
    assert len(points) == len({costs for costs, _ in points})
    assert {costs for costs, _ in points} == undominated(within)
    covers = list(all_covers(run))
    for costs, cover in points:
        assert total(cover) == costs
        assert cover in covers


@given(st.lists(runs(most_stages=3, most_options=4), min_size=2, max_size=3))
def test_the_front_of_a_network_is_that_of_all_covers(network: list[Run]) -> None:
    found = [total(cover) for cover in all_network_covers(network)]
    assume(found)
    whole = front(network)
    assert whole.exact
    assert {costs for costs, _ in whole.points} == undominated(found)
    for costs, covers in whole.points:
        assert total([option for cover in covers for option in cover]) == costs
        assert all(cover in list(all_covers(run)) for cover, run in zip(covers, network, strict=True))


@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 30), st.just(4)), elements=st.integers(0, 4)))
def test_nondominated_rows(rows: np.ndarray) -> None:
    everything = [Costs(*row) for row in rows.tolist()]
    kept = [everything[index] for index in nondominated(rows)]
    assert len(kept) == len(set(kept))
    assert set(kept) == undominated(everything)
    assert [astuple(costs) for costs in kept] == sorted(astuple(costs) for costs in kept)


def many_ways(stages: int) -> Run:
    """Each stage trades latency for energy in steps that never add up to the same."""
    rng = random.Random(1)
    options = []
    for stage in range(stages):
        for _ in range(6):
            latency = rng.randint(1000, 9000)
            costs = Costs(latency, rng.randint(1, 5), 9e6 // latency, rng.randint(50, 60))
            options.append(Option(stage, stage + 1, "unfused", "hwc", "hwc", costs))
    return Run(stages, tuple(options))


def test_a_thinned_front_is_as_close_as_it_says() -> None:
    run = many_ways(6)
    whole = front([run], most_ways=1_000_000)
    assert whole.exact
    assert len(whole.points) > 1000
    few = front([run], most_ways=300)
    assert not few.exact
    assert 1 < few.factor < 1.6
    assert 4 <= len(few.points) <= 300
    mine = np.array([astuple(costs) for costs, _ in few.points])
    for costs, _ in whole.points:
        assert (mine <= few.factor * np.array(astuple(costs))).all(axis=1).any()
    for costs, covers in few.points:
        assert total(covers[0]) == costs
    shown = whole.thinned(20)
    assert 4 <= len(shown.points) <= 20
    assert set(shown.points[0][0:1]) <= {costs for costs, _ in whole.points}
    assert whole.thinned(len(whole.points)) == whole


def test_progress_counts_all_places() -> None:
    seen: list[tuple[int, int]] = []
    front([many_ways(2), many_ways(3)], on_place=lambda done, places: seen.append((done, places)))
    assert seen == [(1, 7), (2, 7), (3, 7), (4, 7), (5, 7), (6, 7), (7, 7)]
