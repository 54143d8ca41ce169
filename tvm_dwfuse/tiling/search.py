"""The search for the best plan of a group of layers: every tile that fits L1 and the DMA, judged by the cost model.

Tiles are those that cut rows, channels or weights in a number of equal parts, the number from a list that grows
thinner. More double buffers never cost cycles, so of the choices of them only the largest that fit are judged; so is
of the tiles of streamed weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import Literal, TypeVar

import numpy as np

from ..blocks import Conv
from ..choice.pareto_front import nondominated
from ..codegen_gap8.kernels.scratch import round_up
from ..targets.gap8 import ClusterTarget
from ..variants import VARIANTS
from .balance import TILE
from .chain import Chain, Tile, is_depthwise, weight_row
from .cost import Cost, Plan, cost
from .elementwise import AddPlan, PoolPlan

Traversal = Literal["rows", "channels", "any"]

#: What the plan of one group can be chosen for.
PlanObjective = Literal["latency", "traffic", "energy"]

_Elementwise = TypeVar("_Elementwise", AddPlan, PoolPlan)

#: Numbers of parts tried, where that many leave a part at least one unit.
_PARTS = (*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 192, 256, 512, 1024)
#: Steps x blocks beyond which a tiling is no longer considered, unless every row is a step: control outweighs the rest.
_MOST_ITERATIONS = 512
#: Tiles of streamed weights judged for each choice of the other knobs, the largest ones that fit.
_WEIGHT_TILES = 3
#: Part of L2 that the constants of one call may take; the rest is for activations and for the next call's constants.
CONSTANTS_SHARE = 0.7


def objective_key(cost: Cost, objective: PlanObjective) -> tuple[int, ...]:
    """What the objective minimises, then what decides between equals."""
    if objective == "latency":
        return cost.cycles, cost.activation_bytes
    if objective == "energy":
        return cost.energy, cost.cycles, cost.activation_bytes
    return cost.activation_bytes, cost.cycles


@cache
def best_chain(
    stages: tuple[Conv, ...],
    height: int,
    width: int,
    layouts: tuple[str, ...],
    target: ClusterTarget,
    objective: PlanObjective = "latency",
    traversal: Traversal = "any",
    double_buffer: bool = True,
    dma_transposes: bool = False,
    most_rows: int | None = None,
) -> Chain | None:
    """The best plan of a chain of convolutions, or None where no tile of it fits L1.

    Args:
        stages, height, width, layouts, dma_transposes: as of :class:`Chain`.
        target, objective: the machine, and what to minimise.
        traversal: "rows" walks all channels by steps of rows, "channels" blocks of channels in one step of all
            rows, "any" whatever is best.
        double_buffer: whether transfers may run beside kernels.
        most_rows: rows of the output in a step, at most.
    """
    fitting = _fitting_plans(stages, height, width, layouts, target, traversal, double_buffer, dma_transposes)
    best = min(_within(most_rows, fitting), key=lambda each: objective_key(each[1], objective), default=None)
    return best[0] if best else None


@cache
def chain_front(
    stages: tuple[Conv, ...],
    height: int,
    width: int,
    layouts: tuple[str, ...],
    target: ClusterTarget,
    traversal: Traversal = "any",
    double_buffer: bool = True,
    dma_transposes: bool = False,
    most_rows: int | None = None,
) -> tuple[Chain, ...]:
    """The plans that no other one is better than in cycles, bytes of activations and energy at once, fastest first.

    Args: see :func:`best_chain`.
    """
    fitting = _fitting_plans(stages, height, width, layouts, target, traversal, double_buffer, dma_transposes)
    judged = _within(most_rows, fitting)
    if not judged:
        return ()
    costs = [(cost.cycles, cost.activation_bytes, cost.energy) for _, cost in judged]
    return tuple(judged[index][0] for index in nondominated(np.array(costs)))


def _within(most_rows: int | None, plans: Sequence[tuple[Chain, Cost]]) -> list[tuple[Chain, Cost]]:
    """The plans with at most so many rows of the output in a step."""
    return [each for each in plans if most_rows is None or each[0].tile.rows <= most_rows]


@cache
def _fitting_plans(
    stages: tuple[Conv, ...],
    height: int,
    width: int,
    layouts: tuple[str, ...],
    target: ClusterTarget,
    traversal: Traversal,
    double_buffer: bool,
    dma_transposes: bool,
) -> tuple[tuple[Chain, Cost], ...]:
    """The plans that are judged, with their costs, whatever the objective."""
    chain = _untiled(stages, height, width, layouts, target, dma_transposes)
    return tuple((plan, cost(plan, target)) for plan in _fitting(chain, traversal, double_buffer, target))


@cache
def smallest_l1(
    stages: tuple[Conv, ...],
    height: int,
    width: int,
    layouts: tuple[str, ...],
    target: ClusterTarget,
    traversal: Traversal = "any",
    dma_transposes: bool = False,
) -> int:
    """Bytes of L1 that the smallest tile of a chain needs."""
    chain = _untiled(stages, height, width, layouts, target, dma_transposes)
    tiles = (replace(chain, tile=tile) for shape in _shapes(chain, traversal) for tile in _weight_tiles(chain, *shape))
    return min(_single(plan).l1_bytes for plan in tiles)


@cache
def best_add(
    elements: int, target: ClusterTarget, objective: PlanObjective, double_buffer: bool = True
) -> AddPlan | None:
    """The best plan of a sum, or None where not even four elements fit."""
    chunks = sorted({_part(elements, parts, TILE) for parts in _PARTS})
    plans = [AddPlan(elements, chunk, double, target.cores) for chunk in chunks for double in {double_buffer, False}]
    return _best_fitting(plans, target, objective)


@cache
def best_pool(
    height: int,
    width: int,
    channels: int,
    layout: str,
    target: ClusterTarget,
    objective: PlanObjective,
    double_buffer: bool = True,
) -> PoolPlan | None:
    """The best plan of a global average pool, or None where not even four channels fit."""
    tiles = sorted({_part(channels, parts, TILE) for parts in _PARTS})
    plans = [
        PoolPlan(height, width, channels, layout, tile, double, target.cores)
        for tile in tiles
        for double in {double_buffer, False}
    ]
    return _best_fitting(plans, target, objective)


def _best_fitting(
    plans: Sequence[_Elementwise], target: ClusterTarget, objective: PlanObjective
) -> _Elementwise | None:
    fitting = [plan for plan in plans if fits(plan, target)]
    return min(fitting, key=lambda plan: objective_key(cost(plan, target), objective), default=None)


def fits(plan: Plan, target: ClusterTarget) -> bool:
    """Whether L1 holds the buffers, the DMA moves each of their slots in one transfer, and L2 holds the constants."""
    if plan.l1_bytes > target.l1_bytes:
        return False
    if isinstance(plan, Chain) and call_constants(plan) > target.l2_bytes * CONSTANTS_SHARE:
        return False
    if target.l1_bytes <= target.dma_max_bytes:
        return True
    sizes = (
        buffer.bytes // buffer.slots for buffer in plan.buffers if not buffer.name.startswith(("l1_m", "l1_scratch"))
    )
    return max(sizes) <= target.dma_max_bytes


def traversal_of(variant: str) -> Traversal:
    """The traversal that a variant's name ends in; "any" for a single layer."""
    if variant not in VARIANTS:
        return "any"
    return "rows" if VARIANTS[variant].traversal == "rows" else "channels"


def few_iterations(steps: int, blocks: int) -> bool:
    """Whether a walk of so many steps and blocks is considered at all."""
    return steps * blocks <= _MOST_ITERATIONS or 1 in (steps, blocks)


def call_constants(chain: Chain) -> int:
    """Bytes of constants that the smallest call needs in L2: those of one block of channels."""
    rows = (chain.l1_channels(i + 1) * (weight_row(stage) + 8) for i, stage in enumerate(chain.stages))
    return sum(rows)


# --- chains -------------------------------------------------------------------------------------------------------


def _untiled(
    stages: tuple[Conv, ...],
    height: int,
    width: int,
    layouts: tuple[str, ...],
    target: ClusterTarget,
    dma_transposes: bool,
) -> Chain:
    whole = Tile(1, stages[-1].out_channels, tuple(stage.out_channels for stage in stages))
    return Chain(stages, height, width, layouts, whole, target.cores, dma_transposes)


def _fitting(chain: Chain, traversal: Traversal, double_buffer: bool, target: ClusterTarget) -> Iterator[Chain]:
    """The plans that fit, without those that others of them surpass."""
    for rows, channels in _shapes(chain, traversal):
        for weights_of_first in _grouped(_weight_tiles(chain, rows, channels)):
            fitting = []
            for tile in weights_of_first:
                plan = replace(chain, tile=tile)
                if not fits(_single(plan), target):
                    break
                fitting.append(plan)
            for plan in fitting[-_WEIGHT_TILES:]:
                yield from _largest_doubles(plan, target) if double_buffer else (_single(plan),)


def _shapes(chain: Chain, traversal: Traversal) -> Iterator[tuple[int, int]]:
    """(rows, channels) of a step and a block, to try."""
    all_rows, all_channels = chain.out_rows, chain.tensor_channels[-1]
    blocked = chain.can_block and traversal != "rows"
    channel_parts = _PARTS if blocked else (1,)
    row_parts = (1,) if traversal == "channels" else (*_PARTS, all_rows)
    for rows in sorted({_part(all_rows, parts, 1) for parts in row_parts}):
        for channels in sorted({_part(all_channels, parts, TILE) for parts in channel_parts}):
            steps, blocks = -(-all_rows // rows), -(-all_channels // channels)
            if few_iterations(steps, blocks):
                yield rows, channels


def _weight_tiles(chain: Chain, rows: int, channels: int) -> Iterator[Tile]:
    """Tiles of that shape, by ascending weights; weights are streamed only where there is one block."""
    if channels < chain.tensor_channels[-1]:
        yield Tile(rows, channels, (channels,) * len(chain.stages))
        return
    options = []
    for stage in chain.stages:
        parts = (1,) if is_depthwise(stage) else _PARTS
        options.append(sorted({_part(stage.out_channels, number, TILE) for number in parts}))
    for weights in product(*options):
        yield Tile(rows, channels, weights)


def _grouped(tiles: Iterator[Tile]) -> Iterator[list[Tile]]:
    """Tiles that differ in the last streamed stage's weights alone, so that each needs more L1 than the one before."""
    groups: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles:
        groups.setdefault(tile.weights[:-1] if len(tile.weights) > 1 else (), []).append(tile)
    yield from groups.values()


def _single(chain: Chain) -> Chain:
    """The plan without double buffers."""
    return replace(chain, tile=replace(chain.tile, double_x=False, double_y=False, double_w=False))


def _largest_doubles(chain: Chain, target: ClusterTarget) -> list[Chain]:
    """The plan with the largest choices of double buffers that fit; those that would change nothing are left out."""
    names = useful_doubles(chain)
    fitting: list[tuple[set[str], Chain]] = []
    for number in range(len(names), -1, -1):
        for chosen in map(set, combinations(names, number)):
            if any(chosen <= larger for larger, _ in fitting):
                continue
            tile = replace(chain.tile, double_x="x" in chosen, double_y="y" in chosen, double_w="w" in chosen)
            plan = replace(chain, tile=tile)
            if fits(plan, target):
                fitting.append((chosen, plan))
    return [plan for _, plan in fitting]


def useful_doubles(chain: Chain) -> list[str]:
    """Which of "x", "y" and "w" a second buffer changes anything for."""
    several = chain.steps * chain.blocks > 1
    streams = any(chain.streams_weights(i) for i in range(len(chain.stages)))
    useful = {"x": several and not chain.input_resident, "y": several, "w": chain.blocks > 1 or streams}
    return [name for name, use in useful.items() if use]


def _part(whole: int, parts: int, unit: int) -> int:
    """The size of each of that many parts, but the last, in whole units."""
    return min(whole, round_up(-(-whole // parts), unit))
