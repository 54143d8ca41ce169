"""What fusing brought to the whole network, as a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .chart import Chart
from .model import Build
from .style import FUSED, KIB, UNFUSED, WIDTH, at_end, light_grid, our_style, whole_numbers

_FRAME_INCHES = 0.65
_ROW_INCHES = 0.24


def overview_charts(build: Build) -> Iterator[Chart]:
    """Cost and bytes moved of the network as chosen and otherwise; nothing where there is nothing to compare with."""
    if len(build.totals) < 2:
        return
    unit = build.unit
    costs = [(total.cost * unit.factor, unit.text(total.cost)) for total in build.totals]
    moved = [(total.moved / KIB, f"{total.moved / KIB:,.0f}") for total in build.totals]
    with our_style():
        figure = Figure((WIDTH, _FRAME_INCHES + _ROW_INCHES * len(build.totals)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, costs, f"{unit.name}, by {build.source}")
        _draw(right, moved, "KiB of activations moved")
        left.set_yticks(range(len(build.totals)), [total.name for total in build.totals])
    told = "; ".join(
        f"{t.name} {unit.text(t.cost)} {unit.name}, {t.moved:,} bytes of activations moved" for t in build.totals
    )
    yield Chart(
        "overview-1", "The whole network: cost, and bytes of activations moved.", f"Two bar charts: {told}.", figure
    )


def _draw(axes: Axes, bars: Sequence[tuple[float, str]], label: str) -> None:
    for at, (value, text) in enumerate(bars):
        axes.barh(at, value, 0.7, **(UNFUSED if at else FUSED).bar())
        at_end(axes, value, at, text)
    axes.set_xlim(0, 1.3 * max(value for value, _ in bars) or 1)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    whole_numbers(axes, 4)
    light_grid(axes, "x")
