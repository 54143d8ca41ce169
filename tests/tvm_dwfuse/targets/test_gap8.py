"""The energy model of clusters."""

from __future__ import annotations

import pytest

from tvm_dwfuse.targets import CLUSTER_TARGETS
from tvm_dwfuse.targets.gap8 import GAP8


def test_the_power_is_that_of_the_datasheet() -> None:
    assert GAP8.energy(cycles=90e6, l1_l2_bytes=0) == pytest.approx(75e-3 * 1e12, rel=0.001)


def test_a_byte_costs_more_the_farther_it_goes() -> None:
    assert GAP8.energy(0, 8) == 120
    assert GAP8.energy(0, 0, 8) > 10 * GAP8.energy(0, 8)
    assert GAP8.energy(1000, 8, 8) == pytest.approx(sum(map(GAP8.energy, (1000, 0, 0), (0, 8, 0), (0, 0, 8))), abs=2)


@pytest.mark.parametrize("name", CLUSTER_TARGETS)
def test_every_cluster_has_an_energy_model(name: str) -> None:
    target = CLUSTER_TARGETS[name]
    assert min(target.cycle_energy, target.l1_l2_energy, target.l2_l3_energy) > 0
