"""What the fusing is chosen among: runs of stages that follow each other, and the kernels that could compute them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm import relax

from schedules import legal_variants
from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.variants import Variant

from .composite import activations
from .dataflow import Dataflow
from .live_tensors import LiveTensors
from .lower_composites import can_read_nchw, is_change_to_nhwc, kernel_block
from .match_blocks import Match, find_blocks, find_convolutions, next_stage, read_stages
from .read_stages import Stage, with_scale


@dataclass(frozen=True, eq=False)
class Candidate:
    """A kernel that could compute stages ``first`` to ``last - 1`` of a run.

    Attributes:
        match: the bindings that it would stand for, its variant written into it.
        first, last: the stages.
        block: what the kernel computes, as ``LowerComposites`` gives it to ``build_kernel``.
        variant: None for a single stage.
        source: layout of its input where that is not the block's.
        memory: bytes of all activations alive while it runs.
        scales_apart: whether the squeeze-and-excite multiply in front of it needs a kernel of its own.
    """

    match: Match
    first: int
    last: int
    block: Block
    variant: Variant | None
    source: Layout | None
    memory: int
    scales_apart: bool = False

    @property
    def name(self) -> str:
        """The variant's name, or the order of a single stage: ``"dw"``, ``"pw"``, ``"conv"``."""
        return self.variant.name if self.variant else self.block.order

    def overlaps(self, other: Candidate) -> bool:
        """Whether both compute a stage of the same run."""
        return self.first < other.last and other.first < self.last


@dataclass(frozen=True, eq=False)
class FusionRun:
    """Stages each of which is the only reader of the one before, and all that could compute them.

    ``convs`` are the variables that the convolutions are bound to, ``layout`` is that of all activations.
    """

    function: str
    convs: tuple[str, ...]
    layout: Layout
    candidates: tuple[Candidate, ...]


def find_runs(name: str, func: relax.Function) -> list[FusionRun]:
    """The runs of a function with canonical operators, in program order.

    Each has the single stages among its candidates, and every separable block in each variant that computes it.
    """
    flow = Dataflow(func)
    live = LiveTensors(flow, func.params)
    chains = list(_chains(flow))
    place = {stage.positions[0]: (run, at) for run, chain in enumerate(chains) for at, stage in enumerate(chain)}
    candidates: list[list[Candidate]] = [[] for _ in chains]
    for match in (*find_convolutions(name, func), *find_blocks(name, func)):
        places = [place[at] for at in match.positions if at in place]
        run, first = places[0]
        memory = live.during(match.positions[-1], activations(match).values(), frozenset(match.positions))
        candidates[run] += _candidates(flow, match, first, chains[run][first], memory)
    return [
        FusionRun(name, tuple(stage.name for stage in chain), chain[0].layout, tuple(found))
        for chain, found in zip(chains, candidates, strict=True)
    ]


def other_memory(func: relax.Function, runs: list[FusionRun]) -> int:
    """The most bytes of activations alive while something runs that is in none of the runs."""
    flow = Dataflow(func)
    kernels = frozenset(at for run in runs for each in run.candidates for at in each.match.positions)
    return LiveTensors(flow, func.params).peak(without=kernels)


def _chains(flow: Dataflow) -> Iterator[list[Stage]]:
    """Every stage once, in runs."""
    stages = read_stages(flow)
    readable = {at: stage for at, stage in stages.items() if isinstance(stage, Stage)}
    followers = {at: next_stage(flow, stages, stage) for at, stage in readable.items()}
    followed = {stage.positions[0] for stage in followers.values() if isinstance(stage, Stage)}
    for at, stage in readable.items():
        if at in followed:
            continue
        chain = [stage]
        while isinstance(follower := followers[chain[-1].positions[0]], Stage):
            chain.append(follower)
        yield chain


def _candidates(flow: Dataflow, match: Match, first: int, stage: Stage, memory: int) -> Iterator[Candidate]:
    last = first + len(match.block.stages)
    if len(match.block.stages) > 1:
        apart = stage.kind == "pw" and with_scale(flow, stage).scale is not None
        for variant in legal_variants(match.block):
            chosen = replace(match, variant=variant.name)
            yield Candidate(chosen, first, last, match.block, variant, None, memory, apart)
        return
    block = kernel_block(match.block)
    yield Candidate(match, first, last, block, None, _source(flow, match), memory)


def _source(flow: Dataflow, match: Match) -> Layout | None:
    """The layout that the kernel of a single stage reads, where that is not the block's."""
    at = flow.position(match.operands["x"])
    changed = at >= 0 and is_change_to_nhwc(flow.bindings[at].value)
    return "NCHW" if changed and can_read_nchw(match.block) else None
