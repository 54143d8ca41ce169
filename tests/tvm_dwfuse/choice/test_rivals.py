"""Alternatives and runners-up, against enumeration."""

from __future__ import annotations

from collections.abc import Sequence

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
    alternatives,
    best_covers,
    best_values,
    difference,
    runner_up,
    total,
)

from .chains import all_covers, runs

OBJECTIVES = (*METRICS, "latency=1,energy=0.5", "traffic=1,memory=2")
objectives = st.sampled_from(OBJECTIVES).map(Objective.parse)


def chosen_in(run: Run, objective: Objective) -> list[Option]:
    try:
        return best_covers([run], objective)[0]
    except NoCover:
        return []


def stages_of(options: Sequence[Option]) -> list[int]:
    return [stage for option in options for stage in range(option.first, option.last)]


@given(runs(), objectives)
def test_the_runner_up_is_the_best_cover_without_the_choice(run: Run, objective: Objective) -> None:
    cover = chosen_in(run, objective)
    assume(cover)
    best = best_values([run])
    for chosen in (option for option in cover if option.stages):
        others = [
            total(other)
            for other in all_covers(run)
            if not any((o.first, o.last, o.name) == (chosen.first, chosen.last, chosen.name) for o in other)
        ]
        other = runner_up(run, chosen, objective, best)
        if other is None:
            assert not others
            continue
        found = difference(cover, other)
        assert chosen in found.chosen
        assert sorted(stages_of(found.options)) == sorted(stages_of(found.chosen))
        kept = [option for option in cover if option not in found.chosen]
        keys = [objective.key(each, best) for each in others]
        assert objective.key(total([*kept, *found.options]), best) == pytest.approx(min(keys))


@given(runs(), objectives)
def test_alternatives_compute_the_same_stages_between_the_same_layouts(run: Run, objective: Objective) -> None:
    cover = chosen_in(run, objective)
    assume(cover)
    best = best_values([run])
    for chosen in (option for option in cover if option.stages):
        ways = alternatives(run, chosen, objective, best)
        assert next(way for way in ways if way.name == chosen.name).options == (chosen,)
        keys = {way.name: objective.key(way.costs, best) for way in ways}
        assert list(keys.values()) == sorted(keys.values())
        ends = (chosen.first, chosen.source), (chosen.last, chosen.sink)
        expected: dict[str, list[Costs]] = {}
        for other in all_covers(run, *ends):
            if len(other) == 1 and other != [chosen]:
                expected.setdefault(other[0].name, []).append(total(other))
            elif chosen.stages > 1 and all(option.stages <= 1 for option in other):
                expected.setdefault("unfused", []).append(total(other))
        del keys[chosen.name]
        expected.pop(chosen.name, None)
        assert keys.keys() == expected.keys()
        for name, key in keys.items():
            assert key == pytest.approx(min(objective.key(costs, best) for costs in expected[name]))


def test_unfused_is_always_among_them() -> None:
    options = (
        *(Option(i, i + 1, "unfused", "hwc", "hwc", Costs(latency=10, traffic=2)) for i in range(2)),
        *(Option(i, i + 1, "unfused", a, b, Costs(latency=9)) for i, a, b in ((0, "hwc", "chw"), (1, "chw", "hwc"))),
        Option(0, 2, "x", "hwc", "hwc", Costs(latency=12)),
        Option(0, 2, "y", "hwc", "hwc", Costs(latency=13)),
        Option(0, 2, "z", "hwc", "chw", Costs(latency=1)),
    )
    run, latency = Run(2, options), Objective.parse("latency")
    (chosen,) = best_covers([run], latency)[0]
    ways = [(way.name, way.costs.latency) for way in alternatives(run, chosen, latency)]
    assert ways == [("x", 12), ("y", 13), ("unfused", 18)]
    second = runner_up(run, chosen, latency)
    assert second is not None
    assert [option.name for option in second] == ["y"]
    assert runner_up(Run(2, options[:2]), options[0], latency) is None
