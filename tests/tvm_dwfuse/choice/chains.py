"""Random runs and the options to cover them, and all covers there are, by enumeration."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import strategies as st

from tvm_dwfuse.choice import Costs, Option, Run
from tvm_dwfuse.choice.options import State

LAYOUTS = ("hwc", "chw")

costs = st.builds(Costs, *[st.integers(0, 9)] * 4)
layouts = st.sampled_from(LAYOUTS)


@st.composite
def runs(draw: st.DrawFn, most_stages: int = 5, most_options: int = 10, conversions: bool = True) -> Run:
    """A run in which each stage can be computed alone, HWC to HWC, with further options and changes of layout."""
    length = draw(st.integers(1, most_stages))
    options = [Option(stage, stage + 1, "unfused", "hwc", "hwc", draw(costs)) for stage in range(length)]
    for number in range(draw(st.integers(0, most_options))):
        first = draw(st.integers(0, length - 1))
        last = draw(st.integers(first + 1, min(length, first + 3)))
        name = "unfused" if last == first + 1 else f"fused{number}"
        options.append(Option(first, last, name, draw(layouts), draw(layouts), draw(costs)))
    for _ in range(draw(st.integers(0, 3)) if conversions else 0):
        place, source = draw(st.integers(0, length)), draw(layouts)
        sink = "chw" if source == "hwc" else "hwc"
        options.append(Option(place, place, "transpose", source, sink, draw(costs)))
    order = draw(st.permutations(options))
    return Run(length, tuple(order), end=draw(layouts) if conversions else "hwc")


def all_covers(run: Run, begin: State | None = None, end: State | None = None) -> Iterator[list[Option]]:
    """Every way from one place and layout of a run to another, by default through all of it.

    None is in the same layout twice at one place.
    """
    goal = end or (run.length, run.end)

    def extend(done: list[Option], place: int, layout: str, seen: frozenset[str]) -> Iterator[list[Option]]:
        if (place, layout) == goal:
            yield done
        for option in run.options:
            if (option.first, option.source) != (place, layout):
                continue
            if option.stages:
                yield from extend([*done, option], option.last, option.sink, frozenset({option.sink}))
            elif option.sink not in seen:
                yield from extend([*done, option], place, option.sink, seen | {option.sink})

    place, layout = begin or (0, run.start)
    yield from extend([], place, layout, frozenset({layout}))


def all_network_covers(network: list[Run]) -> Iterator[list[Option]]:
    """Every way to cover all runs, the options of all of them in one list."""
    for covers in product(*(list(all_covers(run)) for run in network)):
        yield [option for cover in covers for option in cover]
