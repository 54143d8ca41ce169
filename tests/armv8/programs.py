"""Little assembly programs, built and counted."""

from __future__ import annotations

from pathlib import Path

from tvm_dwfuse.armv8 import tools
from tvm_dwfuse.armv8.emulation import Counts, count_program
from tvm_dwfuse.runners.process import execute

START, STOP = "movz xzr, #0xdf01", "movz xzr, #0xdf02"
EXIT = "mov x0, #0\nmov x8, #93\nsvc #0"


def build(code: str, folder: Path) -> Path:
    """A program that begins with the code, x0 pointing to 256 bytes of its own and nothing else set up."""
    source = folder / "program.s"
    prologue = ".arch armv8.2-a+lse+rcpc+sve\n.bss\n.balign 64\nmemory: .skip 256\n.text\n.globl _start\n_start:\n"
    source.write_text(f"{prologue}ldr x0, =memory\nmov x1, x0\n{code}\n{EXIT}\n")
    command = [*tools.cross_compiler().command, "-nostdlib", "-static", source.name, "-o", "program"]
    execute(command, folder, "assembler", 60)
    return folder / "program"


def count(code: str, folder: Path, cpu: str = "max", profile: bool = False) -> Counts:
    return count_program([str(build(code, folder))], folder, cpu, profile=profile)


def count_between(code: str, folder: Path, cpu: str = "max") -> Counts:
    """What is counted of the code when it stands between the markers."""
    return count(f"{START}\n{code}\n{STOP}", folder, cpu)
