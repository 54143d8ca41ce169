"""Cycles, bytes and L1 of a plan on a cluster, by a model of the machine's measured timing.

Bytes are exact: they are those of the transfers that the schedules start. Cycles follow the walk of the schedules: in
each step the first core waits for transfers and starts others, then each stage's kernel runs on all cores, then the
first core starts the store; a barrier follows each. What is fetched ahead or stored behind costs only what the
kernels of the step beside it do not cover.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from ..blocks import Conv
from ..targets.gap8 import ClusterTarget
from .balance import TILE, share
from .chain import Chain, Tile, Transfer, is_depthwise, reads_pixels
from .elementwise import AddPlan, PoolPlan
from .grid import largest_share
from .kernel_cost import add_cycles, conv_cycles, depthwise_cycles, pointwise_cycles, pool_cycles

#: A call from the fabric controller; each section in which the first core commands the DMA while the others wait;
#: each kernel, and what a depthwise one takes more. Mostly instructions fetched anew from L2, as the cluster's
#: instruction cache holds 4 KB. Fitted to 114 layers of MobileNets on GVSOC's model of GAP8: off by 8% (root mean
#: square) for a layer, by 1 to 5% for a network.
CALL = 700
SECTION = 100
REGION = 500
REGION_DEPTHWISE = 3000

Plan = Chain | AddPlan | PoolPlan


@dataclass(frozen=True)
class Cost:
    """What a plan takes when one call computes everything.

    ``cycles`` is the sum of ``parts``: one for each stage's kernels, then "control" (DMA commands, barriers, scalars)
    and "dma" (waiting for data). ``dma_cycles`` is how long the DMA is busy, most of it beside the kernels. ``energy``
    is in picojoules, by the target's model, nothing of L3 in it.
    """

    cycles: int
    compute_cycles: int
    dma_cycles: int
    activation_bytes: int
    constant_bytes: int
    l1_bytes: int
    energy: int
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class _Step:
    """One step: cycles of each kernel, of control and of waiting, and DMA cycles that run beside kernels.

    ``now`` is waited for at once, ``ahead`` may run beside the step before, ``behind`` beside the one after, and
    ``beside`` runs beside this one's own kernels. ``busy`` is what all transfers take.
    """

    kernels: tuple[float, ...]
    control: float
    now: float
    ahead: float
    behind: float
    beside: float
    busy: float
    activation_bytes: int
    constant_bytes: int


def cost(plan: Plan, target: ClusterTarget) -> Cost:
    """What ``plan`` takes on ``target``."""
    if isinstance(plan, Chain):
        return _total(
            _chain_steps(plan, target), plan.l1_bytes, target, [_kind(plan, i) for i in range(len(plan.stages))]
        )
    steps = _add_steps(plan, target) if isinstance(plan, AddPlan) else _pool_steps(plan, target)
    return _total(steps, plan.l1_bytes, target, ["add" if isinstance(plan, AddPlan) else "pool"])


def _total(steps: Sequence[_Step], l1_bytes: int, target: ClusterTarget, names: list[str]) -> Cost:
    """The sum over the steps in order: DMA beside kernels counts where it takes longer than they do."""
    counts = Counter(steps)
    waiting = steps[0].ahead + steps[-1].behind + sum(count * step.now for step, count in counts.items())
    neighbours = Counter(zip((None, *steps[:-1]), steps, (*steps[1:], None), strict=True))
    for (before, step, after), count in neighbours.items():
        ahead, behind = after.ahead if after else 0.0, before.behind if before else 0.0
        overlapped = ahead + step.beside + behind
        waiting += count * max(target.dma_interference * overlapped, overlapped - sum(step.kernels))
    kernels = [round(sum(count * step.kernels[i] for step, count in counts.items())) for i in range(len(names))]
    control = round(CALL + target.fork + sum(count * step.control for step, count in counts.items()))
    parts = (*zip(names, kernels, strict=True), ("control", control), ("dma", round(waiting)))
    total_cycles = sum(cycles for _, cycles in parts)
    activation_bytes = sum(count * step.activation_bytes for step, count in counts.items())
    constant_bytes = sum(count * step.constant_bytes for step, count in counts.items())
    return Cost(
        cycles=total_cycles,
        compute_cycles=sum(kernels),
        dma_cycles=round(sum(count * step.busy for step, count in counts.items())),
        activation_bytes=activation_bytes,
        constant_bytes=constant_bytes,
        l1_bytes=l1_bytes,
        energy=target.energy(total_cycles, activation_bytes + constant_bytes),
        parts=parts,
    )


def _control(sections: int, calls: int, transfers: int, target: ClusterTarget) -> float:
    """Sections and kernel calls with the barriers after them, and commands to the DMA."""
    return sections * SECTION + calls * REGION + (sections + calls) * target.barrier + transfers * target.dma_start


# --- transfers ----------------------------------------------------------------------------------------------------


def transfer_cycles(transfer: Transfer, target: ClusterTarget) -> float:
    """How long the DMA is busy with one transfer; each line takes whole cycles, so lines of one byte a cycle each."""
    words = -(-transfer.line_bytes // target.dma_bytes_per_cycle)
    return transfer.lines * (words + (0 if transfer.inward or transfer.lines == 1 else target.dma_line))


def _busy(transfers: Iterable[Transfer], target: ClusterTarget) -> float:
    return sum(transfer_cycles(transfer, target) for transfer in transfers)


def _awaited(transfers: Sequence[Transfer], target: ClusterTarget) -> float:
    """Transfers that are waited for as soon as they have been started."""
    return target.dma_latency + _busy(transfers, target) if transfers else 0.0


# --- chains -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _StepRows:
    """Rows of one step, which may be the ``first`` one: those of each chunk of input, and those each stage computes."""

    first: bool
    chunks: tuple[int, ...]
    computed: tuple[int, ...]


def _chain_steps(chain: Chain, target: ClusterTarget) -> list[_Step]:
    """All steps of the walk; equal ones are reckoned once, and are one object."""
    kinds, walk = _row_walk(chain.stages, chain.height, chain.width, chain.tile.rows, chain.layouts[0])

    def block(first: bool, channels: int) -> list[_Step]:
        steps = [_chain_step(chain, first, channels, rows, target) for rows in kinds]
        return [steps[kind] for kind in walk]

    widths = [chain.block_channels(number) for number in range(1, chain.blocks)]
    later = {channels: block(False, channels) for channels in set(widths)}
    return block(True, chain.block_channels(0)) + [step for channels in widths for step in later[channels]]


@cache
def _row_walk(
    stages: tuple[Conv, ...], height: int, width: int, rows: int, source: str
) -> tuple[tuple[_StepRows, ...], tuple[int, ...]]:
    """The kinds of steps that a block has, and the kind of each of its steps."""
    tile = Tile(rows, stages[-1].out_channels, tuple(stage.out_channels for stage in stages))
    chain = Chain(stages, height, width, (source, *["hwc"] * len(stages)), tile)
    kinds: dict[_StepRows, int] = {}
    walk = []
    for _, step, begin, end in chain.iterations():
        first = step == 0
        chunks = tuple(map(len, chain.input_chunks(begin, end, first)))
        computed = tuple(len(chain.new_rows(i, begin, end, first)) for i in range(1, len(stages) + 1))
        walk.append(kinds.setdefault(_StepRows(first, chunks, computed), len(kinds)))
    return tuple(kinds), tuple(walk)


def _chain_step(chain: Chain, first_block: bool, channels: int, rows: _StepRows, target: ClusterTarget) -> _Step:
    """The step that fetches and computes ``rows`` in a block of ``channels``."""
    uses = [_use(chain, stage, channels, rows, target) for stage in range(len(chain.stages))]
    constants = _block_constants(chain, channels)
    chunks = _chunk_transfers(chain, first_block, channels, rows)
    store = chain.output_transfer(rows.computed[-1], channels)
    now, ahead, beside = 0.0, 0.0, sum(use.beside for use in uses)

    if chain.weight_slots == 1 or (first_block and chain.steps > 1):
        now += _awaited(constants, target) if rows.first else 0.0
    elif chain.steps == 1:
        ahead += _awaited(constants, target)
    if chain.weight_slots > 1 and chain.steps > 1:  # those of the next block, on their way during all of this one
        beside += _busy(constants, target) / chain.steps
    for i, chunk in enumerate(chunks):
        # With several steps a block's first chunk is fetched when the block begins, all others one ahead.
        if not chain.tile.double_x or (chain.steps > 1 and rows.first and i == 0):
            now += _awaited(chunk, target)
        elif i:
            beside += _busy(chunk, target)
        else:
            ahead += _awaited(chunk, target)
    behind = _busy([store], target)

    moved = [*(constants if rows.first else []), *(transfer for chunk in chunks for transfer in chunk), store]
    moved += [transfer for use in uses for transfer in use.transfers]
    tiles = sum(len(use.transfers) // 2 for use in uses)
    sections = 2 + tiles + (len(chunks) if chain.input_in_chunks else 0)
    calls = sum(use.calls for use in uses)
    return _Step(
        kernels=tuple(use.cycles for use in uses),
        control=_control(sections, calls, len(moved), target) + REGION_DEPTHWISE * _depthwise_calls(chain, uses),
        now=now + sum(use.waiting for use in uses) + (0.0 if chain.output_slots > 1 else target.dma_latency + behind),
        ahead=ahead,
        behind=behind if chain.output_slots > 1 else 0.0,
        beside=beside,
        busy=_busy(moved, target),
        activation_bytes=sum(transfer.bytes for transfer in moved if transfer.kind == "activation"),
        constant_bytes=sum(transfer.bytes for transfer in moved if transfer.kind == "constant"),
    )


def _depthwise_calls(chain: Chain, uses: Sequence[_Use]) -> int:
    return sum(use.calls for conv, use in zip(chain.stages, uses, strict=True) if is_depthwise(conv))


def _block_constants(chain: Chain, channels: int) -> list[Transfer]:
    """The constants that stay for a block of that many channels."""
    constants: list[Transfer] = []
    for stage in range(len(chain.stages)):
        if not chain.streams_weights(stage):
            constants += chain.weight_transfers(stage, _out_channels(chain, stage, channels))
    return constants


def _chunk_transfers(chain: Chain, first_block: bool, channels: int, rows: _StepRows) -> list[list[Transfer]]:
    """The transfers of each chunk of input."""
    if chain.input_resident and not first_block:
        return []
    taken = channels if chain.slices_input else chain.tensor_channels[0]
    return [chain.input_transfers(chunk, taken) if chunk else [] for chunk in rows.chunks]


def _out_channels(chain: Chain, stage: int, block_channels: int) -> int:
    return block_channels if chain.can_block else chain.tensor_channels[stage + 1]


@dataclass(frozen=True)
class _Use:
    """A stage in one step: calls of its kernel and their cycles, and constants streamed for it.

    ``waiting`` is how long its kernels wait for these, ``beside`` how long their transfers run beside kernels.
    """

    calls: int
    cycles: float
    transfers: tuple[Transfer, ...] = ()
    waiting: float = 0.0
    beside: float = 0.0


def _use(chain: Chain, stage: int, block_channels: int, rows: _StepRows, target: ClusterTarget) -> _Use:
    """A stage in a step: its kernel is called for each chunk of input, if it is the first, and each weight tile."""
    parts = rows.chunks if stage == 0 and chain.input_in_chunks else (rows.computed[stage],)
    if not chain.streams_weights(stage):
        channels = _out_channels(chain, stage, block_channels)
        return _Use(len(parts), sum(_kernel_cycles(chain, stage, part, channels) for part in parts))
    transfers: list[Transfer] = []
    cycles = waiting = 0.0
    for part in parts:
        for channels in chain.weight_tiles(stage, 0):
            tile = chain.weight_transfers(stage, channels)
            kernel = _kernel_cycles(chain, stage, part, channels)
            transfers += tile
            cycles += kernel
            waiting += max(0.0, _awaited(tile, target) - (kernel if chain.tile.double_w else 0.0))
    beside = max(0.0, _busy(transfers, target) - waiting)
    return _Use(len(transfers) // 2, cycles, tuple(transfers), waiting, beside)


def _kernel_cycles(chain: Chain, stage: int, rows: int, channels: int) -> float:
    """One call of the stage's kernel, on the core with the largest share."""
    if rows <= 0:
        return 0.0
    conv, layout = chain.stages[stage], chain.layouts[stage]
    own = largest_share(chain, stage, rows, channels)
    if is_depthwise(conv):
        return depthwise_cycles(conv, layout, chain.band(stage), own)
    if reads_pixels(conv, layout):
        return pointwise_cycles(conv.in_channels, own)
    return conv_cycles(conv, layout, own)


def _kind(chain: Chain, stage: int) -> str:
    conv = chain.stages[stage]
    name = "dw" if is_depthwise(conv) else "pw" if conv.is_pointwise else "conv"
    return f"{name}{stage}"


# --- sums and pools -----------------------------------------------------------------------------------------------


def _add_steps(plan: AddPlan, target: ClusterTarget) -> list[_Step]:
    def kernel(count: int) -> float:
        return add_cycles(min(count, share(-(-count // TILE), plan.cores) * TILE))

    return _elementwise_steps(plan, kernel, target)


def _pool_steps(plan: PoolPlan, target: ClusterTarget) -> list[_Step]:
    def kernel(channels: int) -> float:
        own = min(channels, share(-(-channels // TILE), plan.cores) * TILE)
        return pool_cycles(plan.height * plan.width, own, plan.layout)

    return _elementwise_steps(plan, kernel, target)


def _elementwise_steps(plan: AddPlan | PoolPlan, kernel: Callable[[int], float], target: ClusterTarget) -> list[_Step]:
    """Inputs a step ahead, output a step behind, or all of it awaited."""
    double = plan.double and plan.steps > 1
    known: dict[int, _Step] = {}
    steps = []
    for begin, end in plan.iterations():
        if end - begin not in known:
            *loads, store = plan.transfers(begin, end)
            moved = [*loads, store]
            inward, behind = _awaited(loads, target), _busy([store], target)
            known[end - begin] = _Step(
                kernels=(kernel(end - begin),),
                control=_control(2, 1, len(moved), target),
                now=0.0 if double else inward + behind,
                ahead=inward if double else 0.0,
                behind=behind if double else 0.0,
                beside=0.0,
                busy=_busy(moved, target),
                activation_bytes=sum(transfer.bytes for transfer in moved),
                constant_bytes=0,
            )
        steps.append(known[end - begin])
    return steps
