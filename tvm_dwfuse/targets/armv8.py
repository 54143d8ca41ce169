"""ARMv8 cores, cross-compiled for 64-bit Linux: cores of phones and boards, of servers, and the least common one.

All have the 32 Advanced SIMD registers of four float32 (Arm Architecture Reference Manual, DDI 0487, B1.2). An L1 cache
is the one that the core's Technical Reference Manual fixes, or else that of a common chip. An L2 cache is that of a
common chip, named beside it: whole where a core has its own, divided by the cores where they share it. ``cores`` is how
many such cores that chip has. SVE is switched off where a core has it, as LLVM would use it in some loops and fixed
lengths suit these kernels: an artifact needs Advanced SIMD and nothing else of its CPU.
"""

from __future__ import annotations

from .cpu import CpuTarget

TRIPLE = "aarch64-linux-gnu"

_KIB = 1024


def _core(
    name: str, cores: int, l1_kib: int, l2_kib: int, mcpu: str | None = None, mattr: tuple[str, ...] = ()
) -> CpuTarget:
    return CpuTarget(
        name,
        mcpu or name,
        lanes=4,
        registers=32,
        cores=cores,
        l1_bytes=l1_kib * _KIB,
        l2_bytes=l2_kib * _KIB,
        triple=TRIPLE,
        mattr=mattr,
    )


_CORES = (
    # TRM DDI 0500: L1 8 to 64 KB, one L2 of up to 2 MB for four cores. Raspberry Pi 3 (BCM2837): 32 KB, 512 KB.
    _core("cortex-a53", cores=4, l1_kib=32, l2_kib=512 // 4),
    # TRM 100442: L1 16 to 64 KB, L2 of each core up to 256 KB. Snapdragon 845's small cores: 32 KB, 128 KB.
    _core("cortex-a55", cores=4, l1_kib=32, l2_kib=128),
    # TRM DDI 0488: L1 32 KB, one L2 of up to 2 MB for four cores. Jetson TX1 (Tegra X1): 2 MB.
    _core("cortex-a57", cores=4, l1_kib=32, l2_kib=2048 // 4),
    # TRM 100095: L1 32 KB, one L2 of up to 4 MB for four cores. Raspberry Pi 4 (BCM2711): 1 MB.
    _core("cortex-a72", cores=4, l1_kib=32, l2_kib=1024 // 4),
    # TRM 100798: L1 64 KB, L2 of each core up to 512 KB. Raspberry Pi 5 (BCM2712): 512 KB.
    _core("cortex-a76", cores=4, l1_kib=64, l2_kib=512),
    # TRM 100616: L1 64 KB, L2 of each core up to 1 MB. AWS Graviton2: 64 cores, 1 MB.
    _core("neoverse-n1", cores=64, l1_kib=64, l2_kib=1024),
    # TRM 101427: L1 64 KB, L2 of each core up to 1 MB. AWS Graviton3: 64 cores, 1 MB.
    _core("neoverse-v1", cores=64, l1_kib=64, l2_kib=1024, mattr=("-sve",)),
    # Marvell's ThunderX2 CN99xx product brief: up to 32 cores, L1 32 KB, L2 of each core 256 KB.
    _core("thunderx2", cores=32, l1_kib=32, l2_kib=256, mcpu="thunderx2t99"),
    # HiSilicon's Kunpeng 920-6426: 64 TaiShan v110 cores, L1 64 KB, L2 of each core 512 KB.
    _core("kunpeng-920", cores=64, l1_kib=64, l2_kib=512, mcpu="tsv110"),
    # No manual is public; macOS tells of the fast cores (sysctl hw.perflevel0): four, L1 128 KB, one L2 of 12 MB.
    _core("apple-m1", cores=4, l1_kib=128, l2_kib=12 * 1024 // 4),
    # Any ARMv8 core: the smallest caches above, and nothing that ARMv8.0 does not have.
    _core("armv8-a", cores=4, l1_kib=32, l2_kib=128, mcpu="generic"),
)

ARMV8_TARGETS = {target.name: target for target in _CORES}
