"""The machine's own peak: fused multiply-adds that wait for nothing but the multiply-add units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm.script import tirx as T

from tvm_dwfuse.targets import CpuTarget

_STEPS = 20_000
# A multiply-add has a latency of 4 cycles on the CPUs of today and two can begin in each: 8 chains keep both units
# busy, and a few more hide what the loop costs, within the 16 registers of AVX2.
_CHAINS = 12


def peak_kernel(target: CpuTarget) -> tuple[Callable[[], object], int]:
    """A call that does nothing but multiply-adds on one core, in vector registers, and how many it does."""
    function = tvm.compile(multiply_adds(target.lanes), target.tvm_target())["main"]
    factor = tvm.runtime.tensor(np.full(target.lanes, 0.5, np.float32))
    sums = tvm.runtime.tensor(np.random.default_rng(0).random((_CHAINS, target.lanes), np.float32))
    return lambda: function(factor, sums), _STEPS * _CHAINS * target.lanes


def multiply_adds(lanes: int) -> tvm.tirx.PrimFunc:
    """Chain k: ``sum[k] = sum[k] * x + x``, :data:`_STEPS` times."""

    @T.prim_func
    def main(x: T.Buffer((lanes,), "float32"), sums: T.Buffer((_CHAINS, lanes), "float32")):  # type: ignore[valid-type]
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        held = T.alloc_buffer((_CHAINS, lanes), "float32", scope="local")
        for k in T.unroll(_CHAINS):
            for lane in T.vectorized(lanes):
                held[k, lane] = sums[k, lane]
        for _ in T.serial(_STEPS):
            for k in T.unroll(_CHAINS):
                for lane in T.vectorized(lanes):
                    held[k, lane] = held[k, lane] * x[lane] + x[lane]
        for k in T.unroll(_CHAINS):
            for lane in T.vectorized(lanes):
                sums[k, lane] = held[k, lane]

    return main
