"""Tuning curves: for each kernel the least cost so far over the trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .chart import Chart, pages, part_of
from .model import Curve
from .style import BLACK, BLUE, GREY, VERMILLION, WIDTH, Keywords, legend, light_grid, our_style, plain_number

_ACROSS = 3
_MOST_CURVES = 15
_ROW_INCHES = 1.55
_FRAME_INCHES = 0.45
#: Above this many times the best cost a trial is not drawn: the curve would be a line at the bottom.
_MOST_OVER_BEST = 2.5

_TRIAL: Keywords = {"marker": ".", "markersize": 2.5, "color": GREY, "linestyle": ""}
_FAILED: Keywords = {"marker": "x", "markersize": 3.5, "color": VERMILLION, "linestyle": "", "clip_on": False}
_BEST: Keywords = {"color": BLUE, "linewidth": 1.5, "drawstyle": "steps-post"}
_DEFAULT: Keywords = {"color": BLACK, "linewidth": 0.8, "linestyle": ":"}


def curve_charts(curves: Sequence[Curve]) -> Iterator[Chart]:
    """Small charts side by side, one for each kernel that was tuned."""
    parts = pages([curve for curve in curves if curve.trials], _MOST_CURVES)
    for index, part in enumerate(parts):
        caption = (
            f"Tuning{part_of(index, len(parts))}: the best so far over the trials; the first trial is the default. "
            f"Trials of more than {_MOST_OVER_BEST} times the best cost are not drawn."
        )
        alt = (
            f"{len(part)} small line charts, one for each of the kernels {', '.join(curve.name for curve in part)}. "
            "The table of tuning has first and best costs."
        )
        yield Chart(f"tuning-{index + 1}", caption, alt, _draw(part))


def _draw(curves: Sequence[Curve]) -> Figure:
    lines = -(-len(curves) // _ACROSS)
    with our_style():
        figure = Figure((WIDTH, _FRAME_INCHES + _ROW_INCHES * lines), layout="constrained")
        grid = figure.subplots(lines, _ACROSS, squeeze=False)
        for axes, curve in zip(grid.flat, curves, strict=False):
            _draw_curve(axes, curve)
        for axes in grid.flat[len(curves) :]:
            axes.axis("off")
        entries: list[tuple[str, Keywords]] = [
            ("best so far", _BEST),
            ("a trial", _TRIAL),
            ("first trial", _DEFAULT),
        ]
        if any(curve.failures for curve in curves):
            entries.append(("failed", _FAILED))
        legend(figure, [(label, Line2D([], [], **look)) for label, look in entries])
    return figure


def _draw_curve(axes: Axes, curve: Curve) -> None:
    factor = curve.unit.factor
    numbers = range(1, len(curve.trials) + 1)
    costs = [None if trial.cost is None else trial.cost * factor for trial in curve.trials]
    known = [(number, cost) for number, cost in zip(numbers, costs, strict=True) if cost is not None]
    failed = [number for number, cost in zip(numbers, costs, strict=True) if cost is None]
    if known:
        best = [(number, b * factor) for number, b in zip(numbers, curve.best, strict=True) if b is not None]
        axes.plot(*zip(*known, strict=True), **_TRIAL)
        axes.plot(*zip(*best, strict=True), **_BEST)
        axes.axhline(known[0][1], **_DEFAULT)
        low = best[-1][1]
        high = min(max(cost for _, cost in known), _MOST_OVER_BEST * low)
        room = 0.08 * (high - low) or 0.05 * abs(low) or 1
        axes.set_ylim(low - room, max(high, known[0][1]) + room)
    if failed:
        axes.plot(failed, [axes.get_ylim()[0]] * len(failed), **_FAILED)
    axes.set_xlim(0, 1.02 * max(len(curve.trials), 2))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(plain_number)
    axes.set_title("\n".join(_lines(curve.name)), loc="left", fontsize=6.5)
    axes.set_ylabel(curve.unit.name, fontsize=7)
    axes.tick_params(labelsize=6.5)
    light_grid(axes, "y")


def _lines(name: str) -> Iterator[str]:
    """The words of a name in lines that are no wider than a small chart."""
    line = ""
    for word in name.split():
        if line and len(line) + len(word) > 32:
            yield line
            line = ""
        line = f"{line} {word}".lstrip()
    yield line
