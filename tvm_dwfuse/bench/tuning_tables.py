"""What every legal point of a kernel's space costs: what a search is judged by.

A table holds all that a search needs to be replayed without the machine: the space, the kernel and the costs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvm_dwfuse import zoo
from tvm_dwfuse.api import import_model
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.files import write_text
from tvm_dwfuse.space import Point
from tvm_dwfuse.targets import CpuTarget, get_cpu
from tvm_dwfuse.tuning.measure.local import LocalRunner
from tvm_dwfuse.tuning.scope import NetworkScope
from tvm_dwfuse.tuning.task import KernelTask

from .machine import describe_machine

#: All candidates are held in one process at a time, each with its operands.
_MOST_POINTS = 500


@dataclass(frozen=True)
class CostTable:
    """The cost of each legal point of a kernel, in seconds.

    ``knobs`` are the names of the values in ``default`` and in the keys of ``costs``; ``made_on`` tells of the machine
    in words, ``machine`` is what the kernel was compiled for.
    """

    block: Block
    variant: str | None
    machine: CpuTarget
    knobs: tuple[str, ...]
    default: tuple[int, ...]
    costs: dict[tuple[int, ...], float]
    made_on: dict[str, str]

    def cost(self, point: Point) -> float:
        """The cost of a legal point."""
        return self.costs[self.values(point)]

    def values(self, point: Point) -> tuple[int, ...]:
        """The values of a point in the order of ``knobs``."""
        return tuple(point[name] for name in self.knobs)

    def point(self, values: Sequence[int]) -> Point:
        """The point of these values."""
        return dict(zip(self.knobs, values, strict=True))

    def to_json(self) -> str:
        """One line for each point: its values, then nanoseconds."""
        head = {
            "made": "scripts/bench_tuning.py --enumerate",
            "made_on": self.made_on,
            "block": json.loads(self.block.to_json()),
            "variant": self.variant,
            "machine": asdict(self.machine),
            "knobs": self.knobs,
            "default": self.default,
        }
        rows = [json.dumps([*values, round(1e9 * seconds)]) for values, seconds in sorted(self.costs.items())]
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
        return "{" + ",\n".join([*lines, '"values_and_ns": [\n' + ",\n".join(rows) + "\n]"]) + "}\n"

    @staticmethod
    def from_json(text: str) -> CostTable:
        """The table that :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        machine = {**fields["machine"], "mattr": tuple(fields["machine"]["mattr"])}
        return CostTable(
            Block.from_json(json.dumps(fields["block"])),
            fields["variant"],
            CpuTarget(**machine),
            tuple(fields["knobs"]),
            tuple(fields["default"]),
            {tuple(values): nanoseconds / 1e9 for *values, nanoseconds in fields["values_and_ns"]},
            fields["made_on"],
        )


def find_task(network: str, name: str, target: str = "host") -> KernelTask:
    """The first task of the zoo network whose description is ``name``, such as ``pw 14x14 96-576``.

    Raises:
        DwfuseError: there is no such network, target or task.
    """
    scope = NetworkScope([import_model(zoo.build(network), None)], get_cpu(target))
    for task in scope.tasks:
        if isinstance(task, KernelTask) and task.describe() == name:
            return task
    raise DwfuseError(f"{network} has no kernel {name!r}; it has: {', '.join(each.describe() for each in scope.tasks)}")


def enumerate_costs(task: KernelTask, rounds: int = 25) -> CostTable:
    """Time all legal points of a task, in turn, that many times; the least time of each counts.

    The least, as what disturbs a measurement only ever adds to it, and the best point shall not be one that was
    disturbed less. Points that compute something else or fail in another way are no legal points.

    Raises:
        DwfuseError: there are too many points, or nothing can be measured.
    """
    points = list(task.space.points())
    if len(points) > _MOST_POINTS:
        raise DwfuseError(f"{task.describe()} has {len(points)} points; at most {_MOST_POINTS} can be timed in turn")
    runner = LocalRunner(limit_s=120.0)
    try:
        measured = runner.compare(task, points, rounds)
    finally:
        runner.close()
    costs = {tuple(point.values()): min(each.costs) for point, each in zip(points, measured, strict=True) if each.ok}
    default = tuple(task.space.default.values())
    return CostTable(
        task.block, task.variant, task.machine, tuple(task.space.choices), default, costs, describe_machine()
    )


def write_table(path: Path, table: CostTable) -> None:
    """Write a table as JSON.

    Raises:
        DwfuseError: the file cannot be written.
    """
    write_text(path, table.to_json())
