"""A kernel to tune: its key in the database, its space of knobs, and what the cost model learns from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Protocol

from schedules.space import kernel_space, knobs_at
from schedules.tile import Knobs
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import VARIANTS, Variant

from .features import kernel_features


class Task(Protocol):
    """What the search, the runners and the database know of a task, be it for a CPU or for a cluster."""

    @property
    def key(self) -> str:
        """The task in the database: JSON with sorted names."""

    @property
    def space(self) -> Space:
        """What can be chosen."""

    def features(self, point: Point) -> list[float]:
        """What the cost model learns from; as many numbers for every point of every task of that class."""

    def describe(self) -> str:
        """A short name for people."""


def canonical_key(fields: dict[str, object]) -> str:
    """The text of a key: sorted, without spaces, so that equal tasks have equal keys."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class KernelTask:
    """A kernel of a CPU.

    ``variant`` is a name of :data:`VARIANTS`, or None for a block of one stage; ``source`` the layout of the input
    where it is not the block's; ``unit`` what its costs are measured in.
    """

    block: Block
    variant: str | None
    source: Layout | None
    machine: CpuTarget
    threads: int = 1
    unit: str = "seconds"

    @cached_property
    def key(self) -> str:
        """CPU, instruction set, threads, variant, shape, data type and unit of costs."""
        machine = self.machine
        return canonical_key(
            {
                "cpu": machine.mcpu,
                "isa": isa(machine),
                "threads": self.threads,
                "variant": self.variant or self.block.order,
                "source": self.source,
                "dtype": self.block.dtype,
                "shape": asdict(self.block),
                "unit": self.unit,
            }
        )

    @cached_property
    def space(self) -> Space:
        """The knobs of the kernel's schedule."""
        return kernel_space(self.block, self.fused_variant, self.machine, self.threads, self.source)

    @property
    def fused_variant(self) -> Variant | None:
        """The variant itself."""
        return VARIANTS[self.variant] if self.variant else None

    def knobs(self, point: Point) -> Knobs:
        """The knobs that ``build_kernel`` takes."""
        return knobs_at(self.block, self.fused_variant, self.machine, point, self.threads, self.source)

    def describe(self) -> str:
        """Such as ``dwpw_hwc_hwc_hwc_rows 56x56 64-64-128``."""
        block = self.block
        channels = "-".join(str(count) for count in (block.stages[0].in_channels, *_outputs(block)))
        batch = f" x{block.batch}" if block.batch > 1 else ""
        return f"{self.variant or block.order} {block.height}x{block.width} {channels}{batch}"

    def features(self, point: Point) -> list[float]:
        """See :func:`~tvm_dwfuse.tuning.features.kernel_features`."""
        return kernel_features(self.block, self.variant, self.machine, point)


def isa(machine: CpuTarget) -> str:
    """What a kernel's tile depends on most: architecture, float32 lanes of a vector and number of registers."""
    return f"{machine.arch}/{machine.lanes}x{machine.registers}"


def _outputs(block: Block) -> Iterator[int]:
    return (stage.out_channels for stage in block.stages)
