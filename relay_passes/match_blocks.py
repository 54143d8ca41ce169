"""Finds separable blocks and single convolutions in a function, and settles which of the overlapping ones to take.

Analysis only: nothing here changes a module. :mod:`relay_passes.lift_composites` does, from the matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tvm import relax

from tvm_dwfuse.blocks import Block
from tvm_dwfuse.variants import ORDERS

from .dataflow import Dataflow, other_operand
from .read_stages import Stage, is_scale, read_stage, with_scale


@dataclass(frozen=True, eq=False)
class Match:
    """A chain of bindings that can become one composite.

    Attributes:
        function: name of the function it stands in.
        kind: ``"dwpw"``, ``"pwdw"``, ``"pwdwpw"``, or for one stage ``"dw"``, ``"pw"``, ``"conv"``, ``"dense"``.
        block: geometry and epilogues.
        positions: its bindings, by their place in the function, ascending; the last one binds the result.
        convs: names of the variables that the convolutions are bound to.
        operands: for each name of ``block.operands()`` the expression that the function holds: a constant for
            weights and biases, a variable for activations (``scale`` is still (N, C, 1, 1) or (N, 1, 1, C) here).
        weight_axes: for each ``w<i>`` the axes of the constant in the order O, I, H, W (O, I for a dense layer).
        variant: name of the variant that computes it, where that is chosen together with the blocks.
    """

    function: str
    kind: str
    block: Block
    positions: tuple[int, ...]
    convs: tuple[str, ...]
    operands: dict[str, relax.Expr]
    weight_axes: dict[str, tuple[int, ...]]
    variant: str | None = None

    @property
    def composite(self) -> str:
        """The value of the attribute ``Composite``."""
        return f"dwfuse.{self.kind}"

    def overlaps(self, other: Match) -> bool:
        """Whether both claim the same binding of the same function."""
        return self.function == other.function and not set(self.positions).isdisjoint(other.positions)

    def __str__(self) -> str:
        return f"{self.composite} at {self.convs[0]}"


#: Takes all matches of one function, in program order and the longest of those that start together first. Returns
#: those to fuse, no two of them overlapping.
Resolve = Callable[[list[Match]], list[Match]]


def program_order(matches: list[Match]) -> list[Match]:
    """The default rule: go through the program, at each convolution not yet taken fuse the longest block it starts.

    So a run of DW, PW, DW, PW (MobileNetV1) becomes pairs, and PW, DW, PW behind another block (MobileNetV2) a triple.
    """
    return keep_disjoint(matches)


def prefer(*orders: str) -> Resolve:
    """The rule that takes blocks of the first of ``orders``, then of the next, then those of :func:`program_order`.

    Raises:
        ValueError: not an order of :data:`tvm_dwfuse.variants.ORDERS`.
    """
    unknown = [order for order in orders if order not in ORDERS]
    if unknown:
        raise ValueError(f"unknown order {unknown[0]!r}; known: {', '.join(ORDERS)}")

    def rank(match: Match) -> int:
        return orders.index(match.kind) if match.kind in orders else len(orders)

    return lambda matches: keep_disjoint(sorted(matches, key=rank))


def keep_disjoint(matches: Iterable[Match]) -> list[Match]:
    """The matches, in their order, without those that overlap one kept before."""
    kept: list[Match] = []
    for match in matches:
        if not any(match.overlaps(other) for other in kept):
            kept.append(match)
    return kept


def choose_blocks(name: str, func: relax.Function, resolve: Resolve = program_order) -> list[Match]:
    """The separable blocks of ``func`` that ``resolve`` chooses, in program order.

    Raises:
        ValueError: two of the chosen ones overlap.
    """
    chosen = resolve(find_blocks(name, func))
    for i, match in enumerate(chosen):
        for other in chosen[:i]:
            if match.overlaps(other):
                raise ValueError(f"resolve chose both {other} and {match} in {name}, which overlap; drop one of them")
    return sorted(chosen, key=lambda match: match.positions)


def find_blocks(name: str, func: relax.Function) -> list[Match]:
    """All separable blocks of ``func``, overlapping ones included, in program order, the longest first."""
    flow = Dataflow(func)
    stages = read_stages(flow)
    matches: list[Match] = []
    for at in stages:
        chain = _chain_from(flow, stages, at)
        for length in range(len(chain), 1, -1):
            order = "".join(stage.kind for stage in chain[:length])
            if order in ORDERS:
                matches.append(_match(name, flow, order, chain[:length]))
    return matches


def find_convolutions(name: str, func: relax.Function) -> list[Match]:
    """Every convolution and dense layer of ``func`` that a one-stage block can hold, in program order."""
    flow = Dataflow(func)
    matches = []
    for stage in read_stages(flow).values():
        if isinstance(stage, Stage):
            whole = with_scale(flow, stage) if stage.kind == "pw" else stage
            matches.append(_match(name, flow, whole.kind, [whole]))
    return matches


def read_stages(flow: Dataflow) -> dict[int, Stage | str]:
    """By position in the program: the stage of each convolution and dense layer, or why it is none."""
    stages: dict[int, Stage | str] = {}
    for at in range(len(flow.bindings)):
        stage = read_stage(flow, at)
        if stage is not None:
            stages[at] = stage
    return stages


def next_stage(flow: Dataflow, stages: dict[int, Stage | str], stage: Stage) -> Stage | str:
    """The stage that alone reads the result of ``stage``, or the reason why the chain ends there."""
    result = stage.result
    users = flow.users(result)
    if flow.is_output(result):
        return f"{result.name} is an output"
    if len(users) > 1:
        return _many_users(flow, stage, users)
    if not users:
        return f"nobody reads {result.name}"
    user = stages.get(users[0])
    if user is None:
        return f"after {stage.name} stands {flow.reader(users[0])}"
    if isinstance(user, str):
        return f"{flow.var(users[0]).name} follows, but {user}"
    if user.layout != stage.layout or user.dtype != stage.dtype:
        return f"{user.name} is {user.dtype} {user.layout}, but {stage.name} is {stage.dtype} {stage.layout}"
    if "add" in stage.conv.epilogue:
        return f"a residual add stands between {stage.name} and {user.name}"
    return user


def _many_users(flow: Dataflow, stage: Stage, users: list[int]) -> str:
    result = stage.result
    factors = [other_operand(flow.call(at, "relax.multiply"), result) for at in users]
    if any(factor is not None and is_scale(result, factor, stage.layout) for factor in factors):
        return f"after {stage.name} stands a squeeze-and-excite multiply"
    names = ", ".join(flow.reader(at) for at in users)
    return f"{result.name} has {len(users)} users ({names})"


def _chain_from(flow: Dataflow, stages: dict[int, Stage | str], at: int) -> list[Stage]:
    """Up to three stages, each the only reader of the one before."""
    chain: list[Stage] = []
    following = stages[at]
    while isinstance(following, Stage) and len(chain) < 3:
        chain.append(following)
        following = next_stage(flow, stages, following)
    return chain


def _match(name: str, flow: Dataflow, kind: str, chain: list[Stage]) -> Match:
    first = chain[0]
    block = Block(
        stages=tuple(stage.conv for stage in chain),
        batch=first.batch,
        height=first.height,
        width=first.width,
        layout=first.layout,
        dtype=first.dtype,
        prologue=() if first.scale is None else ("scale",),
    )
    operands = [first.data] if first.scale is None else [first.data, first.scale]
    for stage in chain:
        operands += [stage.weight, *stage.step_operands]
    return Match(
        function=name,
        kind=kind,
        block=block,
        positions=tuple(sorted(at for stage in chain for at in stage.positions)),
        convs=tuple(stage.name for stage in chain),
        operands=dict(zip(block.operands(), operands, strict=True)),
        weight_axes={f"w{i}": stage.weight_axes for i, stage in enumerate(chain)},
    )
