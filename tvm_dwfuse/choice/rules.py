"""Simpler ways to choose what is fused, to compare the exact choice with.

A rule says which stages are fused. What remains, layouts and the ways to compute single stages, is chosen as well as
can be for that, so that a rule is not blamed for what it does not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .costs import Costs, Objective
from .cover import best_covers
from .options import NoCover, Option, Run, total


def block_by_block(run: Run, objective: Objective, best: Costs | None = None) -> list[Option]:
    """The cover of a run that takes for each block what is best for itself.

    It stands for the post-processing of Daghero et al. 2024, whose code is not public: walking the network, the
    fusion that gains most over the same stages unfused is taken, if there is one that gains at all, and the walk goes
    on behind it. What that means for the stages after it is not considered; a fusion that does not fit those around
    it, as its layouts are other ones, is given up.

    Args:
        run: the stages and their options; those of a single stage are the unfused ones.
        objective, best: what is judged by; see :meth:`Objective.key`.

    Raises:
        NoCover: no options cover the run.
    """
    taken = []
    at = 0
    while at < run.length:
        gains = [(_gain(run, option, objective, best), option) for option in _fusions(run, at)]
        gaining = [(gain, option) for gain, option in gains if gain > 0]
        if gaining:
            taken.append(max(gaining, key=lambda each: each[0])[1])
        at = taken[-1].last if gaining else at + 1
    return _with_fusions(run, lambda option: any(option is each for each in taken), objective, best)


def fuse_everything(run: Run, objective: Objective, best: Costs | None = None) -> list[Option]:
    """The cover of a run that fuses as many stages as it can, wherever it can, from the first stage on.

    Args, Raises: see :func:`block_by_block`.
    """
    taken = set()
    at = 0
    while at < run.length:
        last = max((option.last for option in _fusions(run, at)), default=at + 1)
        taken.add((at, last))
        at = last
    return _with_fusions(run, lambda option: (option.first, option.last) in taken, objective, best)


def fuse_nothing(run: Run, objective: Objective, best: Costs | None = None) -> list[Option]:
    """The best cover of a run by options of a single stage.

    Args, Raises: see :func:`block_by_block`.
    """
    return best_covers([run.unfused()], objective, best=best)[0]


def _fusions(run: Run, first: int) -> Iterator[Option]:
    return (option for option in run.options if option.first == first and option.stages > 1)


def _gain(run: Run, fused: Option, objective: Objective, best: Costs | None) -> float:
    """What a fusion saves over the same stages unfused between the same layouts; 0 if these cannot be had."""
    part = run.unfused((fused.first, fused.source), (fused.last, fused.sink))
    try:
        (rival,) = best_covers([part], objective, best=best)
    except NoCover:
        return 0.0
    return objective.key(total(rival), best)[0] - objective.key(fused.costs, best)[0]


def _with_fusions(run: Run, wanted: Callable[[Option], bool], objective: Objective, best: Costs | None) -> list[Option]:
    """The best cover with as many of the wanted fusions as possible, and others only where it cannot do without."""
    ranked = [
        replace(option, rank=-1 if wanted(option) else 1) if option.stages > 1 else option for option in run.options
    ]
    original = {id(new): old for new, old in zip(ranked, run.options, strict=True)}
    (cover,) = best_covers([Run(run.length, tuple(ranked), run.start, run.end)], objective, best=best)
    return [original[id(option)] for option in cover]
