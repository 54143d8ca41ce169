"""The network as a picture: layers as cells in the order of execution, fused blocks outlined around theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from .chart import Chart, pages, part_of
from .model import LAYER_KINDS, Block, Build
from .picture_layout import CELL, SPACE, Line, Row, follows, rows, width_of
from .style import BLACK, GREY, ON_WHITE, TINTS, VERMILLION, WIDTH, Keywords, our_style

#: Cells across the picture.
_CELLS_ACROSS = 14.0
#: Heights in the same unit.
_CELL_HEIGHT = 0.62
_NUMBER_ABOVE = 0.42
_SHARE_BELOW = 0.42
_LANE = 0.26
_BETWEEN_ROWS = 0.3
#: What arrows leave free of the top of a block, at its left and right.
_NUMBER_WIDTH = 0.42
_CORNER = 0.3
#: Left of the rows and right of them, for the arrows that join them.
_MARGIN = 0.75
_RIGHT_MARGIN = 1.1
#: Of the letters that say where lines go on; wide enough for all but very long lists.
_LETTER = 0.12
#: Height of a picture that still fits on a page.
_MOST_HEIGHT = 18.0

_SIGNS = {"pw": "PW", "dw": "DW", "conv": "conv", "dense": "FC", "add": "+", "pool": "pool", "other": "…"}
_NAMES = {
    "pw": "PW: pointwise convolution",
    "dw": "DW: depthwise convolution",
    "conv": "conv: other convolution",
    "dense": "FC: dense layer",
    "add": "+: addition",
    "pool": "pool: pooling",
    "other": "…: other operator",
}
_ARROW: Keywords = {"arrowstyle": "-|>,head_length=0.25,head_width=0.13", "color": GREY, "linewidth": 0.9}
_LINE: Keywords = {"color": BLACK, "linewidth": 0.8, "linestyle": (0, (3, 1.5))}


def picture_charts(build: Build) -> Iterator[Chart]:
    """The picture in parts that each fit on a page."""
    parts = _parts(rows(build.blocks, _CELLS_ACROSS))
    for index, part in enumerate(parts):
        blocks = build.blocks[part[0].first : part[-1].last]
        caption = (
            f"The network{part_of(index, len(parts))}, in the order of execution: each cell is a layer, a thick frame "
            "a fused block. Above each block its number, below it its share of the cost."
        )
        yield Chart(f"network-{index + 1}", caption, _alt(build, blocks), _draw(build, part))


def _parts(lines: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows in parts of about equal numbers, as few as are none of them too high."""
    most = len(lines)
    while most > 1 and any(sum(map(_height, part)) > _MOST_HEIGHT for part in pages(lines, most)):
        most -= 1
    return pages(lines, most) if lines else []


def _height(row: Row) -> float:
    return row.lanes * _LANE + _NUMBER_ABOVE + _CELL_HEIGHT + _SHARE_BELOW + _BETWEEN_ROWS


def _draw(build: Build, part: Sequence[Row]) -> Figure:
    across = _MARGIN + _CELLS_ACROSS + _RIGHT_MARGIN
    inch = WIDTH / across
    height = sum(map(_height, part))
    legend_inches = 0.55
    with our_style():
        figure = Figure((WIDTH, height * inch + legend_inches))
        axes = figure.add_axes((0, 0, 1, height * inch / (height * inch + legend_inches)))
        axes.set(xlim=(-_MARGIN, _CELLS_ACROSS + _RIGHT_MARGIN), ylim=(height, 0))
        axes.axis("off")
        top = 0.0
        for row in part:
            _draw_row(axes, build, row, top)
            top += _height(row)
        _legend(figure, build)
    return figure


def _draw_row(axes: Axes, build: Build, row: Row, top: float) -> None:
    top += row.lanes * _LANE + _NUMBER_ABOVE
    middle = top + _CELL_HEIGHT / 2
    for index, left in zip(range(row.first, row.last), row.lefts, strict=True):
        block = build.blocks[index]
        _draw_block(axes, block, left, top)
        axes.text(left, top - 0.12, str(index), fontsize=7, fontweight="bold" if block.fused else "normal")
        share = _share(build, block)
        axes.text(left + width_of(block) / 2, top + _CELL_HEIGHT + 0.12, share, fontsize=6.5, ha="center", va="top")
        if follows(build.blocks, index):
            start = left - SPACE + 0.05 if index > row.first else -_MARGIN + 0.1
            _arrow(axes, (start, middle), (left - 0.05, middle))
    if row.last < len(build.blocks) and follows(build.blocks, row.last):
        right = row.lefts[-1] + width_of(build.blocks[row.last - 1])
        _arrow(axes, (right + 0.05, middle), (right + 0.5, middle))
    for line in row.lines:
        _draw_line(axes, build.blocks, row, line, top)


def _draw_block(axes: Axes, block: Block, left: float, top: float) -> None:
    for at, layer in enumerate(block.layers):
        corner = left + CELL * at
        axes.add_patch(
            Rectangle((corner, top), CELL, _CELL_HEIGHT, facecolor=TINTS[layer.kind], edgecolor=GREY, linewidth=0.6)
        )
        axes.text(corner + CELL / 2, top + _CELL_HEIGHT / 2, _SIGNS[layer.kind], fontsize=7.5, ha="center", va="center")
    if block.fused:
        axes.add_patch(
            FancyBboxPatch(
                (left, top),
                width_of(block),
                _CELL_HEIGHT,
                boxstyle="round,pad=0.06,rounding_size=0.1",
                facecolor="none",
                edgecolor=VERMILLION,
                linewidth=2.2,
            )
        )


def _draw_line(axes: Axes, blocks: Sequence[Block], row: Row, line: Line, top: float) -> None:
    """Up from the writer's right edge, along the lane, with an arrow down to each reader."""
    height = top - _NUMBER_ABOVE - (line.lane + 0.4) * _LANE
    foot = top - 0.06
    if line.writer is not None:
        start = row.lefts[line.writer - row.first] + width_of(blocks[line.writer]) - _CORNER / 2
        axes.plot((start, start), (foot, height), **_LINE)
    else:
        start = -_MARGIN + 0.1
        _label(axes, start, height, f"from {line.link.writer}")
    ends = [_landing(blocks, row, line, reader) for reader in line.readers]
    for end in ends:
        _arrow(axes, (end, height), (end, foot), color=BLACK, linewidth=0.8)
    if line.beyond:
        text = f"to {_numbers(line.beyond)}"
        edge = row.lefts[-1] + width_of(blocks[row.last - 1]) + 0.15
        ends.append(min(edge, _CELLS_ACROSS + _RIGHT_MARGIN - _LETTER * len(text)))
        _label(axes, ends[-1], height, text)
    axes.plot((start, max(ends)), (height, height), **_LINE)


def _label(axes: Axes, left: float, height: float, text: str) -> None:
    axes.text(left, height, text, fontsize=6.5, va="center", bbox=ON_WHITE)


def _landing(blocks: Sequence[Block], row: Row, line: Line, reader: int) -> float:
    """Where an arrow comes down: alone in the middle, else side by side, right of the block's number."""
    arriving = [other.link for other in row.lines if reader in other.readers]
    left, width = row.lefts[reader - row.first], width_of(blocks[reader])
    if len(arriving) == 1:
        return left + width / 2
    part = arriving.index(line.link) / (len(arriving) - 1)
    return left + _NUMBER_WIDTH + part * (width - _NUMBER_WIDTH - _CORNER)


def _numbers(numbers: Sequence[int]) -> str:
    """Such as ``5, 7-9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **changes: object) -> None:
    axes.annotate("", end, start, arrowprops={**_ARROW, "shrinkA": 0, "shrinkB": 0, **changes})


def _share(build: Build, block: Block) -> str:
    whole = build.totals[0].cost if build.totals else 0
    return f"{100 * block.cost / whole:.1f}%" if whole else ""


def _legend(figure: Figure, build: Build) -> None:
    kinds = [kind for kind in LAYER_KINDS if any(layer.kind == kind for b in build.blocks for layer in b.layers)]
    handles = [Patch(facecolor=TINTS[kind], edgecolor=GREY, label=_NAMES[kind]) for kind in kinds]
    handles.append(Patch(facecolor="none", edgecolor=VERMILLION, linewidth=2.2, label="fused block"))
    figure.legend(handles=handles, loc="upper center", ncols=4, frameon=False)


def _alt(build: Build, blocks: Sequence[Block]) -> str:
    fused = [block for block in blocks if block.fused]
    names = f": {', '.join(block.name for block in fused)}" if fused else ""
    return (
        f"Picture of {len(blocks)} blocks with {sum(len(block.layers) for block in blocks)} layers of {build.model}; "
        f"{len(fused)} are outlined as fused{names}. The table of blocks lists the layers of each."
    )
