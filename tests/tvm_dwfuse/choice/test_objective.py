"""Objectives as text, and what they compare."""

from __future__ import annotations

import pytest

from tvm_dwfuse.choice import METRICS, Costs, Objective
from tvm_dwfuse.errors import DwfuseError


@pytest.mark.parametrize("text", [*METRICS, "latency=1,energy=0.5", "latency=1,traffic=0.2,energy=3,memory=0.01"])
def test_text_and_back(text: str) -> None:
    assert str(Objective.parse(text)) == text


def test_a_single_weight_is_no_weight() -> None:
    assert Objective.parse(" energy = 3").single == "energy"
    assert str(Objective.parse("memory=0.1,latency=2")) == "latency=2,memory=0.1"
    assert str(Objective.parse("energy,latency")) == "latency=1,energy=1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed", "unknown objective 'speed'; known: latency, traffic, energy, memory, or weights"),
        ("", "unknown objective ''"),
        ("latency=1,", "unknown objective ''"),
        ("latency=1,latency=2", "latency is given twice"),
        ("latency=0,energy=1", "weight '0' of latency is no number above 0"),
        ("latency=x", "weight 'x'"),
        ("latency=nan", "weight 'nan'"),
        ("latency=inf", "weight 'inf'"),
        ("latency=,energy", "weight '' of latency"),
    ],
)
def test_what_is_no_objective(text: str, words: str) -> None:
    with pytest.raises(DwfuseError, match=words):
        Objective.parse(text)


def test_latency_then_traffic_decide_between_equals() -> None:
    costs = Costs(1, 2, 3, 4)
    assert [Objective.parse(name).key(costs) for name in METRICS] == [(1, 2), (2, 1), (3, 1, 2), (4, 1, 2)]


def test_weights_are_relative_to_the_best() -> None:
    weighted = Objective.parse("latency=1,memory=2")
    assert weighted.key(Costs(3, 7, 1, 10), Costs(2, 1, 1, 5)) == (3 / 2 + 2 * 10 / 5, 3, 7)
    assert weighted.key(Costs(3, 7, 1, 10), Costs(0, 0, 0, 5))[0] == 3 + 4
    with pytest.raises(ValueError, match="best"):
        weighted.key(Costs())
