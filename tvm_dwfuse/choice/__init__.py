"""The exact choice of what is fused, from the costs of the ways to compute each part of a network.

Nothing here knows of TVM or of a machine. A network falls into runs of stages that follow each other; an option
computes some of them together, reads one layout and writes another. :func:`best_covers` finds the best options,
:func:`front` all that may be the best for somebody, :mod:`.rules` what simpler ways of choosing come to.
"""

from .costs import METRICS, Costs, Objective
from .cover import best_cover, best_covers, best_values, least_peak, network_costs
from .options import NoCover, Option, Run, total
from .pareto_front import Front, front, pareto
from .rivals import Alternative, RunnerUp, alternatives, difference, runner_up
from .rules import block_by_block, fuse_everything, fuse_nothing

__all__ = [
    "METRICS",
    "Alternative",
    "Costs",
    "Front",
    "NoCover",
    "Objective",
    "Option",
    "Run",
    "RunnerUp",
    "alternatives",
    "best_cover",
    "best_covers",
    "best_values",
    "block_by_block",
    "difference",
    "front",
    "fuse_everything",
    "fuse_nothing",
    "least_peak",
    "network_costs",
    "pareto",
    "runner_up",
    "total",
]
