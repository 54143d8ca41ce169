"""One workspace for all activations of a network and the scratch memory of its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..codegen_gap8.memory_plan import Region
from ..codegen_gap8.memory_regions import Strategy, check_regions, place
from .kernels import Kernel
from .reader import CallList, Tensor
from .scratch import align

_STRATEGIES: tuple[Strategy, ...] = ("size", "time")


@dataclass(frozen=True)
class Place:
    """Where a tensor lies at run time: ``at`` is the input's or output's number, else the offset in bytes."""

    memory: Literal["input", "output", "constants", "workspace"]
    at: int


@dataclass(frozen=True)
class Memory:
    """The plan: where each tensor lies, each call's scratch memory (None for none), and the sizes of both blocks.

    A network's output is written where the caller wants it, unless it is that of no call or there already; then it is
    to be copied there after the last call.
    """

    tensors: Mapping[Tensor, Place]
    scratch: tuple[Place | None, ...]
    constant_offsets: tuple[int, ...]
    constant_bytes: int
    workspace_bytes: int


def plan_memory(network: CallList, kernels: Mapping[str, Kernel]) -> Memory:
    """Place every tensor; those in use at the same time share no byte."""
    tensors = {tensor: Place("input", tensor.index) for tensor in _tensors(network) if tensor.kind == "input"}
    offsets, constant_bytes = _constant_offsets(network)
    tensors |= {Tensor("constant", i): Place("constants", offset) for i, offset in enumerate(offsets)}
    for number, tensor in enumerate(network.outputs):
        if tensor.kind == "activation":
            tensors.setdefault(tensor, Place("output", number))
    regions = _placed(_activation_regions(network, tensors) + _scratch_regions(network, kernels))
    addresses = {region.name: Place("workspace", region.address) for region in regions}
    tensors |= {tensor: addresses[_name(tensor)] for tensor in _tensors(network) if _name(tensor) in addresses}
    return Memory(
        tensors=tensors,
        scratch=tuple(addresses.get(_scratch_name(i)) for i in range(len(network.calls))),
        constant_offsets=offsets,
        constant_bytes=constant_bytes,
        workspace_bytes=max((region.end for region in regions), default=0),
    )


def _tensors(network: CallList) -> set[Tensor]:
    return {tensor for call in network.calls for tensor in (*call.inputs, *call.outputs)} | set(network.outputs)


def _constant_offsets(network: CallList) -> tuple[tuple[int, ...], int]:
    offsets, end = [], 0
    for array in network.constants:
        offsets.append(end)
        end += align(array.nbytes)
    return tuple(offsets), end


def _activation_regions(network: CallList, placed: Mapping[Tensor, Place]) -> list[Region]:
    """A region for each activation that is no output, in use from the call that writes it to the last that reads it."""
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for time, call in enumerate(network.calls):
        first |= {tensor: time for tensor in call.outputs}
        last |= {tensor: time for tensor in (*call.inputs, *call.outputs)}
    return [
        Region(_name(tensor), "activation", align(network.activations[tensor.index]), time, last[tensor])
        for tensor, time in first.items()
        if tensor not in placed and network.activations[tensor.index]
    ]


def _scratch_regions(network: CallList, kernels: Mapping[str, Kernel]) -> list[Region]:
    sizes = [kernels[call.kernel].scratch_bytes for call in network.calls]
    return [Region(_scratch_name(time), "window", align(size), time, time) for time, size in enumerate(sizes) if size]


def _placed(regions: list[Region]) -> tuple[Region, ...]:
    """The regions with addresses, by the strategy that needs the least memory."""
    enough = sum(region.bytes for region in regions)
    plans = [plan for strategy in _STRATEGIES if (plan := place(regions, enough, strategy)) is not None]
    best = min(plans, key=lambda plan: max((region.end for region in plan), default=0))
    check_regions(best, enough)
    return best


def _name(tensor: Tensor) -> str:
    return f"{tensor.kind} {tensor.index}"


def _scratch_name(call: int) -> str:
    return f"scratch {call}"
