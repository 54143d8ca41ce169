"""Charts say what the data says, and all of it finds room: what matplotlib cannot lay out it warns of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.tvm_dwfuse.report_page.builds import choice, cluster_manifest, cpu_manifest
from tvm_dwfuse.report_page.model import CYCLES, MICROSECONDS, Build, Curve, Trial
from tvm_dwfuse.report_page.of_cluster import cluster_build
from tvm_dwfuse.report_page.of_cpu import cpu_build

pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")

from matplotlib.axes import Axes

from tvm_dwfuse.report_page.bars import cost_charts, occupancy_charts, traffic_charts
from tvm_dwfuse.report_page.chart import Chart, pages
from tvm_dwfuse.report_page.curve_charts import curve_charts
from tvm_dwfuse.report_page.overview import overview_charts
from tvm_dwfuse.report_page.picture import picture_charts

DRAWERS = (overview_charts, picture_charts, cost_charts, traffic_charts, occupancy_charts)
CURVES = (
    Curve("a kernel with a name that is longer than its chart is wide", CYCLES, (Trial(9e6), Trial(None), Trial(7e6))),
    Curve("one_trial", MICROSECONDS, (Trial(2e-5),)),
    Curve("all_failed", CYCLES, (Trial(None), Trial(None))),
    Curve("an_outlier", CYCLES, (Trial(10.0), Trial(1e6), Trial(8.0))),
)


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module", params=["cluster", "cpu"])
def build(request: pytest.FixtureRequest) -> Build:
    return cluster_build(cluster_manifest()) if request.param == "cluster" else cpu_build(cpu_manifest(choice()))


def bars(axes: Axes) -> list[float]:
    """Their widths."""
    return sorted(round(patch.get_width(), 6) for patch in axes.patches)


def texts(chart: Chart) -> list[str]:
    return [text.get_text() for axes in chart.figure.axes for text in axes.texts]


def test_bars_of_costs(build: Build) -> None:
    (chart,) = cost_charts(build)
    factor = build.unit.factor
    costs = [block.cost * factor for block in build.blocks]
    costs += [(block.cost + block.unfused.extra) * factor for block in build.blocks if block.unfused]
    (axes,) = chart.figure.axes
    assert bars(axes) == sorted(round(cost, 6) for cost in costs)
    assert all(build.unit.text(block.cost) in texts(chart) for block in build.blocks)
    marked = [float(line.get_xdata()[0]) for line in axes.lines]
    extras = [(block.cost + block.runner_up.extra) * factor for block in build.blocks if block.runner_up]
    assert marked == pytest.approx(extras)
    assert max(*costs, *marked) < axes.get_xlim()[1]


def test_bars_of_bytes(build: Build) -> None:
    for charts, amounts in (
        (traffic_charts(build), [size for block in build.blocks for size in block.moved.values()]),
        (occupancy_charts(build), [block.bytes_of(kind) for block in build.blocks for kind in ("constants", "input")]),
    ):
        (chart,) = charts
        drawn = bars(chart.figure.axes[0])
        assert all(round(amount / 1024, 6) in drawn for amount in amounts if amount)


def test_the_limit_is_marked(build: Build) -> None:
    (chart,) = occupancy_charts(build)
    lines = [line.get_xdata()[0] * 1024 for line in chart.figure.axes[0].lines]
    assert build.limits[0].bytes in lines


def test_the_whole_network(build: Build) -> None:
    (chart,) = overview_charts(build)
    left, right = chart.figure.axes
    assert bars(left) == sorted(round(total.cost * build.unit.factor, 6) for total in build.totals)
    assert bars(right) == sorted(round(total.moved / 1024, 6) for total in build.totals)


def test_the_picture_outlines_what_is_fused(build: Build) -> None:
    (chart,) = picture_charts(build)
    (axes,) = chart.figure.axes
    frames = [patch for patch in axes.patches if patch.get_linewidth() > 2]
    assert len(frames) == len(build.fused) == 1
    signs = [text for text in texts(chart) if text in ("PW", "DW", "+", "conv", "FC")]
    assert len(signs) == sum(len(block.layers) for block in build.blocks)


def test_everything_has_room(build: Build) -> None:
    for draw in DRAWERS:
        for chart in draw(build):
            box = chart.figure.get_tightbbox()
            width, height = chart.figure.get_size_inches()
            assert box.x0 >= -0.01, chart.name
            assert box.y0 >= -0.01, chart.name
            assert box.x1 <= width + 0.01, chart.name
            assert box.y1 <= height + 0.01, chart.name


def test_curves() -> None:
    (chart,) = curve_charts([*CURVES, Curve("nothing", CYCLES, ())])
    shown = [axes for axes in chart.figure.axes if axes.axison]
    assert len(shown) == len(CURVES)
    _, best, _, failed = shown[0].lines
    assert list(best.get_ydata()) == [9e6, 9e6, 7e6]
    assert list(failed.get_xdata()) == [2]
    assert list(shown[1].lines[1].get_ydata()) == [20.0]
    assert shown[3].get_ylim()[1] < 30


def test_parts_are_even_and_as_few_as_can_be() -> None:
    assert pages(range(0), 5) == []
    for length in range(1, 40):
        parts = pages(range(length), 7)
        assert [item for part in parts for item in part] == list(range(length))
        assert len(parts) == -(-length // 7)
        sizes = [len(part) for part in parts]
        assert max(sizes) <= min(7, min(sizes) + 1)
