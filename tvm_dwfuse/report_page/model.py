"""What the report of a build shows, as plain data: where it comes from and how it is drawn stand elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

#: Kinds of layers in the picture of the network.
LAYER_KINDS = ("pw", "dw", "conv", "dense", "add", "pool", "other")

#: Kinds of buffers, in the order in which they are stacked.
BUFFER_KINDS = ("input", "between stages", "output", "constants", "scratch")


@dataclass(frozen=True)
class Unit:
    """What a cost is in: ``name`` as shown, and how many of that one stored unit is."""

    name: str
    factor: float = 1.0
    decimals: int = 0

    def text(self, cost: float) -> str:
        """``1,266,995`` or ``0.123``, without the name."""
        return f"{cost * self.factor:,.{self.decimals}f}".replace("-", "\N{MINUS SIGN}")


def signed(number: int) -> str:
    """``+1,234``, with a minus sign as long as the plus."""
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}")


def origins(names: Iterable[str]) -> str:
    """Where knobs come from, counted: ``9 tuned (db/), 3 default``."""
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())


def percent(ratio: float, decimals: int = 1) -> str:
    """A change as ``+4.2%`` or ``0.0%``, with a minus sign as long as the plus."""
    text = f"{100 * ratio:+.{decimals}f}%"
    if not round(100 * ratio, decimals):
        return text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


CYCLES = Unit("cycles")
MICROSECONDS = Unit("us", 1e6, 1)


@dataclass(frozen=True)
class Layer:
    """One layer of a block; ``kind`` is one of :data:`LAYER_KINDS`, ``size`` its kernel and channels in words."""

    name: str
    kind: str
    size: str = ""


@dataclass(frozen=True)
class Buffer:
    """Bytes that a block keeps in the memory it computes in; ``kind`` is one of :data:`BUFFER_KINDS`."""

    name: str
    kind: str
    bytes: int


@dataclass(frozen=True)
class Rival:
    """Another way to compute some layers, and how what was chosen for the same layers compares.

    Args:
        name: its variants, or "unfused".
        layers: names of the layers, which may reach beyond those of the block that it is a rival of.
        cost: of the rival, in the build's unit; ``chosen`` of what was chosen.
        moved: bytes of activations of the rival; ``chosen_moved`` of what was chosen.
    """

    name: str
    layers: tuple[str, ...]
    cost: float
    chosen: float
    moved: int
    chosen_moved: int

    @property
    def extra(self) -> float:
        """What it would add to the cost of the network."""
        return self.cost - self.chosen

    @property
    def extra_moved(self) -> int:
        """What it would add to the bytes moved."""
        return self.moved - self.chosen_moved


@dataclass(frozen=True)
class Limit:
    """The size of a memory, which buffers should not exceed."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Block:
    """Layers computed together, or a single layer.

    Args:
        name: unique in the build.
        layers: in order of execution.
        variant: as chosen; "unfused" for a single layer.
        reads, writes: names of activations.
        cost: in the build's unit.
        unfused: the same layers one by one, where that is not what was chosen and its cost is known.
        runner_up: the best of what was not chosen.
        moved: bytes by one of the build's ``levels``.
        buffers: in the memory that it computes in.
        tile: the knobs in words.
        origin: where the knobs come from, such as "tuned (db/)".
        measured: seconds, where it was profiled.
    """

    name: str
    layers: tuple[Layer, ...]
    variant: str
    reads: tuple[str, ...]
    writes: str
    cost: float
    unfused: Rival | None = None
    runner_up: Rival | None = None
    moved: Mapping[str, int] = field(default_factory=dict)
    buffers: tuple[Buffer, ...] = ()
    tile: str = ""
    origin: str = ""
    measured: float | None = None

    @property
    def fused(self) -> bool:
        """Whether several layers became one."""
        return len(self.layers) > 1

    @property
    def moved_bytes(self) -> int:
        """All bytes moved."""
        return sum(self.moved.values())

    @property
    def buffer_bytes(self) -> int:
        """All bytes kept."""
        return sum(buffer.bytes for buffer in self.buffers)

    def bytes_of(self, kind: str) -> int:
        """Bytes of the buffers of that kind."""
        return sum(buffer.bytes for buffer in self.buffers if buffer.kind == kind)


@dataclass(frozen=True)
class Trial:
    """One candidate that was measured: its cost, None if it failed."""

    cost: float | None


@dataclass(frozen=True)
class Curve:
    """How the tuning of one kernel went. ``unit`` is that of the costs."""

    name: str
    unit: Unit
    trials: tuple[Trial, ...]

    @cached_property
    def best(self) -> tuple[float | None, ...]:
        """The least cost after each trial; None before the first that did not fail."""
        found: float | None = None
        best = []
        for trial in self.trials:
            if trial.cost is not None:
                found = trial.cost if found is None else min(found, trial.cost)
            best.append(found)
        return tuple(best)

    @property
    def first(self) -> float | None:
        """The cost of the first trial that did not fail: the default's, which is measured first."""
        return next((trial.cost for trial in self.trials if trial.cost is not None), None)

    @property
    def failures(self) -> int:
        """Trials that failed."""
        return sum(trial.cost is None for trial in self.trials)


@dataclass(frozen=True)
class Operator:
    """What a profile measured: milliseconds of a run spent in all calls of a kernel."""

    name: str
    calls: int
    milliseconds: float


@dataclass(frozen=True)
class Total:
    """What a whole network costs when fused in some way; ``moved`` is in bytes of activations."""

    name: str
    cost: float
    moved: int


@dataclass(frozen=True)
class Build:
    """A compiled network.

    Args:
        model, target, objective: as compiled; ``objective`` may be "".
        unit: of the costs of blocks.
        source: where the costs come from, such as "the cost model".
        levels: between which memories bytes are moved: the keys of ``Block.moved``, in the order of stacking. The first
            is that of activations, by which rivals and totals are compared.
        limits: sizes of the memories, smallest first.
        totals: of the network as chosen, first, and of others to compare with.
        facts: label and value, for the head of the page.
        curves: of the kernels that were tuned.
        other_tasks: that were tuned for the machine, but are not in the build.
        operators: as measured, slowest first; none if the build was not profiled.
        caveat: what is left out of the comparison with others.
        missing: what the page cannot show, and how to get it.
    """

    model: str
    target: str
    objective: str
    unit: Unit
    source: str
    levels: tuple[str, ...]
    limits: tuple[Limit, ...]
    blocks: tuple[Block, ...]
    totals: tuple[Total, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    curves: tuple[Curve, ...] = ()
    other_tasks: int = 0
    operators: tuple[Operator, ...] = ()
    caveat: str = ""
    missing: tuple[str, ...] = ()

    @property
    def fused(self) -> tuple[Block, ...]:
        """The blocks of several layers."""
        return tuple(block for block in self.blocks if block.fused)
