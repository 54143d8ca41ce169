"""The rules that look at one block at a time: what they choose, and that the exact choice is never worse."""

from __future__ import annotations

import random

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
    best_covers,
    best_values,
    block_by_block,
    fuse_everything,
    fuse_nothing,
    total,
)

from .chains import all_covers, runs

OBJECTIVES = (*METRICS, "latency=1,energy=0.5", "traffic=1,memory=2")
RULES = (block_by_block, fuse_everything, fuse_nothing)
LATENCY = Objective.parse("latency")


def names(cover: list[Option]) -> list[str]:
    return [option.name for option in cover]


@pytest.mark.parametrize("rule", RULES)
@given(run=runs(), objective=st.sampled_from(OBJECTIVES).map(Objective.parse))
def test_the_exact_choice_is_never_worse(rule, run: Run, objective: Objective) -> None:
    covers = list(all_covers(run))
    assume(covers)
    best = best_values([run])
    try:
        by_rule = rule(run, objective, best)
    except NoCover:
        assert rule is fuse_nothing
        assert all(any(option.stages > 1 for option in cover) for cover in covers)
        return
    assert by_rule in covers
    exact = objective.key(total(best_covers([run], objective)[0]), best)
    by_rule_key = objective.key(total(by_rule), best)
    assert exact <= by_rule_key or exact == pytest.approx(by_rule_key)


def random_run(seed: int) -> Run:
    """Six stages, each alone at a price of 10, all pairs and triples at 8 to 12 a stage."""
    rng = random.Random(seed)
    options = [Option(i, i + 1, "unfused", "hwc", "hwc", Costs(latency=10)) for i in range(6)]
    for first in range(6):
        for last in range(first + 2, min(first + 3, 6) + 1):
            price = sum(rng.randint(8, 12) for _ in range(last - first))
            options.append(Option(first, last, f"fused {first} {last}", "hwc", "hwc", Costs(latency=price)))
    return Run(6, tuple(options))


def test_the_exact_choice_is_strictly_better_on_many_random_chains() -> None:
    better = 0
    for seed in range(100):
        run = random_run(seed)
        exact, greedy = (
            total(cover).latency for cover in (best_covers([run], LATENCY)[0], block_by_block(run, LATENCY))
        )
        assert exact <= greedy
        better += exact < greedy
    assert better >= 10


def test_what_is_best_for_a_block_may_spoil_the_next() -> None:
    """Fusing the first pair gains 1, and keeps the second from gaining 5."""
    options = (
        *(Option(i, i + 1, "unfused", "hwc", "hwc", Costs(latency=10)) for i in range(3)),
        Option(0, 2, "first pair", "hwc", "hwc", Costs(latency=19)),
        Option(1, 3, "second pair", "hwc", "hwc", Costs(latency=15)),
    )
    run = Run(3, options)
    assert names(block_by_block(run, LATENCY)) == ["first pair", "unfused"]
    assert names(best_covers([run], LATENCY)[0]) == ["unfused", "second pair"]


def test_the_fusion_that_gains_most_is_taken_and_none_that_loses() -> None:
    options = (
        *(Option(i, i + 1, "unfused", "hwc", "hwc", Costs(latency=10)) for i in range(4)),
        Option(0, 2, "pair", "hwc", "hwc", Costs(latency=17)),
        Option(0, 2, "other pair", "hwc", "hwc", Costs(latency=16)),
        Option(0, 3, "triple", "hwc", "hwc", Costs(latency=27)),
        Option(2, 4, "losing pair", "hwc", "hwc", Costs(latency=21)),
    )
    run = Run(4, options)
    assert names(block_by_block(run, LATENCY)) == ["other pair", "unfused", "unfused"]
    assert names(fuse_everything(run, LATENCY)) == ["triple", "unfused"]
    assert names(fuse_nothing(run, LATENCY)) == ["unfused"] * 4


def test_layouts_are_not_a_rule_s_business() -> None:
    """Stages that a rule leaves alone are computed as well as can be, not each by what is cheapest for itself."""
    options = (
        Option(0, 1, "unfused", "hwc", "hwc", Costs(latency=10)),
        Option(0, 1, "unfused", "hwc", "chw", Costs(latency=9)),
        Option(1, 2, "unfused", "hwc", "hwc", Costs(latency=10)),
        Option(1, 2, "unfused", "chw", "hwc", Costs(latency=30)),
        Option(0, 2, "losing pair", "hwc", "hwc", Costs(latency=25)),
    )
    assert total(block_by_block(Run(2, options), LATENCY)).latency == 20


def test_no_rule_walks_into_a_dead_end() -> None:
    options = (
        Option(0, 1, "unfused", "hwc", "hwc", Costs(latency=10)),
        Option(0, 1, "cheap, into a layout that nobody reads", "hwc", "chw", Costs(latency=1)),
        Option(1, 2, "unfused", "hwc", "hwc", Costs(latency=10)),
    )
    for rule in RULES:
        assert names(rule(Run(2, options), LATENCY)) == ["unfused", "unfused"]
        with pytest.raises(NoCover):
            rule(Run(2, options[:2]), LATENCY)
