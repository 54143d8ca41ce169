"""Says for every depthwise convolution of a module what it was fused with, or why it was not."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_dwfuse.blocks import Conv

from .dataflow import Dataflow, static_shape
from .lift_composites import open_functions
from .match_blocks import Match, Resolve, choose_blocks, find_blocks, next_stage, program_order, read_stages
from .read_stages import Stage


@dataclass(frozen=True)
class BlockReport:
    """What became of one depthwise convolution.

    Attributes:
        function: the function it stands in.
        conv: the variable that it is bound to.
        shape: its geometry in a few words; empty where it could not be read.
        composite: ``"dwfuse.dwpw"``, ... or None if it stays alone.
        reason: one line: its partners if it was fused, else why not.
    """

    function: str
    conv: str
    shape: str
    composite: str | None
    reason: str

    def __str__(self) -> str:
        outcome = self.composite or "not fused"
        return f"{self.function}/{self.conv} ({self.shape or 'depthwise'}): {outcome}: {self.reason}"


def explain_blocks(
    mod: tvm.IRModule, resolve: Resolve = program_order, left_out: str = "the resolve rule left out"
) -> list[BlockReport]:
    """One report for every depthwise convolution of a module that FuseSeparableBlocks has not yet seen.

    In program order, function by function. ``resolve`` is the rule that the pass will be given, ``left_out`` what is
    said, before the blocks, where it takes none of those that there are.

    Raises:
        ValueError: ``resolve`` returns two matches that overlap.
    """
    functions = open_functions(mod)
    return [report for gv, func in functions for report in _explain(gv.name_hint, func, resolve, left_out)]


def _explain(name: str, func: relax.Function, resolve: Resolve, left_out: str) -> list[BlockReport]:
    flow = Dataflow(func)
    stages = read_stages(flow)
    found, chosen = find_blocks(name, func), choose_blocks(name, func, resolve)
    reports = []
    for at, stage in stages.items():
        if not _is_depthwise(flow, at):
            continue
        shape = _shape(stage.conv) if isinstance(stage, Stage) else ""
        match = next((match for match in chosen if at in match.positions), None)
        if match is not None:
            partners = ", ".join(conv for conv in match.convs if conv != flow.var(at).name)
            reason = f"with {partners}"
        elif isinstance(stage, str):
            reason = stage
        else:
            candidates = [match for match in found if at in match.positions]
            reason = _lost(candidates, chosen, left_out) if candidates else _no_partner(flow, stages, stage)
        reports.append(BlockReport(name, flow.var(at).name, shape, match.composite if match else None, reason))
    return reports


def _is_depthwise(flow: Dataflow, at: int) -> bool:
    """Judged by groups and weight alone, so that it holds for forms that no stage can be read from."""
    call = flow.call(at, "relax.nn.conv2d")
    if call is None or int(call.attrs.groups) == 1:
        return False
    weight_shape = static_shape(call.args[1])
    return weight_shape is not None and weight_shape[str(call.attrs.kernel_layout).index("I")] == 1


def _lost(candidates: list[Match], chosen: list[Match], left_out: str) -> str:
    winners = [str(match) for match in chosen if any(match.overlaps(candidate) for candidate in candidates)]
    if not winners:
        return f"{left_out} {' and '.join(str(candidate) for candidate in candidates)}"
    return f"lost to overlapping {' and '.join(winners)}"


def _no_partner(flow: Dataflow, stages: dict[int, Stage | str], stage: Stage) -> str:
    return f"{_before(flow, stages, stage)}; {_after(flow, stages, stage)}"


def _after(flow: Dataflow, stages: dict[int, Stage | str], stage: Stage) -> str:
    following = next_stage(flow, stages, stage)
    if isinstance(following, str):
        return following
    return f"after {stage.name} stands {following.name}, {_describe(following)}"


def _before(flow: Dataflow, stages: dict[int, Stage | str], stage: Stage) -> str:
    if flow.position(stage.data) < 0:
        return f"{stage.name} reads the input {stage.data.name}"
    if isinstance(unfit := stages.get(flow.position(stage.data)), str):
        return f"{stage.data.name} stands before {stage.name}, but {unfit}"
    for producer in stages.values():
        if isinstance(producer, Stage) and producer.result.same_as(stage.data):
            following = next_stage(flow, stages, producer)
            if isinstance(following, str):
                return following
            return f"before {stage.name} stands {producer.name}, {_describe(producer)}"
    return f"before {stage.name} stands {flow.reader(flow.position(stage.data))}"


def _describe(stage: Stage) -> str:
    if stage.kind == "dense":
        return "a dense layer"
    return f"a {_shape(stage.conv)} convolution" + ("" if stage.kind == "pw" else ", not pointwise")


def _shape(conv: Conv) -> str:
    words = [f"{conv.kernel[0]}x{conv.kernel[1]}", f"{conv.in_channels}->{conv.out_channels}"]
    if conv.strides != (1, 1):
        words.append(f"stride {conv.strides[0]}" if len(set(conv.strides)) == 1 else f"strides {conv.strides}")
    if conv.dilation != (1, 1):
        words.append(f"dilation {conv.dilation[0]}" if len(set(conv.dilation)) == 1 else f"dilation {conv.dilation}")
    if conv.groups > 1 and not conv.is_depthwise:
        words.append(f"{conv.groups} groups")
    return " ".join(words)
