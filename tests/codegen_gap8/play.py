"""Plays a memory plan on arrays of bytes: each call finds what it reads where the plan says, or the test fails.

Layer functions are not run. Activations and constants hold random bytes; a call checks its inputs against them and
writes its part of its output. Transfers happen at their start, or when they are waited for.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from tvm_dwfuse.codegen_gap8.memory_plan import Invocation, L3Transfer, L3Wait, MemoryPlan, Operand, Step
from tvm_dwfuse.groups import Group, GroupedNetwork
from tvm_dwfuse.tiling.chain import Chain
from tvm_dwfuse.tiling.elementwise import AddPlan


class Player:
    """The memories, and what they are expected to hold."""

    def __init__(self, grouped: GroupedNetwork, plan: MemoryPlan, late: bool) -> None:
        rng = np.random.default_rng(0)
        self.grouped, self.plan, self.late = grouped, plan, late
        self.l2 = np.zeros(plan.l2_bytes, np.uint8)
        self.l3 = np.zeros(plan.l3_bytes, np.uint8)
        self.weights = rng.integers(0, 256, plan.constant_bytes, dtype=np.uint8)
        self.l3[: plan.weights_bytes] = self.weights[: plan.weights_bytes]
        names = {name for group in grouped.groups for name in (*group.inputs, group.output)}
        self.golden = {name: rng.integers(0, 256, grouped.activation(name).bytes, dtype=np.uint8) for name in names}
        self.under_way: dict[int, L3Transfer] = {}
        self.moved: Counter[str] = Counter()

    def run(self) -> None:
        groups = {group.name: group for group in self.grouped.groups}
        image, result = self.grouped.network.inputs[0], self.grouped.network.outputs[0]
        at = self.plan.region(image).address
        self.l2[at : at + self.golden[image].size] = self.golden[image]
        for call in self.plan.invocations:
            self._steps(call.before)
            self._call(groups[call.group], call)
            self._steps(call.after)
        self._steps(self.plan.after)
        assert not self.under_way
        at = self.plan.region(result).address
        assert (self.l2[at : at + self.golden[result].size] == self.golden[result]).all()
        assert (self.moved["read"], self.moved["write"]) == (self.plan.l3_in, self.plan.l3_out)

    def _steps(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, L3Wait):
                transfer = self.under_way.pop(step.slot)
                if self.late:
                    self._copy(transfer)
                continue
            assert 0 <= step.slot < 8
            assert step.slot not in self.under_way
            assert step.l2 % 8 == step.l3 % 4 == step.bytes % 4 == 0
            self.under_way[step.slot] = step
            self.moved[step.kind] += step.bytes
            if not self.late:
                self._copy(step)
            elif step.kind == "read":
                self.l2[step.l2 : step.l2 + step.bytes] = 0xA5

    def _copy(self, step: L3Transfer) -> None:
        l2, l3 = self.l2[step.l2 : step.l2 + step.bytes], self.l3[step.l3 : step.l3 + step.bytes]
        assert l2.size == l3.size == step.bytes
        if step.kind == "read":
            l2[:] = l3
        else:
            l3[:] = l2

    def _call(self, group: Group, call: Invocation) -> None:
        self._check_constants(call)
        plan = group.plan
        if isinstance(plan, AddPlan):
            for name, operand in zip(group.inputs, call.inputs, strict=True):
                self._check(name, operand.address, operand.lo, operand.hi)
            y = self.golden[group.output][call.output.lo : call.output.hi]
            assert y.size == call.end - call.begin
            self.l2[call.output.address : call.output.address + y.size] = y
        elif isinstance(plan, Chain):
            self._check_rows(group, plan, call)
            self._write_rows(group, plan, call)
        else:
            self._check(group.inputs[0], call.inputs[0].address, 0, self.golden[group.inputs[0]].size)
            self.l2[call.output.address :][: plan.channels] = self.golden[group.output]

    def _check(self, name: str, address: int, lo: int, hi: int) -> None:
        found = self.l2[address : address + hi - lo]
        assert (found == self.golden[name][lo:hi]).all(), f"{name} bytes {lo} to {hi} are not at {address}"

    def _check_constants(self, call: Invocation) -> None:
        if self.plan.mode == "resident" or call.piece is None:
            return
        piece = self.plan.piece(call.piece)
        for array, address in zip(piece.arrays, call.constants, strict=True):
            expected = self.weights[piece.offset + array.offset :][: array.bytes]
            assert (self.l2[address : address + array.bytes] == expected).all(), f"{piece.name} is not at {address}"

    def _check_rows(self, group: Group, chain: Chain, call: Invocation) -> None:
        row = chain.sizes[0][1] * chain.tensor_channels[0]
        first, end = chain.first_row(0, call.begin), chain.end_row(0, call.end)
        if (call.begin, call.end) == (0, chain.out_rows):
            first, end = 0, chain.height
        at = call.inputs[0].address + (first - call.inputs[0].row0) * row
        self._check(group.inputs[0], at, first * row, end * row)

    def _write_rows(self, group: Group, chain: Chain, call: Invocation) -> None:
        assert call.begin % chain.tile.rows == 0
        (height, width), channels = chain.sizes[-1], chain.tensor_channels[-1]
        lo, hi = 0, channels
        if chain.can_block:
            lo, hi = call.blocks[0] * chain.tile.channels, min(call.blocks[1] * chain.tile.channels, channels)
        if self.grouped.layouts[group.output] == "chw":
            assert (call.begin, call.end) == (0, height)
            golden = self.golden[group.output].reshape(channels, height * width)
            self._view(call.output, 0, channels * height * width).reshape(golden.shape)[lo:hi] = golden[lo:hi]
            return
        row = width * channels
        golden = self.golden[group.output].reshape(-1, channels)[call.begin * width : call.end * width]
        view = self._view(call.output, (call.begin - call.output.row0) * row, golden.size)
        view.reshape(golden.shape)[:, lo:hi] = golden[:, lo:hi]

    def _view(self, operand: Operand, offset: int, size: int) -> np.ndarray:
        view = self.l2[operand.address + offset :][:size]
        assert view.size == size
        return view
