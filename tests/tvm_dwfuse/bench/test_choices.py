"""Ways of choosing compared: the promises hold on small networks, and a broken one is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tiling.networks import Builder, inverted_residual, mobilenet_v1
from tvm_dwfuse.bench.choices import COMPILED, RULES, Row, broken_promises, choices_text, compare
from tvm_dwfuse.choice import METRICS
from tvm_dwfuse.integer_network import Network


def bottlenecks() -> Network:
    """Inverted residuals of growing channels, between a stem and a pool."""
    builder = Builder(24, 24, 3)
    x = builder.conv("input", 8, 3, 2)
    for channels, stride in ((8, 1), (16, 2), (16, 1)):
        x = inverted_residual(builder, x, channels, stride, 4)
    return builder.network(builder.conv(builder.pool(x), 10))


@pytest.fixture(scope="module", params=[lambda: mobilenet_v1(0.25, 32), bottlenecks], ids=["mobilenet", "bottlenecks"])
def rows(request: pytest.FixtureRequest) -> list[Row]:
    return compare("net", request.param())


def test_the_choice_is_as_good_as_all_and_nothing_fused(rows: list[Row]) -> None:
    assert broken_promises(rows) == []
    assert [(row.objective, row.way) for row in rows] == [(o, way) for o in METRICS for way in (COMPILED, *RULES)]
    cost = {(row.objective, row.way): row.groups for row in rows}
    assert cost["traffic", "exact"] < cost["traffic", "fuse nothing"]
    assert all(row.fused == 0 for row in rows if row.way == "fuse nothing")


def test_block_by_block_misses_something(rows: list[Row], request: pytest.FixtureRequest) -> None:
    """Blocks between sums do not touch each other; in a long run one's fusion keeps the next one from its own."""
    cost = {(row.objective, row.way): row.groups for row in rows}
    missed = [name for name in METRICS if cost[name, "exact"] < cost[name, "block by block"]]
    assert bool(missed) == ("mobilenet" in request.node.name)


def test_broken_promises_are_found(rows: list[Row]) -> None:
    worse = [replace(row, groups=row.groups + 1e12, run=row.run + 1e12) for row in rows]
    exact = [bad if row.way == "exact" else row for row, bad in zip(rows, worse, strict=True)]
    assert len([line for line in broken_promises(exact) if "exact choice is worse" in line]) == 3 * len(METRICS)
    compiled = [bad if row.way == COMPILED else row for row, bad in zip(rows, worse, strict=True)]
    assert len(broken_promises(compiled)) == 2 * len(METRICS)


def test_the_table_has_a_line_for_each(rows: list[Row]) -> None:
    text = choices_text(rows)
    assert all(f"{row.groups:,.0f}" in text for row in rows)
    assert text.count("+0.0%") >= len(METRICS)
