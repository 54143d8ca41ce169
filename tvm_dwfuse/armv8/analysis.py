"""How near the loop in which a kernel spends its time comes to what a core can do at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.report import text_table
from tvm_dwfuse.targets import CpuTarget

from . import mca
from .counting import Profile, profile_kernel
from .disassembly import Loop, innermost_loops


@dataclass(frozen=True)
class HotLoop:
    """An innermost loop; ``iterations`` of one call, ``share`` of the kernel's vector multiplications."""

    loop: Loop
    iterations: int
    share: float


@dataclass(frozen=True)
class LoopCycles:
    """An iteration of a loop on a core: ``cycles`` by llvm-mca, and what parts of it would take on their own.

    ``floor`` is for its vector multiplications, ``with_stores`` for them and its stores (in some cores these share the
    pipes), ``loads`` and ``stores`` for those instructions; ``busiest`` is the core's resource that is used longest,
    for ``pressure`` cycles.
    """

    core: str
    multiplies: int
    cycles: float
    floor: float
    with_stores: float
    loads: float
    stores: float
    busiest: str
    pressure: float

    @property
    def over_floor(self) -> float:
        """Cycles as a multiple of the floor; 1 is the best there can be."""
        return self.cycles / self.floor


def analyse(func: tirx.PrimFunc, machine: CpuTarget, cores: Sequence[str]) -> tuple[HotLoop, list[LoopCycles]]:
    """The hottest innermost loop of a kernel compiled for ``machine``, and its cycles on some cores.

    Args:
        func: the kernel, all of its parameters float32 buffers of static shape.
        machine: the ARMv8 core to compile for.
        cores: names of cores as LLVM has them, such as "cortex-a72" or "tsv110".

    Raises:
        DwfuseError: a tool is not installed, or the kernel multiplies no vectors in a loop.
    """
    hottest = hot_loops(func, machine)[0]
    return hottest, [loop_cycles(hottest.loop, core) for core in cores]


def hot_loops(func: tirx.PrimFunc, machine: CpuTarget) -> list[HotLoop]:
    """The innermost loops that multiply vectors, by how many multiplications they execute, most first.

    Raises:
        DwfuseError: see :func:`analyse`.
    """
    arrays = [np.zeros([int(size) for size in buffer.shape], np.float32) for buffer in func.params]
    profile = profile_kernel(func, arrays, machine)
    total = sum(profile.executed[at.address] for at in profile.code if at.is_vector_multiply)
    loops = [_hot_loop(loop, profile, total) for loop in innermost_loops(profile.code) if loop.multiplies]
    if not loops:
        raise DwfuseError("the kernel has no loop that multiplies vectors of float32")
    return sorted(loops, key=lambda hot: -hot.share)


def loop_cycles(loop: Loop, core: str) -> LoopCycles:
    """What llvm-mca says of a loop that multiplies vectors.

    Raises:
        DwfuseError: see :func:`.mca.loop_cost`.
    """
    cost = mca.loop_cost(loop, core)
    busiest = max(cost.pressure, key=lambda name: cost.pressure[name])
    return LoopCycles(
        core,
        loop.multiplies,
        cost.cycles,
        loop.multiplies * mca.multiply_add_cycles(core),
        mca.multiply_and_store_cycles(loop, core),
        mca.load_cycles(loop, core),
        mca.store_cycles(loop, core),
        busiest,
        cost.pressure[busiest],
    )


def describe(hot: HotLoop, found: Sequence[LoopCycles]) -> str:
    """A loop and its cycles on some cores as text."""
    checks = ", ".join(map(str, hot.loop.border_checks)) or "none"
    about = (
        f"hottest loop: {hot.share:.0%} of the vector multiplications in {hot.iterations} iterations of "
        f"{len(hot.loop.body)} instructions, {hot.loop.multiplies} of them multiplications and "
        f"{hot.loop.stack_accesses} accesses to the stack; border checks: {checks}"
    )
    header = ("core", "cycles", "multiplications", "times", "and stores", "loads", "stores", "busiest resource")
    return f"{about}\ncycles of an iteration, and of parts of it alone:\n{text_table(header, list(map(_cells, found)))}"


def _cells(at: LoopCycles) -> list[str]:
    numbers = (at.cycles, at.floor, at.over_floor, at.with_stores, at.loads, at.stores)
    return [at.core, *(f"{number:.2f}" for number in numbers), f"{at.busiest} {at.pressure:.2f}"]


def _hot_loop(loop: Loop, profile: Profile, total: int) -> HotLoop:
    multiplies = sum(profile.executed[at.address] for at in loop.body if at.is_vector_multiply)
    return HotLoop(loop, profile.executed[loop.body[-1].address], multiplies / max(total, 1))
