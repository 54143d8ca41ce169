"""The workspace: tensors in use at the same time share no byte, and none is larger than needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codegen_c.libraries import zoo_network
from tvm_dwfuse.codegen_c.kernels import Kernel
from tvm_dwfuse.codegen_c.memory import Memory, Place, plan_memory
from tvm_dwfuse.codegen_c.reader import CallList, KernelCall, Tensor, read_calls
from tvm_dwfuse.codegen_c.scratch import ALIGNMENT, align


@st.composite
def networks(draw: st.DrawFn) -> tuple[CallList, dict[str, Kernel]]:
    """Calls in order, each reading inputs, constants or what was written before."""
    calls = CallList(constants=[np.zeros(draw(st.integers(0, 40)), np.uint8) for _ in range(draw(st.integers(0, 3)))])
    readable = [Tensor("input", 0), *(Tensor("constant", i) for i in range(len(calls.constants)))]
    kernels = {}
    for number in range(draw(st.integers(1, 12))):
        read = draw(st.lists(st.sampled_from(readable), max_size=3))
        written = [Tensor("activation", len(calls.activations) + i) for i in range(draw(st.integers(1, 2)))]
        calls.activations += [draw(st.integers(0, 5000)) for _ in written]
        calls.calls.append(KernelCall(f"k{number}", tuple(read), tuple(written)))
        kernels[f"k{number}"] = Kernel(f"k{number}", len(read) + len(written), draw(st.sampled_from([0, 64, 4032])))
        readable += written
    calls.outputs = draw(st.lists(st.sampled_from(readable), min_size=1, max_size=3))
    return calls, kernels


@given(networks())
def test_no_call_reads_what_another_has_overwritten(case: tuple[CallList, dict[str, Kernel]]) -> None:
    calls, kernels = case
    memory = plan_memory(calls, kernels)
    contents: dict[tuple[str, int], Tensor] = {}
    for number, call in enumerate(calls.calls):
        for tensor in call.inputs:
            assert all(contents[spot] == tensor for spot in spots(calls, memory, tensor))
        scratch = memory.scratch[number]
        assert (scratch is None) == (kernels[call.kernel].scratch_bytes == 0)
        used = [spots(calls, memory, tensor) for tensor in {*call.inputs, *call.outputs}]
        if scratch:
            used.append(cells(scratch, kernels[call.kernel].scratch_bytes))
            assert scratch.at + kernels[call.kernel].scratch_bytes <= memory.workspace_bytes
        assert sum(map(len, used)) == len(set().union(*used))
        contents |= {spot: tensor for tensor in call.outputs for spot in spots(calls, memory, tensor)}
    for tensor in calls.outputs:
        assert all(contents[spot] == tensor for spot in spots(calls, memory, tensor))


@given(networks())
def test_outputs_are_written_in_place(case: tuple[CallList, dict[str, Kernel]]) -> None:
    calls, kernels = case
    memory = plan_memory(calls, kernels)
    for tensor in calls.outputs:
        if tensor.kind == "activation":
            assert memory.tensors[tensor] == Place("output", calls.outputs.index(tensor))


@pytest.mark.parametrize("name", ["ds_cnn_s", "mcunet_vww"])
def test_networks_need_no_more_than_their_widest_call(name: str) -> None:
    calls = read_calls(zoo_network(name).lowered)
    kernels = {call.kernel: Kernel("k", 0, 0) for call in calls.calls}
    memory = plan_memory(calls, kernels)
    in_use = [
        sum(align(calls.activations[t.index]) for t in live if memory.tensors[t].memory == "workspace")
        for live in lifetimes(calls)
    ]
    assert memory.workspace_bytes == max(in_use)


def lifetimes(calls: CallList) -> list[set[Tensor]]:
    """For each call, the activations written by then that are still to be read."""
    result = []
    for number, call in enumerate(calls.calls):
        before = {tensor for earlier in calls.calls[:number] for tensor in earlier.outputs}
        after = {tensor for later in calls.calls[number:] for tensor in later.inputs}
        result.append((before & after) | set(call.outputs))
    return result


def spots(calls: CallList, memory: Memory, tensor: Tensor) -> set[tuple[str, int]]:
    """The pieces of an activation's memory; none for what no call writes."""
    if tensor.kind != "activation" or not calls.activations[tensor.index]:
        return set()
    return cells(memory.tensors[tensor], calls.activations[tensor.index])


def cells(place: Place, size: int) -> set[tuple[str, int]]:
    if place.memory == "output":
        return {("output", place.at)}
    assert place.at % ALIGNMENT == 0
    return {(place.memory, place.at + i) for i in range(0, size, ALIGNMENT)}
