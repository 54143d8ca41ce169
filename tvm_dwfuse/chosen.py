"""What was chosen for a network on a CPU, and what else could have been: part of an artifact's manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .choice.costs import Costs, Objective

#: How each metric is told: the unit, and how many of it make one of what costs are counted in.
_SHOWN = {"latency": ("us", 1e6), "traffic": ("kB", 1e-3), "energy": ("uJ", 1e6), "memory": ("kB", 1e-3)}


@dataclass(frozen=True)
class RunnerUp:
    """The next best that could have been taken in the place of a kernel.

    Attributes:
        options: variants, or orders of single stages, of what would be taken instead.
        layers: the convolutions that these compute; perhaps more than the kernel's.
        costs: of the options.
        chosen: costs of what was chosen for the same layers.
    """

    options: tuple[str, ...]
    layers: tuple[str, ...]
    costs: Costs
    chosen: Costs


@dataclass(frozen=True)
class Step:
    """A kernel of a network; costs are in seconds, bytes, joules and bytes.

    Attributes:
        kernel: its name in the library, which a profile shows.
        layers: the variables of the Relax module that its convolutions are bound to.
        block: what it computes, the fields of :class:`~tvm_dwfuse.blocks.Block`.
        inputs: the steps whose results it reads, at once or through other operators; -1 for an input of the network.
        variant: None for a single stage.
        source: layout of its input, where that is not the block's.
        knobs: it was built with, by name.
        origin: where these come from, "default" if nobody has tuned it.
        measured: whether the latency is that of a tuning record, and no estimate.
        costs: memory is that of all activations alive while it runs.
        intermediate_bytes: that one step of its schedule keeps between its stages.
        unfused: costs of its layers alone, one after the other; None for a single stage.
        runner_up: None where there was no other way.
    """

    kernel: str
    layers: tuple[str, ...]
    block: dict[str, Any]
    inputs: tuple[int, ...]
    variant: str | None
    source: str | None
    knobs: dict[str, int]
    origin: str
    measured: bool
    costs: Costs
    intermediate_bytes: int
    unfused: Costs | None = None
    runner_up: RunnerUp | None = None

    def describe(self, objective: Objective) -> str:
        """One line: knobs and where they come from, what it costs, and what the runner-up would."""
        knobs = " ".join(f"{name}={value}" for name, value in self.knobs.items())
        text = f"knobs {self.origin}: {knobs}; {_told(self.costs, objective)}"
        text += " measured" if self.measured and objective.weight("latency") else " estimated"
        return f"{text}; {self._rival(objective)}"

    def _rival(self, objective: Objective) -> str:
        if self.runner_up is None:
            return "no other way"
        other = self.runner_up
        told = f"runner-up {' + '.join(other.options)}: {_told(other.costs, objective)}"
        if len(other.layers) == len(self.layers):
            return told
        return f"{told} with {', '.join(name for name in other.layers if name not in self.layers)}, " + (
            f"against {_told(other.chosen, objective)}"
        )


@dataclass(frozen=True)
class Choice:
    """All that was chosen for a network.

    Attributes:
        objective: what was minimised, as :meth:`Objective.parse` reads it.
        rule: "cheapest", or the fixed rule that was followed.
        costs: of all steps: sums, but of memory the largest.
        unfused: the same, were every layer computed alone.
        fused: the same, were all blocks fused that the default rule takes.
        steps: in the order in which they run.
        l1_bytes, l2_bytes: the caches of a core.
        unit: of latency.
    """

    objective: str
    rule: str
    costs: Costs
    unfused: Costs
    fused: Costs
    steps: tuple[Step, ...]
    l1_bytes: int
    l2_bytes: int
    unit: str = "seconds"

    @property
    def tuned(self) -> int:
        """The number of steps that have tuned knobs."""
        return sum(step.origin != "default" for step in self.steps)

    def summary(self) -> str:
        """Two lines: how many kernels are tuned, and what everything costs against fusing nothing and everything."""
        objective = Objective.parse(self.objective)
        told = [_told(costs, objective) for costs in (self.costs, self.unfused, self.fused)]
        return (
            f"kernels: {len(self.steps)}, {self.tuned} of them tuned; chosen: {self.rule}, objective {self.objective}\n"
            f"convolutions and dense layers: {told[0]}; all unfused {told[1]}, all fused {told[2]}"
        )

    @staticmethod
    def from_fields(fields: dict[str, Any]) -> Choice:
        """The choice of which ``fields`` are what JSON has left of :func:`dataclasses.asdict`.

        Raises:
            KeyError, TypeError: they are not.
        """
        costs = {name: Costs(**fields[name]) for name in ("costs", "unfused", "fused")}
        return Choice(**{**fields, **costs, "steps": tuple(_step(step) for step in fields["steps"])})


def _step(fields: dict[str, Any]) -> Step:
    lists = {name: tuple(fields[name]) for name in ("layers", "inputs")}
    unfused, other = fields["unfused"], fields["runner_up"]
    return Step(
        **{
            **fields,
            **lists,
            "costs": Costs(**fields["costs"]),
            "unfused": Costs(**unfused) if unfused else None,
            "runner_up": _runner_up(other) if other else None,
        }
    )


def _runner_up(fields: dict[str, Any]) -> RunnerUp:
    options, layers = (tuple(fields[name]) for name in ("options", "layers"))
    return RunnerUp(options, layers, Costs(**fields["costs"]), Costs(**fields["chosen"]))


def _told(costs: Costs, objective: Objective) -> str:
    """The metrics that count, each with its unit."""
    names = [name for name, _ in objective.weights]
    return " ".join(f"{getattr(costs, name) * _SHOWN[name][1]:,.1f} {_unit(name, names)}" for name in names)


def _unit(name: str, names: list[str]) -> str:
    """The unit, and of what if that is not clear."""
    return _SHOWN[name][0] if len(names) == 1 else f"{_SHOWN[name][0]} {name}"
