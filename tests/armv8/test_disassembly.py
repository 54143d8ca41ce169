from __future__ import annotations

from pathlib import Path

from tests.armv8.programs import build
from tests.armv8.tools import needs_gcc
from tvm_dwfuse.armv8.disassembly import Instruction, Loop, disassemble, functions, innermost_loops, parse_disassembly

#: As objdump prints it: two nested loops, the inner one closed by the branch at 1c.
NESTED = """
0000000000000000 <kernel>:
   0:\tmov\tw10, #0x1                   \t// #1
   4:\tstr\tx30, [sp, #-16]!
   8:\tldr\tq0, [x1], #16
   c:\tldr\tq2, [sp, #32]
  10:\tfmla\tv1.4s, v0.4s, v2.s[0]
  14:\tfmul\tv3.4s, v0.4s, v1.4s
  18:\tcmp\tx1, x2
  1c:\tb.ne\t8 <kernel+0x8>  // b.any
  20:\tbl\t0 <kernel>
  24:\tcbnz\tx10, 4 <kernel+0x4>
  28:\tret
"""


def loop(*lines: str) -> Loop:
    """A loop of these instructions."""
    text = "\n".join(f" {4 * place:x}:\t" + line.replace(" ", "\t", 1) for place, line in enumerate(lines))
    (found,) = innermost_loops(parse_disassembly(text))
    return found


def test_lines_of_objdump() -> None:
    code = parse_disassembly(NESTED)
    assert [instruction.address for instruction in code] == list(range(0, 0x2C, 4))
    assert code[0] == Instruction(0, "mov", "w10, #0x1")
    assert str(code[2]) == "ldr q0, [x1], #16"
    assert code[7] == Instruction(0x1C, "b.ne", "8 <kernel+0x8>", 8)
    assert code[9].target == 4
    assert str(code[10]) == "ret"


def test_innermost_loops() -> None:
    (inner,) = innermost_loops(parse_disassembly(NESTED))
    assert [instruction.address for instruction in inner.body] == [0x8, 0xC, 0x10, 0x14, 0x18, 0x1C]
    assert inner.multiplies == 2
    assert inner.stack_accesses == 1


def test_a_call_is_no_loop() -> None:
    assert innermost_loops(parse_disassembly(" 0:\tnop\n 4:\tbl\t0 <f>\n")) == []


def test_an_interior_loop_has_no_border_checks() -> None:
    assert loop("fmla v0.4s, v1.4s, v2.4s", "subs x1, x1, #1", "b.ne 0 <f>").border_checks == []
    assert loop("cmp x1, x2", "fmla v0.4s, v1.4s, v2.4s", "b.lt 0 <f>").border_checks == []
    assert loop("sub x1, x1, #1", "fmla v0.4s, v1.4s, v2.4s", "cbnz x1, 0 <f>").border_checks == []


def test_border_checks_are_found() -> None:
    branching = loop("cmp x3, x4", "b.ge c <f+0xc>", "ldr q0, [x5]", "subs x1, x1, #1", "b.ne 0 <f>")
    assert list(map(str, branching.border_checks)) == ["cmp x3, x4", "b.ge c <f+0xc>"]
    selecting = loop("cmp x3, x4", "csel x5, x6, x7, lt", "sub x1, x1, #1", "cbnz x1, 0 <f>")
    assert len(selecting.border_checks) == 2
    masking = loop("cmhi v0.4s, v1.4s, v2.4s", "bit v3.16b, v4.16b, v0.16b", "cmp x1, x2", "b.ne 0 <f>")
    assert [check.mnemonic for check in masking.border_checks] == ["cmhi", "bit"]
    testing = loop("tbz w3, #0, 8 <f+8>", "nop", "subs x1, x1, #1", "b.ne 0 <f>")
    assert [check.mnemonic for check in testing.border_checks] == ["tbz"]


@needs_gcc
def test_only_the_object_is_disassembled(tmp_path: Path) -> None:
    code = ".type f, %function\nf: nop\nret\n.size f, .-f\n.type g, %function\ng: brk #1\n.size g, .-g\n"
    program = build(code, tmp_path)
    start, end = functions(program)["f"]
    assert end - start == 8
    part = tmp_path / "only_f"
    part.mkdir()
    found = disassemble(program, build(code[: code.index(".type g")], part))
    assert [str(instruction) for instruction in found] == ["nop", "ret"]
