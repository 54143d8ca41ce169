"""C libraries of small networks, what the Relax VM computes with the same network, and a library loaded by ctypes."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax, s_tir, te, tirx
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_dwfuse import zoo
from tvm_dwfuse.api import signature
from tvm_dwfuse.artifact import Manifest, TargetInfo
from tvm_dwfuse.codegen_c import tools
from tvm_dwfuse.codegen_c.library import LIBRARY
from tvm_dwfuse.codegen_c.source import prefix
from tvm_dwfuse.frontend import import_onnx
from tvm_dwfuse.network import random_inputs
from tvm_dwfuse.pipeline import lowering_pipeline
from tvm_dwfuse.runners.process import execute
from tvm_dwfuse.targets import CpuTarget, get_cpu

GUARD = 256


@I.ir_module
class Ports:
    """Outputs of every kind: from a kernel, a view of another, part of a tuple, an input, a constant."""

    @R.function
    def main(x: R.Tensor((1, 4, 6), "float32"), y: R.Tensor((1, 4, 6), "float32")):
        with R.dataflow():
            total = R.add(x, y)
            scaled = R.multiply(total, R.const(np.float32(3)))
            halves = R.split(scaled, 2, axis=1)
            flat = R.reshape(total, (24,))
            negative = R.negative(flat)
            upper = halves[1]
            one = R.const(np.arange(5), "int64")
            R.output(total, negative, upper, one, flat)
        return total, flat, negative, upper, x, one


def rows_module(rows: int, columns: int = 600) -> tvm.IRModule:
    """A network of one scheduled kernel: a parallel loop over rows with a buffer for one row inside."""
    x = te.placeholder((rows, columns), name="x")
    doubled = te.compute((rows, columns), lambda i, j: x[i, j] * 2, name="doubled")
    y = te.compute((rows, columns), lambda i, j: doubled[i, columns - 1 - j] + x[i, j], name="y")
    sch = s_tir.Schedule(te.create_prim_func([x, y]))
    row, _ = sch.get_loops(sch.get_sblock("y"))
    sch.parallel(row)
    sch.compute_at(sch.get_sblock("doubled"), row)
    return kernel_module(sch.mod["main"])


def kernel_module(func: tirx.PrimFunc) -> tvm.IRModule:
    """A network that is one call of a kernel with an input and an output."""
    kinds = [relax.TensorType([int(n) for n in buffer.shape], str(buffer.dtype)) for buffer in func.params]
    func = func.without_attr("global_symbol").with_attr("tirx.is_scheduled", True)
    builder = relax.BlockBuilder()
    data = relax.Var("x", kinds[0])
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(relax.call_tir(builder.add_func(func, "kernel"), data, kinds[1]))
        builder.emit_func_output(result)
    return builder.get()


class Network:
    """A network lowered for a machine, its manifest, and seeded inputs."""

    def __init__(self, name: str, module: tvm.IRModule, target: str = "host", threads: int = 1) -> None:
        self.machine: CpuTarget = get_cpu(target)
        with self.machine.tvm_target():
            self.lowered = lowering_pipeline(self.machine, threads)(module)
        inputs, outputs = signature(module)
        info = TargetInfo(target, self.machine.arch, self.machine.mcpu, (), self.machine.triple)
        self.manifest = Manifest(name, info, threads, inputs, outputs, tvm="", tvm_dwfuse="")
        self.prefix = prefix(name)
        self.arrays = list(random_inputs(inputs).values())

    def reference(self) -> list[np.ndarray]:
        """What TVM's virtual machine computes."""
        steps = relax.pipeline.default_build_pipeline()
        executable = tvm.compile(self.lowered, self.machine.tvm_target(), relax_pipeline=steps)
        machine = relax.VirtualMachine(executable, tvm.cpu())
        results = machine["main"](*map(tvm.runtime.tensor, self.arrays))
        return [result.numpy() for result in ([results] if hasattr(results, "numpy") else results)]


@cache
def zoo_network(name: str, target: str = "host", threads: int = 1) -> Network:
    """A network of the zoo."""
    return Network(name, import_onnx(zoo.build(name)), target, threads)


def needs_cross_tools() -> None:
    """Skip the test unless programs for 64-bit Arm can be built and run."""
    for program, package in (("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), ("qemu-aarch64", "qemu-user")):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: apt-get install {package}")


class Loaded:
    """The C library in ``folder``, as a shared library in this process.

    Its outputs and workspace lie between guards, whose bytes have to stay as they are.
    """

    def __init__(self, network: Network, folder: Path, shared: Path) -> None:
        compiler = tools.compiler(network.machine.arch)
        archive = ["-Wl,--whole-archive", str(folder / LIBRARY), "-Wl,--no-whole-archive"]
        options = ["-shared", "-Wl,-z,defs", "-Wl,-z,text", *archive, *compiler.link_options]
        execute([*compiler.command, *options, "-o", str(shared)], folder, "the linker", 60)
        self._library = ctypes.CDLL(str(shared))
        self._network = network
        size = self.function("workspace_bytes")
        size.restype = ctypes.c_size_t
        self.workspace_bytes = size()

    def function(self, name: str) -> ctypes._NamedFuncPointer:
        return self._library[f"{self._network.prefix}_{name}"]

    def run(self, arrays: Sequence[np.ndarray], shift: int = 0) -> list[np.ndarray]:
        """The outputs for ``arrays``, in memory that begins ``shift`` bytes after a multiple of 64."""
        infos = self._network.manifest.outputs
        sizes = [int(np.prod(info.shape)) * np.dtype(info.dtype).itemsize for info in infos]
        blocks = [Guarded(size, shift) for size in (*sizes, self.workspace_bytes)]
        inputs = [Guarded(array.nbytes, shift, array) for array in arrays]
        status = self.call([block.address for block in inputs], [b.address for b in blocks[:-1]], blocks[-1].address)
        assert status == 0
        for block in (*blocks, *inputs):
            block.check()
        for block, array in zip(inputs, arrays, strict=True):
            assert block.content.tobytes() == array.tobytes(), "a run changes its input"
        return [block.content.view(info.dtype).reshape(info.shape) for block, info in zip(blocks, infos, strict=False)]

    def call(self, inputs: Sequence[int | None], outputs: Sequence[int | None], workspace: int | None) -> int:
        """The status of a run with these addresses."""
        pointers = [(ctypes.c_void_p * len(row))(*row) for row in (inputs, outputs)]
        return self.function("run")(*pointers, ctypes.c_void_p(workspace))


class Guarded:
    """Memory between two guards, ``shift`` bytes after a multiple of 64."""

    def __init__(self, size: int, shift: int, content: np.ndarray | None = None) -> None:
        self._memory = np.full(size + 2 * GUARD + 128, 0xA5, np.uint8)
        self._begin = GUARD + (-(self._memory.ctypes.data + GUARD) % 64) + shift % 64
        self._end = self._begin + size
        if content is not None:
            self.content[:] = np.ascontiguousarray(content).reshape(-1).view(np.uint8)

    @property
    def content(self) -> np.ndarray:
        return self._memory[self._begin : self._end]

    @property
    def address(self) -> int:
        return int(self._memory.ctypes.data) + self._begin

    def check(self) -> None:
        outside = np.concatenate([self._memory[: self._begin], self._memory[self._end :]])
        assert (outside == 0xA5).all(), "a run writes outside of its memory"
