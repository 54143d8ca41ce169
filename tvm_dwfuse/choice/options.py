"""The ways to compute parts of a network: what the choice is made among."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add
from typing import Any

from ..errors import DwfuseError
from .costs import Costs

#: A place between two stages, and the layout in which the activation lies there.
State = tuple[int, str]


@dataclass(frozen=True)
class Option:
    """One way to compute stages ``first`` to ``last - 1`` of a run together.

    With ``first == last`` it computes nothing, but turns the activation there from one layout into another.

    Args:
        first, last: from the first stage up to, without, the last.
        name: such as "unfused", or a variant.
        source, sink: layouts that it reads and writes, such as "hwc".
        costs: none below 0.
        payload: whatever the caller wants to find again.
        rank: what counts before all costs; the sum is minimised. It is negative where something was asked for.
    """

    first: int
    last: int
    name: str
    source: str
    sink: str
    costs: Costs
    payload: Any = field(default=None, compare=False)
    rank: int = 0

    @property
    def stages(self) -> int:
        """Stages that it computes; 0 if it changes the layout."""
        return self.last - self.first


@dataclass(frozen=True)
class Move:
    """Options taken together: one that computes, after the changes of layout that it needs."""

    begin: State
    end: State
    costs: Costs
    options: tuple[Option, ...]
    rank: int = 0

    @property
    def stages(self) -> int:
        """Stages that it computes."""
        return sum(option.stages for option in self.options)


@dataclass(frozen=True)
class Part:
    """What is to be covered: a way from one state to another by moves, which are in the order of their beginnings."""

    moves: tuple[Move, ...]
    begin_state: State
    end_state: State


@dataclass(frozen=True)
class Run:
    """Stages that follow each other, the options for them, and the layouts of the run's input and output.

    Raises:
        ValueError: an option lies outside of the run, costs less than nothing, or is a change of layout with a rank.
    """

    length: int
    options: tuple[Option, ...]
    start: str = "hwc"
    end: str = "hwc"

    def __post_init__(self) -> None:
        for option in self.options:
            if not 0 <= option.first <= option.last <= self.length:
                raise ValueError(f"{option.name}: stages {option.first} to {option.last} of a run of {self.length}")
            c = option.costs
            if not min(c.latency, c.traffic, c.energy, c.memory) >= 0:
                raise ValueError(f"{option.name}: costs {c} below 0")
            if option.rank and not option.stages:
                raise ValueError(f"{option.name}: a change of layout has no rank")

    @property
    def begin_state(self) -> State:
        """Where every cover begins."""
        return 0, self.start

    @property
    def end_state(self) -> State:
        """Where every cover ends; the last place is behind the changes of layout that follow the last stage."""
        return self.length + 1, self.end

    def unfused(self, begin: State | None = None, end: State | None = None) -> Part:
        """The moves of at most one stage, from one state to another; of the whole run by default."""
        single = tuple(move for move in self.moves if move.stages <= 1)
        return Part(single, begin or self.begin_state, end or self.end_state)

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """All moves, by the place where they begin, else in the order of the options.

        What comes last computes nothing: it gives the output the run's layout.
        """
        paths = _Conversions(self.options)
        moves = [
            _move((option.first, layout), (option.last, option.sink), (*path, option))
            for option in sorted(self.options, key=lambda option: option.first)
            if option.stages
            for layout, path in paths.to(option.first, option.source)
        ]
        closing = [
            _move((self.length, layout), self.end_state, path) for layout, path in paths.to(self.length, self.end)
        ]
        return (*moves, *closing)


class NoCover(DwfuseError):
    """No options cover the run, or part, of index ``run`` within the limit of memory."""

    def __init__(self, run: int, message: str) -> None:
        super().__init__(message)
        self.run = run


def total(options: Sequence[Option]) -> Costs:
    """The costs of options one after the other."""
    return reduce(add, (option.costs for option in options), Costs())


def _move(begin: State, end: State, options: tuple[Option, ...]) -> Move:
    return Move(begin, end, total(options), options, sum(option.rank for option in options))


class _Conversions:
    """The changes of layout at each place."""

    def __init__(self, options: Sequence[Option]) -> None:
        self._into: dict[State, list[Option]] = defaultdict(list)
        for option in options:
            if not option.stages:
                self._into[option.last, option.sink].append(option)

    def to(self, place: int, layout: str) -> Iterator[tuple[str, tuple[Option, ...]]]:
        """Every layout from which ``layout`` can be had at a place, and how; first itself, with nothing to do."""
        yield from self._extended(place, layout, (), frozenset({layout}))

    def _extended(
        self, place: int, layout: str, path: tuple[Option, ...], seen: frozenset[str]
    ) -> Iterator[tuple[str, tuple[Option, ...]]]:
        yield layout, path
        for option in self._into[place, layout]:
            if option.source not in seen:
                yield from self._extended(place, option.source, (option, *path), seen | {option.source})
