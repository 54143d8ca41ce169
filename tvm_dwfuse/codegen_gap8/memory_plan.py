"""What the memory planner decides: where everything lies in L2 and L3, and what is called and moved when.

Time is counted in invocations, the calls of layer functions in the order in which the fabric controller makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

#: Addresses and sizes in L2 and L3 are multiples of this: what L3 transfers want.
ALIGNMENT = 8

#: Transfers of L3 that may be under way at once: DWFUSE_SLOTS of the runtime.
L3_SLOTS = 8


def align(size: int) -> int:
    """``size`` rounded up to :data:`ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class ConstantArray:
    """Channels [lo, hi) of the weights or the requantization of a stage, ``offset`` bytes into a :class:`Piece`.

    ``name`` is that of the layer function's parameter, ``w<stage>`` or ``q<stage>``.
    """

    name: str
    stage: int
    lo: int
    hi: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class Piece:
    """Constants of a group that lie together: all of them, or those of the blocks of channels [begin, end).

    ``offset`` is that in weights.bin, and so the address in L3.
    """

    name: str
    group: str
    begin: int
    end: int
    arrays: tuple[ConstantArray, ...]
    offset: int

    @property
    def channels(self) -> int:
        """Output channels of each stage, where the chain is cut in blocks; else of the first."""
        return self.arrays[0].hi - self.arrays[0].lo

    @property
    def bytes(self) -> int:
        """Its size, aligned."""
        return align(sum(array.bytes for array in self.arrays))


@dataclass(frozen=True)
class Region:
    """Bytes [address, address + bytes) of a memory, in use from before invocation ``first`` to after ``last``.

    ``kind`` is "activation" for a whole one, "window" for a part of one that lives in L3, "constants" for a piece.
    """

    name: str
    kind: Literal["activation", "window", "constants"]
    bytes: int
    first: int
    last: int
    address: int = 0

    @property
    def end(self) -> int:
        """The address after its last byte."""
        return self.address + self.bytes

    def coexists(self, other: Region) -> bool:
        """Whether both are in use at some time."""
        return self.first <= other.last and other.first <= self.last

    def overlaps(self, other: Region) -> bool:
        """Whether both use some byte at some time."""
        return self.coexists(other) and self.address < other.end and other.address < self.end


@dataclass(frozen=True)
class L3Transfer:
    """The start of a transfer between L2 and L3.

    Args:
        kind: "read" from L3, or "write" to it.
        slot: to wait on.
        region: of L2, which it fills or empties from its begin.
        owner: what lies in L3, a piece of constants or an activation.
        l2, l3: addresses.
        bytes: how many.
    """

    kind: Literal["read", "write"]
    slot: int
    region: str
    owner: str
    l2: int
    l3: int
    bytes: int


@dataclass(frozen=True)
class L3Wait:
    """Wait for the transfer on that slot."""

    slot: int


Step = L3Transfer | L3Wait


@dataclass(frozen=True)
class Operand:
    """Where a call finds an activation: ``address`` in L2 is that of row ``row0``, byte ``offset`` of the region.

    ``lo`` and ``hi`` say which bytes of the whole activation the call reads or writes.
    """

    region: str
    address: int
    offset: int
    row0: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Invocation:
    """One call of a layer function, and the L3 steps around it.

    Args:
        group: name of the group.
        begin, end: rows of the output for a chain, else elements or channels.
        blocks: blocks of channels [begin, end); (0, 0) without a chain.
        inputs, output: the activations.
        piece: name of the constants' piece, None without constants.
        constants_region: the region of L2 that holds the piece; None where constants are C arrays.
        constants: L2 address of each array of the piece; empty where constants are C arrays.
        before: steps before the call, in order.
        after: steps after it.
        completes: whether the rows are complete after it, no further block of channels being outstanding.
        work: its part of the group's computation.
        overhead: cycles that it takes besides: the call, and transfers that a single call would overlap.
    """

    group: str
    begin: int
    end: int
    blocks: tuple[int, int]
    inputs: tuple[Operand, ...]
    output: Operand
    piece: str | None
    constants_region: str | None
    constants: tuple[int, ...]
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    completes: bool
    work: float
    overhead: float

    def cycles(self, group_cycles: Mapping[str, int]) -> float:
        """Cycles it takes, given those of the groups, each computed in one call."""
        return group_cycles[self.group] * self.work + self.overhead


@dataclass(frozen=True)
class Traffic:
    """Bytes between L2 and L1 by kind and direction, and the number of transfers."""

    activation_in: int = 0
    activation_out: int = 0
    constant_in: int = 0
    transfers: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.activation_in + other.activation_in,
            self.activation_out + other.activation_out,
            self.constant_in + other.constant_in,
            self.transfers + other.transfers,
        )

    @property
    def activation(self) -> int:
        """Bytes of activations in both directions."""
        return self.activation_in + self.activation_out


@dataclass(frozen=True)
class MemoryPlan:
    """The static plan of L2 and L3.

    Args:
        mode: "resident" if all constants are C arrays in L2, "streamed" if they come from L3.
        pieces: all constants, in the order of weights.bin.
        regions: of the L2 arena.
        spilled: regions of L3 for activations that live there, by name.
        invocations: the program of the fabric controller.
        after: L3 steps after the last invocation.
        traffic: L2-L1 bytes of each group.
    """

    mode: Literal["resident", "streamed"]
    pieces: tuple[Piece, ...]
    regions: tuple[Region, ...]
    spilled: tuple[Region, ...]
    invocations: tuple[Invocation, ...]
    after: tuple[Step, ...]
    traffic: dict[str, Traffic]

    @cached_property
    def l2_bytes(self) -> int:
        """Size of the L2 arena."""
        return max((region.end for region in self.regions), default=0)

    @cached_property
    def constant_bytes(self) -> int:
        """Bytes of all constants; the size of weights.bin where they are streamed."""
        return sum(piece.bytes for piece in self.pieces)

    @property
    def weights_bytes(self) -> int:
        """Size of weights.bin, 0 if there is none."""
        return self.constant_bytes if self.mode == "streamed" else 0

    @cached_property
    def l3_bytes(self) -> int:
        """Bytes of L3 in use: constants, then spilled activations."""
        return max((region.end for region in self.spilled), default=self.weights_bytes)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All L3 steps in order."""
        steps = [step for call in self.invocations for step in (*call.before, *call.after)]
        return (*steps, *self.after)

    @property
    def l3_in(self) -> int:
        """Bytes from L3 to L2."""
        return self._moved("read")

    @property
    def l3_out(self) -> int:
        """Bytes from L2 to L3."""
        return self._moved("write")

    @cached_property
    def total_traffic(self) -> Traffic:
        """L2-L1 bytes of the whole network."""
        return sum(self.traffic.values(), Traffic())

    def region(self, name: str) -> Region:
        """The L2 region of that name."""
        return self._by_name[name]

    def piece(self, name: str) -> Piece:
        """The piece of that name."""
        return next(piece for piece in self.pieces if piece.name == name)

    def calls(self, group: str) -> list[Invocation]:
        """The invocations of a group."""
        return [call for call in self.invocations if call.group == group]

    @cached_property
    def _by_name(self) -> dict[str, Region]:
        return {region.name: region for region in self.regions}

    def _moved(self, kind: str) -> int:
        return sum(step.bytes for step in self.steps if isinstance(step, L3Transfer) and step.kind == kind)
