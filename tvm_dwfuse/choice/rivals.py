"""What else could have been chosen: for the same stages, and for the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .costs import Costs, Objective
from .cover import best_covers
from .options import NoCover, Option, Part, Run, total

UNFUSED = "unfused"


@dataclass(frozen=True)
class Alternative:
    """Another way to compute some stages: ``name`` is a variant's, or "unfused"."""

    name: str
    costs: Costs
    options: tuple[Option, ...]


@dataclass(frozen=True)
class RunnerUp:
    """How a cover differs from the chosen one: ``options`` in place of ``chosen``; both compute the same stages."""

    options: tuple[Option, ...]
    chosen: tuple[Option, ...]


def alternatives(run: Run, chosen: Option, objective: Objective, best: Costs | None = None) -> list[Alternative]:
    """The ways to compute the stages of ``chosen`` between the same layouts, itself included, the best first.

    There is one for each name of an option, its best; and "unfused", the best by options of a single stage, where
    they lead from the one layout to the other.

    Args:
        run: of which ``chosen`` is an option.
        chosen: computes at least one stage.
        objective, best: what is judged by; see :meth:`Objective.key`.
    """
    ends = (chosen.first, chosen.last, chosen.source, chosen.sink)
    found: dict[str, tuple[Option, ...]] = {chosen.name: (chosen,)}
    same = [option for option in run.options if (option.first, option.last, option.source, option.sink) == ends]
    for option in sorted(same, key=lambda option: objective.key(option.costs, best)):
        found.setdefault(option.name, (option,))
    if chosen.stages > 1:
        part = run.unfused((chosen.first, chosen.source), (chosen.last, chosen.sink))
        for cover in _covers(part, objective, best):
            found[UNFUSED] = tuple(cover)
    ways = [Alternative(name, total(options), options) for name, options in found.items()]
    return sorted(ways, key=lambda way: objective.key(way.costs, best))


def runner_up(
    run: Run, chosen: Option, objective: Objective, best: Costs | None = None, memory_limit: float | None = None
) -> list[Option] | None:
    """The best cover of a run in which the stages of ``chosen`` are not computed together by an option of its name.

    Args:
        run: of which ``chosen`` is an option.
        chosen: what must not be taken.
        objective, best, memory_limit: see :func:`~tvm_dwfuse.choice.best_covers`.

    Returns: None where there is no other cover.
    """
    forbidden = (chosen.first, chosen.last, chosen.name)
    rest = tuple(option for option in run.options if (option.first, option.last, option.name) != forbidden)
    return next(_covers(Run(run.length, rest, run.start, run.end), objective, best, memory_limit), None)


def difference(cover: Sequence[Option], other: Sequence[Option]) -> RunnerUp:
    """What ``other`` does in place of some options of ``cover``."""
    return RunnerUp(_without(other, cover), _without(cover, other))


def _without(options: Sequence[Option], others: Sequence[Option]) -> tuple[Option, ...]:
    known = {id(option) for option in others}
    return tuple(option for option in options if id(option) not in known)


def _covers(
    run: Run | Part, objective: Objective, best: Costs | None, memory_limit: float | None = None
) -> Iterator[list[Option]]:
    """The best cover, if there is one."""
    try:
        yield from best_covers([run], objective, memory_limit, best)
    except NoCover:
        return
