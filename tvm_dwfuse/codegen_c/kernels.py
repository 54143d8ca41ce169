"""TensorIR functions as an object file of plain C functions, with no call of TVM's runtime but that of its threads.

TVM's own calling convention takes ``DLTensor`` structures, checks each of their fields in every call, and reports
errors through its runtime. Here every kernel is ``int32_t kernel_NAME(const void *..., void *..., void *scratch)``:
pointers to the data of its tensors in the order of its parameters, then to scratch memory of its own. It returns 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, PointerType, PrimType
from tvm.tirx.stmt import Return

from ..targets import CpuTarget
from .reader import no_plain_form
from .scratch import Scratch

#: Passes for TVM's calling convention, or that only work behind it.
_PACKED_ABI = ("tirx.MakePackedAPI", "tirx.BF16StorageLegalize", "tirx.FP8StorageLegalize")


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel: the name of its C function, how many tensors it takes, and the scratch bytes it needs."""

    symbol: str
    tensors: int
    scratch_bytes: int


def compile_kernels(
    lowered: tvm.IRModule, names: Iterable[str], machine: CpuTarget, threads: int, output: Path
) -> dict[str, Kernel]:
    """Compile the functions ``names`` of a module to the object file ``output``.

    Args:
        lowered: a module of :func:`tvm_dwfuse.pipeline.lowering_pipeline`.
        names: of its TensorIR functions; no two results of one function may be the same memory.
        machine: what to compile for.
        threads: the most threads that will share a parallel loop.
        output: the file to write.

    Raises:
        DwfuseError: a function calls one of TVM's runtime, such as its sort.
    """
    functions = {name: lowered[name] for name in names}
    for name, func in functions.items():
        _check(name, func)
    target = machine.tvm_target()
    target = target.with_host(target)
    passes, finalize, _ = tirx.get_default_tir_pipeline(target)
    current = tvm.transform.PassContext.current()
    without = [*current.disabled_pass, *_PACKED_ABI]
    with target, tvm.transform.PassContext(current.opt_level, current.required_pass, without, config=current.config):
        loops = passes(tirx.transform.BindTarget(target)(tvm.IRModule(functions)))
    kernels, plain = {}, {}
    for name, symbol in _symbols(names).items():
        plain[symbol], kernels[name] = _plain(symbol, loops[name], threads)
    legalize = [tirx.transform.FP8StorageLegalize(), tirx.transform.BF16StorageLegalize(), finalize()]
    module = tvm.transform.Sequential(legalize)(tvm.IRModule(plain))
    tvm.get_global_func("target.build.llvm")(module, target).write_to_file(str(output), "o")
    return kernels


def _check(name: str, func: tirx.PrimFunc) -> None:
    called: list[str] = []

    def visit(call: Call) -> None:
        if "packed" in getattr(call.op, "name", ""):
            called.append(call.args[0].value)

    tvm_ffi.structural_walk(func.body, (Call, visit))
    if called:
        raise no_plain_form(f"{name}, which calls {called[0]}")


def _symbols(names: Iterable[str]) -> dict[str, str]:
    """C names, all different and none of a library function such as ``tanh``."""
    symbols: dict[str, str] = {}
    for name in names:
        symbol = base = "kernel_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        while symbol in symbols.values():
            symbol = f"{base}_{len(symbols)}"
        symbols[name] = symbol
    return symbols


def _plain(symbol: str, func: tirx.PrimFunc, threads: int) -> tuple[tirx.PrimFunc, Kernel]:
    """The function with pointers for parameters, and none of its memory allocated inside."""
    pointers = [tirx.Var(buffer.name, PointerType(PrimType(buffer.dtype))) for buffer in func.params]
    declared = [tirx.DeclBuffer(buffer, data=pointer) for buffer, pointer in zip(func.params, pointers, strict=True)]
    scratch = Scratch(threads)
    body = tirx.SeqStmt([*declared, scratch.rewrite(func.body), Return(tirx.const(0, "int32"))])
    plain = tirx.PrimFunc([*pointers, scratch.pointer], body, PrimType("int32"), attrs=func.attrs)
    return plain.with_attr("global_symbol", symbol), Kernel(symbol, len(pointers), scratch.bytes)
