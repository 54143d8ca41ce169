"""Counting the instructions that a kernel executes, under qemu."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import toolchain
from tvm_dwfuse.targets import CpuTarget

from . import tools
from .disassembly import Instruction, disassemble
from .emulation import NATIVE, Counts, count_program, read_profile

_KERNEL = "dwfuse_kernel"


@dataclass(frozen=True)
class Profile:
    """The code of a kernel, and how often the instruction at each address was executed between the markers."""

    code: list[Instruction]
    executed: Counter[int]


def count_kernel(
    func: tirx.PrimFunc,
    arrays: Sequence[np.ndarray],
    machine: CpuTarget,
    cpu: str | None = None,
    outputs: int = 1,
) -> Counts:
    """Cross-compile a kernel, call it twice under qemu, and count the second call.

    Args:
        func: the kernel, all of its parameters float32 buffers of static shape.
        arrays: the contents of its parameters before the first call; the last ``outputs`` of them are what it writes.
        machine: the ARMv8 core to compile for.
        cpu: qemu's CPU model; by default the one for ``machine``.
        outputs: how many of the arrays are outputs.

    Raises:
        DwfuseError: a compiler or qemu is not installed, an array is not float32, or the kernel fails.
    """
    with tempfile.TemporaryDirectory(prefix="dwfuse-count-") as temporary:
        folder = Path(temporary)
        line = link_program(func, arrays, machine, folder)
        counts = count_program(line, folder, cpu or tools.qemu_cpu(machine.mcpu))
        results = np.fromfile(folder / "results.bin", np.float32)
    return replace(counts, outputs=_split(results, arrays)[-outputs:])


def profile_kernel(
    func: tirx.PrimFunc, arrays: Sequence[np.ndarray], machine: CpuTarget, cpu: str | None = None
) -> Profile:
    """As :func:`count_kernel`, for every instruction of the kernel apart."""
    with tempfile.TemporaryDirectory(prefix="dwfuse-profile-") as temporary:
        folder = Path(temporary)
        line = link_program(func, arrays, machine, folder)
        count_program(line, folder, cpu or tools.qemu_cpu(machine.mcpu), profile=True)
        return Profile(disassemble(Path(line[0]), folder / "kernel.o"), read_profile(folder))


def compile_kernel(func: tirx.PrimFunc, machine: CpuTarget) -> tvm.runtime.Module:
    """The LLVM module of a kernel, whose packed function is called ``__tvm_ffi_dwfuse_kernel``."""
    module = tvm.IRModule({_KERNEL: func.with_attr("global_symbol", _KERNEL)})
    return tvm.compile(module, target=machine.tvm_target()).mod


def link_program(
    func: tirx.PrimFunc, arrays: Sequence[np.ndarray], machine: CpuTarget, folder: Path, calls: int = 2
) -> list[str]:
    """Make a program of a kernel, and its input, in ``folder``; returns the command line for :func:`count_program`.

    Args:
        func: the kernel, see :func:`count_kernel`.
        arrays: what its parameters hold before the first call.
        machine: the ARMv8 core to compile for.
        folder: the program leaves its arrays there in ``results.bin``.
        calls: how often the kernel is called; the last call is counted.

    Raises:
        DwfuseError: the cross compiler is not installed, or an array is not float32.
    """
    for place, array in enumerate(arrays):
        if array.dtype != np.float32:
            raise DwfuseError(f"array {place} is {array.dtype}; kernels under qemu take float32")
    compiler = tools.cross_compiler()
    compile_kernel(func, machine).write_to_file(str(folder / "kernel.o"))
    harness = toolchain.compile_object(compiler, NATIVE / "harness.c", [NATIVE])
    program = toolchain.link(compiler, [harness, folder / "kernel.o"], folder / "kernel")
    with open(folder / "arrays.bin", "wb") as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array).tobytes())
    return [str(program), str(calls), *(",".join(map(str, array.shape)) for array in arrays)]


def _split(values: np.ndarray, like: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """One long array cut into arrays of these shapes."""
    ends = np.cumsum([array.size for array in like])[:-1]
    return tuple(part.reshape(array.shape) for part, array in zip(np.split(values, ends), like, strict=True))
