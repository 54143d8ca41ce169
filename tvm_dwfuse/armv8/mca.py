"""Cycles of a loop by llvm-mca, LLVM's model of a core, with the traps of its models got round.

- In the models of Cortex-A57, A72 and ThunderX2 an access with write-back (``ldr q0, [x1], #16``) makes the next use of
  the address wait for the data. Here the address is updated by an addition of its own, in every model alike.
- Memory of loads and stores is taken as disjoint, and every access as a hit in the L1 cache.
- In LLVM 19 and before, the model of Cortex-A53 has too low a throughput of multiply-adds: compare its numbers among
  each other only.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners.process import ProgramError, execute

from . import tools
from .disassembly import Instruction, Loop

_POST_INDEXED = re.compile(r"(.*)\[(x\d+|sp)\], (#\S+|x\d+)$")
_PRE_INDEXED = re.compile(r"(.*)\[(x\d+|sp), (#\S+)\]!$")
_BRANCH_TARGET = re.compile(r"[0-9a-f]+ <.*")
#: Enough independent multiply-adds to cover their latency times the pipes of any core.
_ACCUMULATORS = 28


@dataclass(frozen=True)
class Cost:
    """What an iteration of a loop costs: ``cycles``, and how long it keeps each resource of the core busy."""

    cycles: float
    pressure: dict[str, float]


def loop_cost(loop: Loop, core: str) -> Cost:
    """An iteration of a loop on a core, as LLVM calls it, in the long run.

    Raises:
        DwfuseError: llvm-mca is not installed, is older than the core, or does not know an instruction.
    """
    return body_cost([line for instruction in loop.body for line in _plain(instruction)], core)


def body_cost(lines: Sequence[str], core: str) -> Cost:
    """As :func:`loop_cost`, for lines of assembly."""
    # The difference leaves out how the pipeline fills and drains.
    few, many = (_run(tuple(lines), core, iterations) for iterations in (100, 300))
    cycles = (many["SummaryView"]["TotalCycles"] - few["SummaryView"]["TotalCycles"]) / 200
    names = [name.translate({0: ".0", 1: ".1", 2: ".2", 3: ".3"}) for name in many["resources"]]
    whole = many["SummaryView"]["Instructions"] // 300
    pressure = {
        names[entry["ResourceIndex"]]: entry["ResourceUsage"]
        for entry in many["ResourcePressureView"]["ResourcePressureInfo"]
        if entry["InstructionIndex"] == whole
    }
    return Cost(cycles, pressure)


@cache
def multiply_add_cycles(core: str) -> float:
    """Cycles of a float32 vector multiply-add where nothing else holds it up: a property of the core's model.

    Raises:
        DwfuseError: see :func:`loop_cost`.
    """
    return body_cost(_multiply_adds(_ACCUMULATORS), core).cycles / _ACCUMULATORS


def multiply_and_store_cycles(loop: Loop, core: str) -> float:
    """Cycles of an iteration if it consisted of independent vector multiplications and its stores evenly among them.

    Raises:
        DwfuseError: see :func:`loop_cost`.
    """
    lines, stores = _multiply_adds(loop.multiplies), _accesses(loop, "st")
    step = max(1, loop.multiplies // (len(stores) + 1))
    for place, store in reversed(list(enumerate(stores, 1))):
        lines.insert(place * step, store)
    return body_cost(lines, core).cycles


def store_cycles(loop: Loop, core: str) -> float:
    """Cycles of an iteration if it consisted of its stores alone.

    Raises:
        DwfuseError: see :func:`loop_cost`.
    """
    stores = _accesses(loop, "st")
    return body_cost(stores, core).cycles if stores else 0.0


def load_cycles(loop: Loop, core: str) -> float:
    """Cycles of an iteration if it consisted of its loads alone.

    Raises:
        DwfuseError: see :func:`loop_cost`.
    """
    loads = _accesses(loop, "ld")
    return body_cost(loads, core).cycles if loads else 0.0


def _multiply_adds(number: int) -> list[str]:
    """Independent ones, as far as there are registers."""
    return [f"fmla v{place % _ACCUMULATORS}.4s, v30.4s, v31.4s" for place in range(number)]


def _accesses(loop: Loop, prefix: str) -> list[str]:
    """Its loads or stores without the updates of their addresses."""
    return [_plain(instruction)[0] for instruction in loop.body if instruction.mnemonic.startswith(prefix)]


def _plain(instruction: Instruction) -> list[str]:
    """The instruction without write-back, then the update of the address if there is one."""
    text = str(instruction)
    if post := _POST_INDEXED.fullmatch(text):
        return [f"{post[1]}[{post[2]}]", f"add {post[2]}, {post[2]}, {post[3]}"]
    if pre := _PRE_INDEXED.fullmatch(text):
        return [f"{pre[1]}[{pre[2]}, {pre[3]}]", f"add {pre[2]}, {pre[2]}, {pre[3]}"]
    if instruction.target is not None:
        return [_BRANCH_TARGET.sub("0", text)]
    return [text]


@cache
def _run(lines: tuple[str, ...], core: str, iterations: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="dwfuse-mca-") as temporary:
        folder = Path(temporary)
        (folder / "loop.s").write_text("\n".join(lines) + "\n")
        line = [tools.llvm_mca(), "-mtriple=aarch64-linux-gnu", f"-mcpu={core}", f"-iterations={iterations}", "--json"]
        try:
            execute([*line, "-o", "result.json", "loop.s"], folder, f"llvm-mca for {core}", 60)
        except ProgramError as error:
            raise DwfuseError(
                f"{error}; cores and instructions are those that LLVM 19 knows, `apt-get install llvm-19`"
            ) from error
        found = json.loads((folder / "result.json").read_text())
    return {**found["CodeRegions"][0], "resources": found["TargetInfo"]["Resources"]}
