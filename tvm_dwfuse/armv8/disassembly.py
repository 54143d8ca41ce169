"""The machine code of a kernel as instructions and loops, read from GNU objdump."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tvm_dwfuse.runners.process import execute

from . import tools

_LINE = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*([^/]*?)\s*(?://.*)?$")
_TARGET = re.compile(r"\b([0-9a-f]+) <[^>]*>$")
_CONDITIONAL = re.compile(r"b\..+|cbn?z|tbn?z")
_COMPARES = ("cmp", "cmn", "ccmp", "ccmn", "subs", "adds", "ands", "tst", "fcmp", "fcmpe", "fccmp")
_SELECTS = ("csel", "csinc", "csinv", "csneg", "cset", "csetm", "cinc", "fcsel", "bsl", "bif", "bit")
_VECTOR_COMPARES = ("cmeq", "cmge", "cmgt", "cmhi", "cmhs", "cmle", "cmlt", "cmtst", "fcmeq", "fcmge", "fcmgt")


@dataclass(frozen=True)
class Instruction:
    """One instruction as objdump prints it; ``target`` is the address a direct branch goes to."""

    address: int
    mnemonic: str
    operands: str
    target: int | None = None

    def __str__(self) -> str:
        return f"{self.mnemonic} {self.operands}".rstrip()

    @property
    def is_conditional_branch(self) -> bool:
        """Whether it may or may not branch."""
        return bool(_CONDITIONAL.fullmatch(self.mnemonic))

    @property
    def is_vector_multiply(self) -> bool:
        """A float32 multiplication of four lanes, with or without an addition."""
        return self.mnemonic in ("fmla", "fmls", "fmul", "fmulx") and ".4s" in self.operands


@dataclass(frozen=True)
class Loop:
    """The instructions from the target of a backward branch to that branch, no such loop inside."""

    body: tuple[Instruction, ...]

    @cached_property
    def multiplies(self) -> int:
        """Vector multiplications of one iteration."""
        return sum(instruction.is_vector_multiply for instruction in self.body)

    @property
    def border_checks(self) -> list[Instruction]:
        """What decides something besides whether the loop goes on: further branches, comparisons, selections.

        An interior loop without border has none. The one comparison that the closing branch depends on is left out.
        """
        *before, _ = self.body
        checks = [instruction for instruction in before if _decides(instruction)]
        compares = [instruction for instruction in checks if instruction.mnemonic in _COMPARES]
        counts_down = self.body[-1].mnemonic.startswith("b.") and compares
        return [check for check in checks if not (counts_down and check is compares[-1])]

    @cached_property
    def stack_accesses(self) -> int:
        """Loads and stores of spilled registers, or of the function's own arrays."""
        return sum("[sp" in instruction.operands for instruction in self.body)

    def __str__(self) -> str:
        return "\n".join(map(str, self.body))


def disassemble(program: Path, part: Path) -> list[Instruction]:
    """The instructions of a program that come from the object file ``part``, in the order of their addresses.

    Raises:
        DwfuseError: the cross compiler's binutils are not installed, or refuse a file.
    """
    wanted = functions(part)
    places = [place for name, place in functions(program).items() if name in wanted]
    options = [
        f"--start-address={min(start for start, _ in places)}",
        f"--stop-address={max(end for _, end in places)}",
    ]
    line = [tools.binutil("objdump"), "-d", "--no-show-raw-insn", *options, str(program)]
    return parse_disassembly(execute(line, program.parent, program.name, 60))


def parse_disassembly(text: str) -> list[Instruction]:
    """The instructions in objdump's output."""
    return [_instruction(*match.groups()) for match in map(_LINE.match, text.splitlines()) if match]


def innermost_loops(code: Sequence[Instruction]) -> list[Loop]:
    """The loops without another one inside, in the order of their addresses."""
    places = {instruction.address: place for place, instruction in enumerate(code)}
    spans: dict[int, int] = {}
    for place, instruction in enumerate(code):
        start = None if instruction.target is None else places.get(instruction.target)
        # A call is no loop, even that of a function which stands before.
        if start is not None and start <= place and instruction.mnemonic != "bl":
            spans.setdefault(start, place)
    innermost = [
        (start, end)
        for start, end in spans.items()
        if not any(start <= other and last <= end and (other, last) != (start, end) for other, last in spans.items())
    ]
    return [Loop(tuple(code[start : end + 1])) for start, end in sorted(innermost)]


def _instruction(address: str, mnemonic: str, operands: str) -> Instruction:
    target = _TARGET.search(operands)
    return Instruction(int(address, 16), mnemonic, operands, int(target[1], 16) if target else None)


def _decides(instruction: Instruction) -> bool:
    known = (*_COMPARES, *_SELECTS, *_VECTOR_COMPARES)
    return instruction.is_conditional_branch or instruction.mnemonic in known


def functions(file: Path) -> dict[str, tuple[int, int]]:
    """The addresses from and to which each function of an object file or program reaches.

    Raises:
        DwfuseError: the cross compiler's binutils are not installed, or refuse the file.
    """
    text = execute([tools.binutil("nm"), "-S", str(file)], file.parent, file.name, 60)
    symbols = (line.split() for line in text.splitlines())
    code = (symbol for symbol in symbols if len(symbol) == 4 and symbol[2] in "tTW")
    return {name: (int(start, 16), int(start, 16) + int(size, 16)) for start, size, _, name in code}
