"""Records of tuning that a test makes up."""

from __future__ import annotations

from collections.abc import Callable

from schedules.space import kernel_space
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.tuning.records import Record
from tvm_dwfuse.variants import VARIANTS

#: Gives the cost of a kernel from its block and variant's name, None where there is no record.
CostOf = Callable[[Block, str | None], float | None]


class FakeRecords:
    """Has a record of each kernel that ``cost_of`` has a cost of; its point is ``point_of`` the kernel's space."""

    def __init__(self, cost_of: CostOf, unit: str = "seconds", here: bool = True, default: bool = True) -> None:
        self.cost_of = cost_of
        self.unit = unit
        self.here = here
        self.default = default

    def find(
        self, block: Block, variant: str | None, machine: CpuTarget, threads: int = 1, source: Layout | None = None
    ) -> Record | None:
        cost = self.cost_of(block, variant)
        if cost is None:
            return None
        return Record(self.point(block, variant, machine, threads, source), cost, self.unit, "tuned (test)", self.here)

    def point(
        self, block: Block, variant: str | None, machine: CpuTarget, threads: int, source: Layout | None
    ) -> Point:
        """The default, or the first other one."""
        space = kernel_space(block, VARIANTS[variant] if variant else None, machine, threads, source)
        if self.default:
            return space.default
        return next((point for point in space.points() if point != space.default), space.default)
