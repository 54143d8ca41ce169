"""The best cover of a network by options: exact, by dynamic programming over (place, layout).

Between two stages of a run all that the rest needs to know is the layout in which the activation lies there. Sums of
costs, compared one after the other, keep their order when the same is added to both, so the best way to each state
leads to the best cover. Peak memory does not add up: a way with less memory but more latency may be the better start,
if it is the rest that decides the peak. So memory is only ever a limit here: to minimise it, the least peak is found
first, and then the best cover within it; in a weighted sum every peak that can occur is tried as the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .costs import METRICS, Costs, Objective
from .options import Move, NoCover, Option, Part, Run, State, total

#: What has been spent on the way to a state; compared as tuples.
Spent = tuple[float, ...]


@dataclass(frozen=True)
class _Way:
    """How a state is reached: what that takes, and the last move."""

    spent: Spent
    move: Move | None


def best_cover(
    length: int,
    options: Sequence[Option],
    objective: Objective,
    start: str = "hwc",
    end: str = "hwc",
    memory_limit: float | None = None,
) -> list[Option]:
    """The options, one after the other, that cover a run so that ``objective`` is least.

    Args:
        length: stages of the run.
        options: ways to compute parts of it, and changes of layout. Of equals the first ones are taken.
        objective: what is minimised; the sum of the options' ranks comes before it.
        start, end: layouts of the run's input and output.
        memory_limit: bytes that no option may exceed.

    Raises:
        NoCover: no options cover the run within the limit.
    """
    return best_covers([Run(length, tuple(options), start, end)], objective, memory_limit)[0]


def best_covers(
    runs: Sequence[Run | Part], objective: Objective, memory_limit: float | None = None, best: Costs | None = None
) -> list[list[Option]]:
    """The covers of the runs of a network, so that ``objective`` is least for all of them together.

    Costs of runs add up as those of options do: peak memory is that of the whole network.

    Args:
        runs: what is to be covered.
        objective, memory_limit: see :func:`best_cover`.
        best: what a weighted sum is relative to; by default the :func:`best_values` of these runs.

    Raises:
        NoCover: no options cover a run within the limit.
    """
    if objective.single == "memory":
        peak = least_peak(runs, memory_limit)
        return _additive(runs, Objective.parse("latency"), None, peak)
    if objective.single:
        return _additive(runs, objective, None, memory_limit)
    best = best or best_values(runs, memory_limit)
    if not objective.weight("memory"):
        return _additive(runs, objective, best, memory_limit)
    return _by_peaks(runs, objective, best, memory_limit)


def best_values(runs: Sequence[Run | Part], memory_limit: float | None = None) -> Costs:
    """The best that a network can reach in each metric alone, which no cover may reach at once.

    Raises:
        NoCover: no options cover a run within the limit.
    """
    found: dict[str, float] = {}
    for name in METRICS:
        covers = best_covers(runs, Objective.parse(name), memory_limit)
        found[name] = getattr(network_costs(covers), name)
    return Costs(**found)


def network_costs(covers: Sequence[Sequence[Option]]) -> Costs:
    """The costs of covers of all runs of a network."""
    return total([option for cover in covers for option in cover])


def least_peak(runs: Sequence[Run | Part], memory_limit: float | None = None) -> float:
    """The least peak of memory of any covers of all runs.

    Raises:
        NoCover: no options cover a run within the limit.
    """

    def spend(spent: Spent, move: Move) -> Spent:
        return spent[0] + move.rank, max(spent[1], move.costs.memory)

    peak = 0.0
    for index, run in enumerate(runs):
        ways = _ways(run, (0, 0), spend, memory_limit)
        if run.end_state not in ways:
            raise _no_cover(runs, index, memory_limit)
        peak = max(peak, ways[run.end_state].spent[1])
    return peak


def _cheapest(run: Run | Part, objective: Objective, best: Costs | None, limit: float | None) -> list[Option] | None:
    """The cover of a run that is best by what adds up, or None; what the objective says of memory is left out."""

    def spend(spent: Spent, move: Move) -> Spent:
        added = (move.rank, *objective.key(_without_memory(move.costs), best))
        return tuple(a + b for a, b in zip(spent, added, strict=True))

    nothing = (0, *(0 for _ in objective.key(Costs(), best)))
    ways = _ways(run, nothing, spend, limit)
    return _options_to(ways, run.end_state) if run.end_state in ways else None


def _ways(
    run: Run | Part, nothing: Spent, spend: Callable[[Spent, Move], Spent], limit: float | None
) -> dict[State, _Way]:
    """The best way to each state that can be reached; of equals the first.

    Args:
        run: what is to be covered.
        nothing: what has been spent at its beginning.
        spend: what has been spent after one more move.
        limit: of memory.
    """
    ways = {run.begin_state: _Way(nothing, None)}
    for move in run.moves:
        before = ways.get(move.begin)
        if before is None or (limit is not None and move.costs.memory > limit):
            continue
        spent = spend(before.spent, move)
        if move.end not in ways or spent < ways[move.end].spent:
            ways[move.end] = _Way(spent, move)
    return ways


def _options_to(ways: dict[State, _Way], end: State) -> list[Option]:
    moves = []
    while (move := ways[end].move) is not None:
        moves.append(move)
        end = move.begin
    return [option for move in reversed(moves) for option in move.options]


def _additive(
    runs: Sequence[Run | Part], objective: Objective, best: Costs | None, limit: float | None
) -> list[list[Option]]:
    covers = []
    for index, run in enumerate(runs):
        cover = _cheapest(run, objective, best, limit)
        if cover is None:
            raise _no_cover(runs, index, limit)
        covers.append(cover)
    return covers


def _by_peaks(runs: Sequence[Run | Part], objective: Objective, best: Costs, limit: float | None) -> list[list[Option]]:
    """The best covers where memory counts beside costs that add up: with each peak that can occur as the limit."""

    def judged(covers: list[list[Option]]) -> Spent:
        return sum(option.rank for cover in covers for option in cover), *objective.key(network_costs(covers), best)

    least = least_peak(runs, limit)
    peaks = {move.costs.memory for run in runs for move in run.moves}
    found = _additive(runs, objective, best, limit)
    unlimited = objective.weighted(_without_memory(network_costs(found)), best)
    for peak in sorted(peak for peak in peaks if peak >= least and (limit is None or peak <= limit)):
        covers = _additive(runs, objective, best, peak)
        if judged(covers) < judged(found):
            found = covers
        if unlimited + objective.weighted(Costs(memory=peak), best) > judged(found)[1]:
            break  # a higher peak saves less than it costs
    return found


def _without_memory(costs: Costs) -> Costs:
    return Costs(costs.latency, costs.traffic, costs.energy)


def _no_cover(runs: Sequence[Run | Part], index: int, limit: float | None) -> NoCover:
    """The error of a run that cannot be covered, with the peak that it would need if the limit is at fault."""
    (first, source), (last, sink) = runs[index].begin_state, runs[index].end_state
    nothing = NoCover(index, f"run {index}: nothing leads from stage {first} in {source} to stage {last} in {sink}")
    if limit is None:
        return nothing
    try:
        peak = least_peak([runs[index]])
    except NoCover:
        return nothing
    return NoCover(
        index, f"run {index}: takes at least {peak:,.0f} bytes of memory, {limit:,.0f} may be used; allow more"
    )
