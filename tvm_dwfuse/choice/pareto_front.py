"""The Pareto front of a network: all that can be had of latency, traffic, energy and memory at once.

Label setting: each state keeps the costs of all ways to it that no other way is better than in everything. Adding the
same to two ways, or taking the larger memory of each and a third, never turns their order around, so a way that is
worse in everything can be dropped at once, and what is left at the end is the whole front.

There may be exponentially many such ways. Where a state has more than it may keep, those whose costs lie within a
small factor of each other in everything are represented by one of them. The front then is no longer exact, and says
by what factor it may be off at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from .costs import METRICS, Costs
from .cover import least_peak
from .options import Move, Option, Run, State

#: Ways that a state keeps: enough for the exact front of most networks with one tile for each option.
MOST_WAYS = 1000
#: The first factor tried where these are too many, and by how much its distance from 1 then grows.
_CLOSE, _GROWTH = 1.0005, 1.5

#: Called with the number of places done, and of all.
OnPlace = Callable[[int, int], None]


@dataclass(frozen=True)
class Front:
    """Covers of a network none of which is as good as another in everything, the fastest first.

    Args:
        points: their costs, and the options of each run.
        factor: 1 if these are all; else for each cover of the network there is a point whose costs are at most this
            factor times as high.
    """

    points: tuple[tuple[Costs, list[list[Option]]], ...]
    factor: float = 1.0

    @property
    def exact(self) -> bool:
        """Whether it is the whole front."""
        return self.factor == 1.0

    def thinned(self, most: int) -> Front:
        """At most so many of its points, to be looked at; the others are close to one of these."""
        kept, factor = _thinned(np.array([astuple(costs) for costs, _ in self.points]), most)
        return Front(tuple(self.points[index] for index in kept), self.factor * factor)


def pareto(
    length: int,
    options: Sequence[Option],
    start: str = "hwc",
    end: str = "hwc",
    memory_limit: float | None = None,
) -> list[tuple[Costs, list[Option]]]:
    """The Pareto front of one run; see :func:`front`.

    Raises:
        NoCover: no options cover the run within the limit.
    """
    found = front([Run(length, tuple(options), start, end)], memory_limit)
    return [(costs, covers[0]) for costs, covers in found.points]


def front(
    runs: Sequence[Run],
    memory_limit: float | None = None,
    most_ways: int = MOST_WAYS,
    on_place: OnPlace | None = None,
) -> Front:
    """The Pareto front of a network, ranks left aside.

    Args:
        runs: of the network.
        memory_limit: bytes that no option may exceed.
        most_ways: that a state keeps; with more, the front is thinned out.
        on_place: called as it goes on.

    Raises:
        NoCover: no options cover a run within the limit.
    """
    least_peak(runs, memory_limit)  # which raises NoCover
    places, done = sum(run.length + 1 for run in runs), 0
    ways = _Ways(np.zeros((1, len(METRICS))), (), np.zeros((1, 2), int), 1.0)
    for run in runs:
        reached: dict[State, _Ways] = {run.begin_state: ways}
        for state, moves in _by_end(run, memory_limit):
            arriving = tuple((move, reached[move.begin]) for move in moves if move.begin in reached)
            if arriving:
                reached[state] = _merged(arriving).thinned(most_ways)
            if on_place:
                on_place(done + state[0], places)
        done += run.length + 1
        ways = reached[run.end_state]
    points = ((_costs(row), _split(runs, ways.moves_to(index))) for index, row in enumerate(ways.costs))
    return Front(tuple(points), ways.factor)


def _by_end(run: Run, limit: float | None) -> Iterator[tuple[State, list[Move]]]:
    """The moves to each state, the states by place; of parallel ones those that none is better than."""
    parallel: dict[tuple[State, State], list[Move]] = defaultdict(list)
    for move in run.moves:
        if limit is None or move.costs.memory <= limit:
            parallel[move.begin, move.end].append(move)
    arriving: dict[State, list[Move]] = defaultdict(list)
    for (_, end), moves in parallel.items():
        kept = nondominated(np.array([astuple(move.costs) for move in moves], float))
        arriving[end] += [moves[index] for index in kept]
    yield from sorted(arriving.items(), key=lambda each: each[0][0])


def nondominated(costs: np.ndarray) -> np.ndarray:
    """The indices of the rows that no other row is better than, in lexical order; of equal rows the first one's.

    Args:
        costs: (ways, metrics).
    """
    left = np.lexsort(costs.T[::-1])
    kept = []
    while left.size:
        # In lexical order no row is dominated by a later one, so the first one that is left is kept.
        kept.append(left[0])
        left = left[(costs[left] < costs[left[0]]).any(axis=1)]
    return np.array(kept, int)


@dataclass(frozen=True, eq=False)
class _Ways:
    """Ways to a state: ``costs`` (ways, metrics); the moves that arrive, each with the ways to where it begins; and
    for each way which of these it takes: ``via`` (ways, 2), the index of the move and that of the way before it."""

    costs: np.ndarray
    arriving: tuple[tuple[Move, _Ways], ...]
    via: np.ndarray
    factor: float

    def thinned(self, most: int) -> _Ways:
        """At most so many, each of the others represented within a factor by one of these."""
        kept, factor = _thinned(self.costs, most)
        return _Ways(self.costs[kept], self.arriving, self.via[kept], self.factor * factor)

    def moves_to(self, index: int) -> list[Move]:
        """The moves of a way."""
        moves, ways = [], self
        while ways.arriving:
            which, index = ways.via[index]
            move, ways = ways.arriving[which]
            moves.append(move)
        return moves[::-1]


def _merged(arriving: tuple[tuple[Move, _Ways], ...]) -> _Ways:
    """The ways by these moves, less those that another is better than."""
    costs = np.concatenate([_added(before.costs, move.costs) for move, before in arriving])
    via = np.concatenate(
        [
            np.column_stack([np.full(len(before.costs), which), np.arange(len(before.costs))])
            for which, (_, before) in enumerate(arriving)
        ]
    )
    kept = nondominated(costs)
    return _Ways(costs[kept], arriving, via[kept], max(before.factor for _, before in arriving))


def _added(costs: np.ndarray, more: Costs) -> np.ndarray:
    """The costs of ways, each after one more move."""
    *sums, memory = astuple(more)
    return np.column_stack([costs[:, :-1] + np.array(sums, float), np.maximum(costs[:, -1], memory)])


def _thinned(costs: np.ndarray, most: int) -> tuple[np.ndarray, float]:
    """The indices of at most so many rows, and the factor within which they represent the others."""
    if len(costs) <= most:
        return np.arange(len(costs)), 1.0
    closeness = _CLOSE
    while len((found := _representatives(costs, closeness))[0]) > most:
        closeness = 1 + (closeness - 1) * _GROWTH
    return found


def _representatives(costs: np.ndarray, closeness: float) -> tuple[np.ndarray, float]:
    """The first row of each cell of a grid whose cells span a factor of ``closeness`` in each metric, and the best row
    of each metric; and the factor by which the others are at most smaller than the first of their cell."""
    positive = np.maximum(costs, 1e-9)
    cells = np.floor(np.log(positive) / np.log(closeness))
    _, first, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    factor = (positive[first[cell.reshape(-1)]] / positive).max()
    return np.unique(np.concatenate([first, costs.argmin(axis=0)])), float(factor)


def _costs(row: np.ndarray) -> Costs:
    return Costs(*(value.item() for value in row))


def _split(runs: Sequence[Run], moves: Sequence[Move]) -> list[list[Option]]:
    """The options of each run; the last move of each is that which ends it."""
    covers: list[list[Option]] = [[] for _ in runs]
    index = 0
    for move in moves:
        covers[index] += move.options
        index += move.end == runs[index].end_state
    return covers
