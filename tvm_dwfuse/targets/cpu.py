"""CPUs with vector registers: what a schedule needs to know of one, and how the machine at hand is recognised."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import lru_cache

import tvm
from tvm.target import codegen


@dataclass(frozen=True)
class CpuTarget:
    """A CPU as schedules see it.

    ``lanes`` is the number of float32 values in a vector register and ``registers`` how many there are: AVX-512 has
    32 of 16, AVX2 16 of 8, SSE 16 of 4 (Intel SDM vol. 1, ch. 10, 14, 15), Armv8 Advanced SIMD 32 of 4 (Arm ARM B1.2).
    ``half_vectors_are_cheap`` says that an operation on half a vector takes half the time of one on a whole: so on
    Zen 4, which works 512-bit vectors off in two halves (AMD Software Optimization Guide for Zen 4, section 2.11).
    ``l1_bytes`` and ``l2_bytes`` are the data caches of one core; of a cache that cores share, its part.
    ``triple`` is LLVM's name of a platform to cross-compile for, such as "aarch64-linux-gnu"; "" is this machine's.
    ``mattr`` are features of the CPU that LLVM shall use or leave alone all the same, such as "-sve".
    """

    name: str
    mcpu: str
    lanes: int
    registers: int
    cores: int
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 1024 * 1024
    half_vectors_are_cheap: bool = False
    triple: str = ""
    mattr: tuple[str, ...] = ()

    @property
    def arch(self) -> str:
        """The architecture as :func:`platform.machine` calls it, such as "x86_64" or "aarch64"."""
        return self.triple.partition("-")[0] or platform.machine()

    @property
    def fma_by_lane(self) -> bool:
        """Whether a multiply-add takes one lane of a vector as its factor (Arm ARM C7.2, FMLA by element)."""
        return self.arch == "aarch64"

    def tvm_target(self) -> tvm.target.Target:
        """The TVM target that LLVM generates code for."""
        options = {"mtriple": self.triple, "mattr": list(self.mattr)}
        given = {name: value for name, value in options.items() if value}
        return tvm.target.Target({"kind": "llvm", **given, "mcpu": self.mcpu, "num-cores": self.cores})


_VECTOR_EXTENSIONS = (  # (LLVM feature, lanes, registers), best first
    ("avx512f", 16, 32),
    ("avx2", 8, 16),
    ("sse2", 4, 16),
    ("neon", 4, 32),
)


@lru_cache(maxsize=1)
def host_target() -> CpuTarget:
    """The machine this process runs on, by what LLVM says of its CPU."""
    mcpu = codegen.llvm_get_system_cpu()
    target = tvm.target.Target({"kind": "llvm", "mcpu": mcpu})
    lanes, registers = next(
        ((lanes, registers) for feature, lanes, registers in _VECTOR_EXTENSIONS if _has(feature, target)), (4, 16)
    )
    return CpuTarget("host", mcpu, lanes, registers, _usable_cores(), *_cache_sizes(), mcpu == "znver4")


def _has(feature: str, target: tvm.target.Target) -> bool:
    return bool(codegen.llvm_cpu_has_features(feature, target))


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cache_sizes() -> tuple[int, int]:
    """(L1 data, L2) bytes of core 0 as the kernel tells them; modest defaults where it does not."""
    sizes = {1: 32 * 1024, 2: 512 * 1024}
    base = "/sys/devices/system/cpu/cpu0/cache"
    for index in range(4):
        try:
            level, kind, size = (
                open(f"{base}/index{index}/{field}", encoding="ascii").read().strip()  # noqa: SIM115
                for field in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction" and int(level) in sizes and size.endswith("K"):
            sizes[int(level)] = int(size[:-1]) * 1024
    return sizes[1], sizes[2]
