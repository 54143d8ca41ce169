"""x86-64 CPUs by name: the levels of the psABI, and cores of common servers and desktops.

AVX2 has 16 registers of eight float32, AVX-512 32 of sixteen (Intel SDM vol. 1, ch. 14 and 15). Nothing is
cross-compiled: such a target is for this machine, or for one of its kind whose artifacts are compiled here. ``cores``
and caches are those of the chip named beside a core, and for a level those of the smallest chip that has it.
"""

from __future__ import annotations

import platform

from tvm_dwfuse.errors import DwfuseError

from .cpu import CpuTarget

_KIB = 1024
_MACHINES = ("x86_64", "AMD64")


def _avx2(name: str, cores: int, l2_kib: int) -> CpuTarget:
    return CpuTarget(name, name, lanes=8, registers=16, cores=cores, l1_bytes=32 * _KIB, l2_bytes=l2_kib * _KIB)


def _avx512(name: str, cores: int, l1_kib: int, l2_kib: int, half_vectors_are_cheap: bool = False) -> CpuTarget:
    return CpuTarget(
        name,
        name,
        lanes=16,
        registers=32,
        cores=cores,
        l1_bytes=l1_kib * _KIB,
        l2_bytes=l2_kib * _KIB,
        half_vectors_are_cheap=half_vectors_are_cheap,
    )


_CPUS = (
    # x86-64 psABI, section 3.1.1: level 3 has AVX2 and FMA; caches of Haswell.
    _avx2("x86-64-v3", cores=4, l2_kib=256),
    # The same: level 4 has AVX-512 F, BW, CD, DQ and VL; caches of Skylake's servers.
    _avx512("x86-64-v4", cores=4, l1_kib=32, l2_kib=1024),
    # Intel's optimization manual 248966, "Haswell microarchitecture": L2 256 KB. Core i7-4770: 4 cores.
    _avx2("haswell", cores=4, l2_kib=256),
    # AMD's optimization guide 56665 (Zen 3), section 2.6: L2 512 KB. EPYC 7763: 64 cores.
    _avx2("znver3", cores=64, l2_kib=512),
    # Intel's manual, "Skylake server microarchitecture": L1 32 KB, L2 1 MB. Xeon Platinum 8180: 28 cores.
    _avx512("skylake-avx512", cores=28, l1_kib=32, l2_kib=1024),
    # Intel's manual, "Ice Lake server": L1 48 KB, L2 1.25 MB. Xeon Platinum 8380: 40 cores.
    _avx512("icelake-server", cores=40, l1_kib=48, l2_kib=1280),
    # AMD's guide 57647 (Zen 4), sections 2.6 and 2.11: L2 1 MB, 512-bit vectors in two halves. EPYC 9654: 96 cores.
    _avx512("znver4", cores=96, l1_kib=32, l2_kib=1024, half_vectors_are_cheap=True),
)

X86_TARGETS = {target.name: target for target in _CPUS}


def check_compiles_here(target: CpuTarget) -> None:
    """Refuse a target for x86-64 on a machine of another architecture.

    Raises:
        DwfuseError: this machine has another architecture.
    """
    if target.name in X86_TARGETS and platform.machine() not in _MACHINES:
        raise DwfuseError(
            f"target {target.name!r}: is for x86-64, this machine is {platform.machine()}; "
            "compile on an x86-64 machine, or leave --target out"
        )
