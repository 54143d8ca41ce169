"""Functions as LegalizeOps and FuseTIR leave them, and what is asked of them once they are scheduled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.tirx import For

from tvm_dwfuse.targets import CpuTarget, host_target

#: The host, its registers taken as those of AVX-512, AVX2 and SSE.
TARGETS = [replace(host_target(), lanes=lanes) for lanes in (16, 8, 4)]

Build = Callable[..., relax.Expr]


def network(build: Build, *shapes: tuple[int, ...], dtype: str = "float32") -> tvm.IRModule:
    """A Relax module whose ``main`` returns ``build(*inputs)``, which may nest operators."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(builder.normalize(build(*inputs)))
        builder.emit_func_output(result)
    return builder.get()


def fused(module: tvm.IRModule) -> tvm.IRModule:
    """``module`` in the state that ScheduleRemaining finds it in."""
    passes = [
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
    return tvm.transform.Sequential(passes)(module)


def legalized(build: Build, *shapes: tuple[int, ...], dtype: str = "float32") -> tirx.PrimFunc:
    """The one loop-nest function that the network comes to."""
    module = fused(network(build, *shapes, dtype=dtype))
    (func,) = (func for func in module.functions.values() if isinstance(func, tirx.PrimFunc))
    return func


def run(func: tirx.PrimFunc, target: CpuTarget, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of ``func``, its parameters behind ``inputs``."""
    compiled = tvm.compile(func.with_attr("global_symbol", "main"), target.tvm_target())
    outputs = [
        tvm.runtime.tensor(np.full([int(extent) for extent in param.ty.shape], 77).astype(str(param.ty.dtype)))
        for param in func.params[len(inputs) :]
    ]
    compiled(*map(tvm.runtime.tensor, inputs), *outputs)
    return [output.numpy() for output in outputs]


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def assert_vectorized(func: tirx.PrimFunc, target: CpuTarget) -> None:
    """No vector loop is left scalar, which is what TVM makes of one with a predicate, and full vectors are stored."""
    lowered = _vectorized(func)
    names: list[str] = []
    widths: list[int] = []
    tvm_ffi.structural_walk(lowered.body, (For, lambda loop: names.append(str(loop.loop_var.name))))
    tvm_ffi.structural_walk(lowered.body, (tirx.Ramp, lambda ramp: widths.append(int(ramp.lanes))))
    assert not [name for name in names if name.startswith("lane") and name.endswith("_s")]
    assert max(widths, default=1) == target.lanes


def _vectorized(func: tirx.PrimFunc) -> tirx.PrimFunc:
    passes = [
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
    ]
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    return tvm.transform.Sequential(passes)(module)["main"]
