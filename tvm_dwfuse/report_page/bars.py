"""Charts with a row for each block: cost, bytes moved, occupancy of the buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .chart import Chart, pages, part_of
from .model import BUFFER_KINDS, Block, Build, percent
from .style import (
    ALONE,
    BLACK,
    FUSED,
    KIB,
    PURPLE,
    STACK,
    UNFUSED,
    WIDTH,
    Keywords,
    Look,
    in_column,
    legend,
    light_grid,
    our_style,
    whole_numbers,
)

#: Rows in a figure: with more it would not fit on a page.
_MOST_ROWS = 30
_ROW_INCHES = 0.23
#: Room for axis, legend and title.
_FRAME_INCHES = 1.0

_RUNNER_UP: Keywords = {
    "marker": "D",
    "markersize": 4.5,
    "markerfacecolor": PURPLE,
    "markeredgecolor": BLACK,
    "linestyle": "",
}
_MEASURED: Keywords = {
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgecolor": BLACK,
    "linestyle": "",
}
_TRAFFIC_UNFUSED: Keywords = {**_MEASURED, "marker": "v", "markersize": 5}

#: Draws the rows of some blocks.
_Draw = Callable[[Axes, Sequence[Block]], None]


def cost_charts(build: Build) -> Iterator[Chart]:
    """Cost of each block as chosen, unfused where it is fused, and with the runner-up."""
    blocks = build.blocks
    entries: list[tuple[str, Look | Artist]] = [("chosen, fused", FUSED), ("chosen, one layer", ALONE)]
    if any(block.unfused for block in blocks):
        entries.append(("the same layers unfused", UNFUSED))
    if any(block.runner_up for block in blocks):
        entries.append(("with the runner-up", Line2D([], [], **_RUNNER_UP)))
    if any(block.measured is not None for block in blocks):
        entries.append(("measured here", Line2D([], [], **_MEASURED)))
    most = max((_longest_cost(block) for block in blocks), default=0.0) * build.unit.factor

    def draw(axes: Axes, rows: Sequence[Block]) -> None:
        for at, block in enumerate(rows):
            _draw_cost(axes, at, block, build)
        axes.set_xlim(0, most / 0.82 or 1)
        axes.set_xlabel(f"{build.unit.name}, by {build.source}")

    for index, count, rows, figure in _row_figures(blocks, draw, entries):
        caption = (
            f"Cost of each block in {build.unit.name}{part_of(index, count)}. Names of fused blocks are bold. At the "
            "right the cost as chosen, and what it is against the same layers unfused."
        )
        yield Chart(_name("cost", index), caption, _cost_alt(build, rows), figure)


def traffic_charts(build: Build) -> Iterator[Chart]:
    """Bytes moved for each block, stacked by the levels between which they move."""
    blocks = [block for block in build.blocks if block.moved]
    entries: list[tuple[str, Look | Artist]] = list(zip(build.levels, STACK, strict=False))
    if any(_unfused_bytes(block) for block in blocks):
        entries.append(("activations, unfused", Line2D([], [], **_TRAFFIC_UNFUSED)))
    most = max((max(block.moved_bytes, _unfused_bytes(block) or 0) for block in blocks), default=0) / KIB

    def draw(axes: Axes, rows: Sequence[Block]) -> None:
        for at, block in enumerate(rows):
            _stack(axes, at, [block.moved.get(level, 0) for level in build.levels])
            unfused = _unfused_bytes(block)
            if unfused is not None:
                axes.plot(unfused / KIB, at, **_TRAFFIC_UNFUSED)
            in_column(axes, at, f"{block.moved_bytes / KIB:,.1f}")
        axes.set_xlim(0, most / 0.9 or 1)
        axes.set_xlabel("KiB moved")

    for index, count, rows, figure in _row_figures(blocks, draw, entries):
        caption = f"KiB moved for each block{part_of(index, count)}; at the right their sum."
        total = sum(block.moved_bytes for block in rows)
        alt = f"Bar chart of KiB moved by {_range(rows)}, {total / KIB:,.1f} KiB together. {_IN_TABLE}"
        yield Chart(_name("traffic", index), caption, alt, figure)


def occupancy_charts(build: Build) -> Iterator[Chart]:
    """Bytes of the buffers of each block, stacked by kind, against the size of the memories."""
    blocks = [block for block in build.blocks if block.buffers]
    kinds = [kind for kind in BUFFER_KINDS if any(block.bytes_of(kind) for block in blocks)]
    looks = dict(zip(BUFFER_KINDS, STACK, strict=True))
    entries: list[tuple[str, Look | Artist]] = [(kind, looks[kind]) for kind in kinds]
    largest = max((block.buffer_bytes for block in blocks), default=0)
    limits = [limit for limit in build.limits if limit.bytes <= 4 * largest] or list(build.limits[:1])
    styles: Keywords = dict(zip((limit.name for limit in limits), ("--", "-."), strict=False))
    entries += [
        (f"{limit.name}: {limit.bytes / KIB:,.0f} KiB", Line2D([], [], color=BLACK, linestyle=styles[limit.name]))
        for limit in limits
    ]
    most = max([largest, *(limit.bytes for limit in limits)]) / KIB

    def draw(axes: Axes, rows: Sequence[Block]) -> None:
        for at, block in enumerate(rows):
            _stack(axes, at, [block.bytes_of(kind) for kind in BUFFER_KINDS])
            in_column(axes, at, f"{block.buffer_bytes / KIB:,.1f}")
        for limit in limits:
            axes.axvline(limit.bytes / KIB, color=BLACK, linestyle=styles[limit.name], linewidth=1.2)
        axes.set_xlim(0, most / 0.9 or 1)
        axes.set_xlabel("KiB of buffers")

    for index, count, rows, figure in _row_figures(blocks, draw, entries):
        caption = f"KiB of the buffers that each block computes in{part_of(index, count)}; at the right their sum."
        fullest = max(rows, key=lambda block: block.buffer_bytes)
        alt = (
            f"Bar chart of KiB of buffers of {_range(rows)}; the most is {fullest.buffer_bytes / KIB:,.1f} KiB in "
            f"{fullest.name}. {_IN_TABLE}"
        )
        yield Chart(_name("buffers", index), caption, alt, figure)


_IN_TABLE = "The numbers are in the table of blocks."


def _row_figures(
    blocks: Sequence[Block], draw: _Draw, entries: list[tuple[str, Look | Artist]]
) -> Iterator[tuple[int, int, Sequence[Block], Figure]]:
    """(index, count, blocks, figure) of each part."""
    parts = pages(blocks, _MOST_ROWS)
    for index, rows in enumerate(parts):
        with our_style():
            figure = Figure((WIDTH, _FRAME_INCHES + _ROW_INCHES * len(rows)), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, rows)
            _name_rows(axes, rows)
            whole_numbers(axes)
            light_grid(axes, "x")
            legend(figure, entries)
        yield index, len(parts), rows, figure


def _name_rows(axes: Axes, rows: Sequence[Block]) -> None:
    axes.set_yticks(range(len(rows)), [block.name for block in rows])
    for label, block in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if block.fused else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _draw_cost(axes: Axes, at: int, block: Block, build: Build) -> None:
    """One bar, or two half as high where there is an unfused cost too."""
    cost, factor = block.cost, build.unit.factor
    look = FUSED if block.fused else ALONE
    in_column(axes, at, build.unit.text(cost), 0.935)
    if block.unfused:
        axes.barh(at - 0.19, cost * factor, 0.38, **look.bar())
        axes.barh(at + 0.19, (block.cost + block.unfused.extra) * factor, 0.38, **UNFUSED.bar())
        in_column(axes, at, percent(cost / (cost + block.unfused.extra) - 1, 0))
    else:
        axes.barh(at, cost * factor, 0.7, **look.bar())
    if block.runner_up:
        axes.plot((cost + block.runner_up.extra) * factor, at, **_RUNNER_UP)
    if block.measured is not None:
        axes.plot(block.measured * factor, at, **_MEASURED)


def _longest_cost(block: Block) -> float:
    """How far the marks of a block reach."""
    costs = [block.cost]
    if block.unfused:
        costs.append(block.cost + block.unfused.extra)
    if block.runner_up:
        costs.append(block.cost + block.runner_up.extra)
    if block.measured is not None:
        costs.append(block.measured)
    return max(costs)


def _stack(axes: Axes, at: int, amounts: Sequence[int]) -> None:
    left = 0.0
    for amount, look in zip(amounts, STACK, strict=False):
        if amount:
            axes.barh(at, amount / KIB, 0.7, left=left, **look.bar())
        left += amount / KIB


def _unfused_bytes(block: Block) -> int | None:
    return block.unfused.moved if block.unfused else None


def _cost_alt(build: Build, rows: Sequence[Block]) -> str:
    dearest = max(rows, key=lambda block: block.cost)
    fused = sum(block.fused for block in rows)
    return (
        f"Bar chart of the {build.unit.name} of {_range(rows)}, {fused} of them fused; the most, "
        f"{build.unit.text(dearest.cost)}, is {dearest.name}'s. {_IN_TABLE}"
    )


def _range(rows: Sequence[Block]) -> str:
    if len(rows) == 1:
        return f"block {rows[0].name}"
    return f"the {len(rows)} blocks {rows[0].name} to {rows[-1].name}"


def _name(kind: str, index: int) -> str:
    return f"{kind}-{index + 1}"
