from __future__ import annotations

from pathlib import Path

import pytest

from tests.armv8.programs import START, STOP, build, count, count_between
from tests.armv8.tools import needs_qemu
from tvm_dwfuse.armv8 import emulation, tools
from tvm_dwfuse.armv8.emulation import Counts, count_program, read_profile
from tvm_dwfuse.errors import DwfuseError

pytestmark = needs_qemu

#: A loop of ten: 7 instructions in each turn, one load and one store among them; 1 before it.
LOOP = """
mov x2, #10
again: ldr q0, [x0]
fmla v1.4s, v0.4s, v0.4s
fmla v2.4s, v0.4s, v0.s[3]
add x3, x3, #1
str q1, [x1, #16]
subs x2, x2, #1
b.ne again
"""

LOADS = """
ldr x3, [x0]
ldr w3, [x0, #4]
ldrb w3, [x0], #1
ldrsw x3, [x0, #3]!
ldur q1, [x0, #-4]
ldr s1, [x0, x4]
ldp x3, x5, [x0, #16]
ldp q0, q1, [x0], #32
ldpsw x3, x5, [x0]
ldnp q0, q1, [x0]
ld1 {v0.4s}, [x0]
ld2 {v0.4s, v1.4s}, [x0], #32
ld1 {v0.s}[2], [x0]
ld1r {v0.4s}, [x0]
ld4 {v0.4s, v1.4s, v2.4s, v3.4s}, [x0]
ldr x3, place
ldr q3, place
ldar w3, [x1]
ldaprb w3, [x1]
ldapr x3, [x1]
ldxr w3, [x1]
"""

STORES = """
str x3, [x0]
strh w3, [x0, #2]
str q1, [x0], #16
stur d1, [x0, #-8]
stp x3, x5, [x0]
stp q0, q1, [x0, #-32]!
stnp d0, d1, [x0]
st1 {v0.4s, v1.4s}, [x0]
st2 {v0.4s, v1.4s}, [x0]
st1 {v0.s}[1], [x0]
st4 {v0.b, v1.b, v2.b, v3.b}[3], [x0]
stlr w3, [x1]
stxr w4, w3, [x1]
"""

BOTH = """
ldadd w3, w4, [x1]
ldadda x3, x4, [x1]
swpal x3, x4, [x1]
cas w3, w4, [x1]
casp x2, x3, x4, x5, [x1]
stclr w3, [x1]
"""

NEITHER = """
prfm pldl1keep, [x0]
prfm pldl1keep, [x0, #64]
prfum pldl1keep, [x0, #-1]
prfm pldl1strm, [x0, x4, lsl #3]
prfm pldl1keep, place
add x3, x3, #1
dup v0.4s, w3
ext v0.16b, v0.16b, v1.16b, #4
fmul v0.4s, v1.4s, v2.4s
fadd v0.4s, v1.4s, v2.4s
fmadd s0, s1, s2, s3
mla v0.4s, v1.4s, v2.4s
dmb ish
adr x3, place
mrs x3, tpidr_el0
nop
"""

MULTIPLY_ADDS = """
fmla v0.4s, v1.4s, v2.4s
fmla v0.2s, v1.2s, v2.2s
fmla v0.2d, v1.2d, v2.2d
fmls v0.4s, v1.4s, v2.4s
fmla v31.4s, v30.4s, v15.s[3]
fmls v31.4s, v30.4s, v31.s[1]
fmla v0.2d, v1.2d, v2.d[1]
"""


#: ``p0`` has four lanes on.
SCALABLE_LOADS = """
ld1w {z0.s}, p0/z, [x1]
ld1rw {z0.s}, p0/z, [x1, #4]
ld1rqw {z0.s}, p0/z, [x1]
ld2w {z0.s, z1.s}, p0/z, [x1]
ldnt1w {z0.s}, p0/z, [x1]
ld1w {z0.s}, p0/z, [x1, z4.s, uxtw #2]
ld1d {z0.d}, p1/z, [x1, z5.d, lsl #3]
ldr p2, [x1]
"""

SCALABLE_STORES = """
st1w {z0.s}, p0, [x1]
st2w {z0.s, z1.s}, p0, [x1]
st1w {z0.s}, p0, [x1, z4.s, uxtw #2]
str p2, [x1]
"""

SCALABLE_MULTIPLY_ADDS = """
fmla z0.s, p0/m, z1.s, z2.s
fmls z0.s, p0/m, z1.s, z2.s
fmad z0.s, p0/m, z1.s, z2.s
fmla z0.s, z1.s, z2.s[3]
fmls z0.d, z1.d, z2.d[1]
"""


def with_place(code: str) -> str:
    """The code with a constant that it can refer to as ``place``, jumped over."""
    return f"{code}b over\n.balign 16\nplace: .quad 1, 2\nover:"


def lines(code: str) -> int:
    return len(code.split("\n")) - 2


def test_a_loop_is_counted_exactly(tmp_path: Path) -> None:
    assert count_between(LOOP, tmp_path) == Counts(instructions=71, loads=10, stores=10, multiply_adds=20)


def test_every_run_counts_the_same(tmp_path: Path) -> None:
    program = build(f"{START}\n{LOOP}\n{STOP}", tmp_path)
    first, second = (count_program([str(program)], tmp_path, "cortex-a72") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("code", "loads", "stores", "multiply_adds"),
    [
        (LOADS, lines(LOADS), 0, 0),
        (STORES, 0, lines(STORES), 0),
        (BOTH, lines(BOTH), lines(BOTH), 0),
        (NEITHER, 0, 0, 0),
        (MULTIPLY_ADDS, 0, 0, lines(MULTIPLY_ADDS)),
    ],
    ids=["loads", "stores", "atomics", "others", "multiply-adds"],
)
def test_kinds_of_instructions(tmp_path: Path, code: str, loads: int, stores: int, multiply_adds: int) -> None:
    expected = Counts(lines(code) + 1, loads, stores, multiply_adds)
    assert count_between(with_place(code), tmp_path) == expected


@pytest.mark.parametrize(
    ("code", "loads", "stores", "multiply_adds"),
    [
        (SCALABLE_LOADS, lines(SCALABLE_LOADS), 0, 0),
        (SCALABLE_STORES, 0, lines(SCALABLE_STORES), 0),
        (SCALABLE_MULTIPLY_ADDS, 0, 0, lines(SCALABLE_MULTIPLY_ADDS)),
        ("\nfmul z0.s, z1.s, z2.s\nfadd z0.s, z1.s, z2.s\nmov z0.s, s1\nptrue p0.s\n", 0, 0, 0),
    ],
    ids=["loads", "stores", "multiply-adds", "others"],
)
def test_kinds_of_scalable_instructions(tmp_path: Path, code: str, loads: int, stores: int, multiply_adds: int) -> None:
    setup = "ptrue p0.s, vl4\nptrue p1.d, vl2\nindex z4.s, #0, #1\nindex z5.d, #0, #1"
    found = count(f"{setup}\n{START}{code}{STOP}", tmp_path)
    assert found == Counts(lines(code), loads, stores, multiply_adds)


def test_nothing_between_the_markers(tmp_path: Path) -> None:
    assert count_between("", tmp_path) == Counts(0, 0, 0, 0)


def test_sections_add_up_and_the_rest_is_left_out(tmp_path: Path) -> None:
    section = f"{START}\nadd x3, x3, #1\nldr x3, [x0]\n{STOP}\nstr x3, [x1]"
    assert count("\n".join(["nop", section, section]), tmp_path) == Counts(4, 2, 0, 0)


def test_profile_by_address(tmp_path: Path) -> None:
    program = build(f"nop\n{START}\n{LOOP}\n{STOP}\nnop", tmp_path)
    counts = count_program([str(program)], tmp_path, "max", profile=True)
    executed = read_profile(tmp_path)
    assert sorted(executed.values()) == [1] + 7 * [10]
    assert sum(executed.values()) == counts.instructions


@pytest.mark.parametrize("code", ["nop", START, f"{START}\n{START}\n{STOP}"])
def test_missing_markers_are_told(tmp_path: Path, code: str) -> None:
    with pytest.raises(DwfuseError, match=r"program: passed \d start markers and \d stop markers"):
        count(code, tmp_path)


def test_a_crash_is_told(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="program under qemu-aarch64: ended with status"):
        count_between("mov x3, #0\nldr x3, [x3]", tmp_path)


def test_an_unknown_cpu_is_told(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="nothing"):
        count_between("nop", tmp_path, cpu="nothing")


def test_an_emulator_without_plugins_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = tmp_path / "qemu"
    emulator.write_text("#!/bin/sh\necho \"qemu: unknown option 'plugin'\" >&2\nexit 1\n")
    emulator.chmod(0o755)
    monkeypatch.setattr(tools, "qemu", lambda: str(emulator))
    with pytest.raises(DwfuseError, match=r"qemu takes no plugins .*; qemu-user 7.2 of Debian 12 does"):
        emulation.require_plugins()
