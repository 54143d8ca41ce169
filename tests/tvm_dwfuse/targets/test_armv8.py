from __future__ import annotations

import platform

import pytest
import tvm
from tvm.target import codegen

from tvm_dwfuse.targets import ARMV8_TARGETS, CpuTarget, get_cpu, host_target, target_names

CORES = (
    "cortex-a53", "cortex-a55", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-v1", "thunderx2",
    "kunpeng-920", "apple-m1", "armv8-a",
)  # fmt: skip


def test_every_core_is_a_target() -> None:
    assert tuple(ARMV8_TARGETS) == CORES
    assert set(CORES) < set(target_names())
    assert all(get_cpu(name).name == name for name in CORES)


@pytest.mark.parametrize("name", CORES)
def test_llvm_knows_the_core(name: str) -> None:
    """LLVM takes an unknown CPU for a generic one, and only warns: so features are compared with a made-up CPU's."""
    core = get_cpu(name)
    features = set(map(str, codegen.llvm_get_cpu_features(core.tvm_target())))
    assert "neon" in features
    assert "sve" not in features
    nameless = tvm.target.Target({"kind": "llvm", "mtriple": core.triple, "mcpu": "no-such-core"})
    assert (name == "armv8-a") == (features == set(map(str, codegen.llvm_get_cpu_features(nameless))))


def test_cores_are_described_in_numbers_that_can_be() -> None:
    for core in ARMV8_TARGETS.values():
        assert (core.lanes, core.registers) == (4, 32)
        assert core.l1_bytes in (32 << 10, 64 << 10, 128 << 10)
        assert core.l1_bytes < core.l2_bytes <= 3 << 20
        assert core.cores >= 4


def test_triple_and_features_reach_llvm() -> None:
    target = get_cpu("neoverse-v1").tvm_target()
    assert target.attrs["mtriple"] == "aarch64-linux-gnu"
    assert list(target.attrs["mattr"]) == ["-sve"]
    assert "mattr" not in get_cpu("cortex-a72").tvm_target().attrs


def test_arch_is_that_of_the_triple_or_of_this_machine() -> None:
    assert get_cpu("cortex-a72").arch == "aarch64"
    assert host_target().arch == platform.machine()
    assert CpuTarget("board", "sifive-u74", 4, 16, cores=4, triple="riscv64-linux-gnu").arch == "riscv64"
