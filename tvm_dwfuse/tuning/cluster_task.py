"""A layer or fused group of a cluster to tune: its key, and the tiles of its walk through L1 as a space of knobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import log2

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.codegen_gap8.kernels.scratch import round_up
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import ClusterTarget
from tvm_dwfuse.tiling.balance import TILE
from tvm_dwfuse.tiling.chain import Chain, Tile, is_depthwise, weight_row
from tvm_dwfuse.tiling.cost import Cost, cost
from tvm_dwfuse.tiling.search import best_chain, few_iterations, fits, traversal_of, useful_doubles

from .task import canonical_key

#: What costs of the model and of the simulator are measured in.
MODEL_UNIT = "cycles"
GVSOC_UNIT = "gvsoc cycles"

#: Sizes of blocks of channels that give each core as many whole register tiles, whatever number of them is left over.
_EVEN_SHARES = (2 * TILE, 4 * TILE, 8 * TILE)

#: A simulation takes a second: plans that the model takes to be slower than the default by this factor get none.
_WORTH_SIMULATING = 1.25

_DOUBLES = ("x", "y", "w")


@dataclass(frozen=True)
class ClusterTask:
    """A chain of convolutions on a cluster, in a variant and its layouts.

    Knobs are those of :class:`~tvm_dwfuse.tiling.chain.Tile`: ``rows`` of a step, ``channels`` of a block,
    ``weights<i>`` of stage i that are in L1 at once, and ``double_x``, ``double_y``, ``double_w``. A knob that changes
    nothing at a point, such as the second buffer of what is fetched once, may have any value there.

    Args:
        stages, height, width, layouts: as of :class:`~tvm_dwfuse.tiling.chain.Chain`.
        variant: a name of :data:`~tvm_dwfuse.variants.VARIANTS`, or "unfused".
        machine: the cluster; ``l1_bytes`` is what a plan may take.
        unit: what costs are measured in, :data:`MODEL_UNIT` or :data:`GVSOC_UNIT`.
    """

    stages: tuple[Conv, ...]
    height: int
    width: int
    layouts: tuple[str, ...]
    variant: str
    machine: ClusterTarget
    unit: str = MODEL_UNIT

    @staticmethod
    def of(plan: Chain, variant: str, machine: ClusterTarget, unit: str = MODEL_UNIT) -> ClusterTask:
        """The task that ``plan`` is a point of."""
        return ClusterTask(plan.stages, plan.height, plan.width, plan.layouts, variant, machine, unit)

    @cached_property
    def key(self) -> str:
        """Cluster, L1, variant, layouts, shape, data type and unit of costs."""
        return canonical_key(
            {
                "cluster": self.machine.name,
                "cores": self.machine.cores,
                "l1": self.machine.l1_bytes,
                "variant": self.variant,
                "layouts": self.layouts,
                "dtype": "int8",
                "shape": {"height": self.height, "width": self.width, "stages": [asdict(s) for s in self.stages]},
                "unit": self.unit,
            }
        )

    @cached_property
    def space(self) -> Space:
        """All tiles that fit L1 and, where they are to be simulated, are worth it by the model.

        The default is what the compiler takes untuned.

        Raises:
            ValueError: no tile fits L1.
        """
        return Space(self.choices, self.point_of(self._default), self._legal)

    def in_unit(self, unit: str) -> ClusterTask:
        """The same task with costs in another unit."""
        return replace(self, unit=unit)

    def makes_plan(self, point: Point) -> bool:
        """Whether a point, such as one on record, has values that this task's knobs can take, and a plan that fits."""
        choices = self.choices
        if point.keys() != choices.keys() or any(point[name] not in values for name, values in choices.items()):
            return False
        return fits(self.plan(point), self.machine)

    def plan(self, point: Point) -> Chain:
        """The plan at a point.

        Raises:
            ValueError: the point makes no plan.
        """
        rows, channels = point["rows"], point["channels"]
        whole = tuple(point.get(f"weights{i}", stage.out_channels) for i, stage in enumerate(self.stages))
        weights = whole if channels == self.stages[-1].out_channels else (channels,) * len(self.stages)
        once = Tile(rows, channels, weights, double_x=False, double_y=False, double_w=False)
        chain = Chain(self.stages, self.height, self.width, self.layouts, once, self.machine.cores)
        useful = useful_doubles(chain)
        doubles = (name in useful and bool(point[f"double_{name}"]) for name in _DOUBLES)
        return replace(chain, tile=Tile(rows, channels, weights, *doubles))

    def point_of(self, plan: Chain) -> Point:
        """The point of which :meth:`plan` makes that plan again."""
        tile, point = plan.tile, {"rows": plan.tile.rows, "channels": plan.tile.channels}
        for i in self._dense:
            point[f"weights{i}"] = tile.weights[i] if plan.blocks == 1 else self.stages[i].out_channels
        return point | {f"double_{name}": int(getattr(tile, f"double_{name}")) for name in _DOUBLES}

    def cost(self, point: Point) -> Cost:
        """What the cost model says of the plan at a point."""
        return cost(self.plan(point), self.machine)

    def gain(self, point: Point) -> int:
        """Cycles that the plan at a point takes less than the default, by the cost model."""
        return self._default_cycles - self.cost(point).cycles

    def features(self, point: Point) -> list[float]:
        """The cost model's parts, and what it does not know: sizes of steps, blocks and buffers."""
        plan, model = self.plan(point), self.cost(point)
        parts = dict(model.parts)
        stages = sum(parts.values()) - parts["control"] - parts["dma"]
        tile = plan.tile
        return [
            *(log2(1 + value) for value in (model.cycles, stages, parts["control"], parts["dma"], model.dma_cycles)),
            *(log2(1 + value) for value in (model.activation_bytes, model.constant_bytes)),
            *(log2(value) for value in (plan.steps, plan.blocks, tile.rows, tile.channels)),
            plan.out_rows / (plan.steps * tile.rows),
            plan.tensor_channels[-1] / (plan.blocks * tile.channels),
            sum(plan.streams_weights(i) for i in range(len(self.stages))),
            *(float(getattr(tile, f"double_{name}")) for name in _DOUBLES),
            model.l1_bytes / self.machine.l1_bytes,
            len(self.stages),
        ]

    @property
    def operand_bytes(self) -> int:
        """Bytes of L2 that input, output and constants take."""
        (height, width), last = self._in_one_step.sizes[-1], self.stages[-1]
        constants = sum(stage.out_channels * (weight_row(stage) + 8) for stage in self.stages)
        return self.height * self.width * self.stages[0].in_channels + height * width * last.out_channels + constants

    def describe(self) -> str:
        """Such as ``dwpw_hwc_hwc_hwc_rows 56x56 64-64/2-128`` (a stride of 2) or ``unfused chw-hwc dw 8x8 256-256``."""
        channels = "-".join([str(self.stages[0].in_channels), *map(_output_text, self.stages)])
        name = self.variant
        if len(self.stages) == 1:
            (conv,) = self.stages
            kind = "dw" if is_depthwise(conv) else "pw" if conv.is_pointwise else "conv"
            name = f"{self.variant} {'-'.join(self.layouts)} {kind}"
        return f"{name} {self.height}x{self.width} {channels}"

    @cached_property
    def _default(self) -> Chain:
        plan = best_chain(
            self.stages, self.height, self.width, self.layouts, self.machine, traversal=traversal_of(self.variant)
        )
        if plan is None:
            raise ValueError(f"{self.describe()}: no tile fits {self.machine.l1_bytes} bytes of L1")
        return plan

    @cached_property
    def _default_cycles(self) -> int:
        return cost(self._default, self.machine).cycles

    @cached_property
    def _in_one_step(self) -> Chain:
        outputs = tuple(_outputs(self.stages))
        rows = Chain(self.stages, self.height, self.width, self.layouts, Tile(1, outputs[-1], outputs)).out_rows
        tile = Tile(rows, outputs[-1], outputs)
        return Chain(self.stages, self.height, self.width, self.layouts, tile, self.machine.cores)

    @property
    def _dense(self) -> list[int]:
        """The stages whose weights may be streamed."""
        return [i for i, stage in enumerate(self.stages) if not is_depthwise(stage)]

    @cached_property
    def choices(self) -> dict[str, tuple[int, ...]]:
        """The values of each knob."""
        traversal, out_rows = traversal_of(self.variant), self._in_one_step.out_rows
        channels = self.stages[-1].out_channels
        in_blocks = self._in_one_step.can_block and traversal != "rows"
        choices = {
            "rows": (out_rows,) if traversal == "channels" else tuple(range(1, out_rows + 1)),
            "channels": _channel_sizes(channels) if in_blocks else (channels,),
        }
        choices |= {f"weights{i}": _channel_sizes(self.stages[i].out_channels) for i in self._dense}
        return choices | {f"double_{name}": (0, 1) for name in _DOUBLES}

    def _legal(self, point: Point) -> bool:
        plan = self.plan(point)
        if not (few_iterations(plan.steps, plan.blocks) and fits(plan, self.machine)):
            return False
        return self.unit == MODEL_UNIT or cost(plan, self.machine).cycles <= _WORTH_SIMULATING * self._default_cycles


def _outputs(stages: Iterable[Conv]) -> Iterable[int]:
    return (stage.out_channels for stage in stages)


def _output_text(stage: Conv) -> str:
    stride = stage.strides[0]
    return f"{stage.out_channels}/{stride}" if stride > 1 else str(stage.out_channels)


def _channel_sizes(channels: int) -> tuple[int, ...]:
    """Sizes of tiles of channels: every number of equal parts, and those that share evenly among the cores."""
    equal = {min(channels, round_up(-(-channels // parts), TILE)) for parts in range(1, -(-channels // TILE) + 1)}
    even = {size for unit in _EVEN_SHARES for size in range(unit, channels, unit)}
    return tuple(sorted(equal | even))
