"""What can be chosen about a kernel, as a space to search: every kernel that ``build_kernel`` writes has one.

A point has the fields of :class:`~schedules.Knobs` by name: ``depth``, ``unroll`` and ``parallel``, then ``rows<i>``,
``pixels<i>``, ``channels<i>`` and ``lanes<i>`` of the register tile of stage i. What a family of kernels does not let
choose has one choice, that of the default.
"""

from __future__ import annotations

from dataclasses import asdict, fields

from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant

from . import by_lane, depthwise_block, generic_space
from .build import worthwhile_threads
from .knobs import default_knobs
from .tile import Freedom, Knobs, Tile


def kernel_space(
    block: Block, variant: Variant | None, target: CpuTarget, threads: int = 1, source: Layout | None = None
) -> Space:
    """All points that :func:`schedules.build_kernel` takes for these arguments and that may be worth a try.

    The default is that of :func:`schedules.default_knobs`, and always one of them.
    """
    threads = worthwhile_threads(block, threads)
    default = default_knobs(block, variant, target, threads, source)
    freedom = _freedom(block, variant, target, threads, source, default)
    start = point_of(default)

    def legal(point: Point) -> bool:
        return point == start or freedom.fits(knobs_of(len(block.stages), point))

    choices = {name: tuple(sorted({value, *freedom.choices.get(name, ())})) for name, value in start.items()}
    return Space(choices, start, legal)


def _freedom(
    block: Block, variant: Variant | None, target: CpuTarget, threads: int, source: Layout | None, default: Knobs
) -> Freedom:
    """That of the family which computes the block: the same cases, in the same order, as in ``build_kernel``."""
    if by_lane.computes(block, variant, target, source):
        return by_lane.freedom(block, target, default)
    if depthwise_block.computes(block, source):
        return depthwise_block.freedom(block, target)
    return generic_space.freedom(block, variant, target, threads, source, default)


def knobs_at(
    block: Block,
    variant: Variant | None,
    target: CpuTarget,
    point: Point,
    threads: int = 1,
    source: Layout | None = None,
) -> Knobs:
    """The knobs of a point of :func:`kernel_space`.

    Raises:
        ValueError: the point is not one of that space.
    """
    if not kernel_space(block, variant, target, threads, source).contains(point):
        raise ValueError(f"not a point of the {block.order} kernel's space: {point}")
    return knobs_of(len(block.stages), point)


def knobs_of(stages: int, point: Point) -> Knobs:
    """The knobs that a point of a block of so many stages stands for, in whatever space."""
    names = [field.name for field in fields(Tile)]
    tiles = tuple(Tile(**{name: point[f"{name}{i}"] for name in names}) for i in range(stages))
    return Knobs(point["depth"], tiles, point["unroll"], point["parallel"])


def point_of(knobs: Knobs) -> Point:
    """The point that has these knobs."""
    point = {"depth": knobs.depth, "unroll": knobs.unroll, "parallel": knobs.parallel}
    for i, tile in enumerate(knobs.tiles):
        point |= {f"{name}{i}": value for name, value in asdict(tile).items()}
    return point
