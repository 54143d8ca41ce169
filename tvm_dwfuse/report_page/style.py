"""How figures look: colours that colour-blind readers tell apart, a hatch or marker beside each, sizes for paper.

The colours are those of Okabe and Ito, "Color Universal Design" (2008). No figure says anything by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

#: Of functions of matplotlib.
Keywords: TypeAlias = dict[str, Any]

BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8C8C8C"

#: Width of a figure in inches: that of the text on a sheet of A4.
WIDTH = 7.2

KIB = 1024

_RC_PARAMS: Any = {
    # Of PNG files; the layout is made for them, and serves SVG as well.
    "figure.dpi": 200,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    # The ids in SVG files would be random without a salt.
    "svg.hashsalt": "tvm_dwfuse",
}


ON_WHITE: Keywords = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}


def our_style() -> AbstractContextManager[None]:
    """In which figures are made and saved."""
    return rc_context(_RC_PARAMS)


@dataclass(frozen=True)
class Look:
    """Colour and hatch of a series of bars."""

    color: str
    hatch: str = ""

    def bar(self) -> Keywords:
        """Keywords of ``Axes.barh`` and :class:`Patch`."""
        return {"facecolor": self.color, "hatch": self.hatch, "edgecolor": BLACK, "linewidth": 0.5}


FUSED = Look(BLUE)
ALONE = Look(SKY_BLUE)
UNFUSED = Look(ORANGE, "////")

#: Looks of stacked series, in their order.
STACK = (Look(BLUE), Look(ORANGE, "///"), Look(YELLOW, "---"), Look(GREEN, "\\\\\\"), Look("#FFFFFF", "xxx"))

#: Tints of the layers' kinds in the picture of the network; the letters in them say the same.
TINTS = {
    "pw": "#CCE3F0",
    "dw": "#FAE3B3",
    "conv": "#CCECE3",
    "dense": "#F5E4ED",
    "add": "#FFFFFF",
    "pool": "#F3F3F3",
    "other": "#E0E0E0",
}


def legend(figure: Figure, entries: Sequence[tuple[str, Look | Artist]]) -> None:
    """A legend above the axes; an entry's handle is a :class:`Look` or an artist."""
    handles = [Patch(**look.bar()) if isinstance(look, Look) else look for _, look in entries]
    labels = [label for label, _ in entries]
    figure.legend(handles, labels, loc="outside upper left", ncols=min(5, len(entries)), frameon=False)


def whole_numbers(axes: Axes, most: int = 6) -> None:
    """At most so many ticks on the x axis, such as 1,250,000 in place of 1.25 and a power of ten in the corner."""
    axes.xaxis.set_major_locator(MaxNLocator(most))
    axes.xaxis.set_major_formatter(plain_number)


@FuncFormatter
def plain_number(value: float, _: int) -> str:
    """The text of a tick."""
    return f"{round(value, 6):,}".removesuffix(".0")


def at_end(axes: Axes, value: float, at: float, text: str) -> None:
    """A number beside its bar, on white, as lines may run there."""
    axes.annotate(text, (value, at), (5, 0), textcoords="offset points", va="center", fontsize=7, bbox=ON_WHITE)


def in_column(axes: Axes, at: float, text: str, right: float = 1.0) -> None:
    """A number in the row of its bar, ending at that part of the width, so that all stand in a column."""
    place = axes.get_yaxis_transform()
    axes.text(right, at, text, fontsize=7, bbox=ON_WHITE, transform=place, ha="right", va="center")


def light_grid(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Thin lines to follow values by."""
    axes.grid(axis=axis, color="#D9D9D9", linewidth=0.5)
