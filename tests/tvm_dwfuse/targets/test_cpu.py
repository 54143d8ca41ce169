from __future__ import annotations

import os
from dataclasses import FrozenInstanceError

import pytest
from tvm.target import codegen

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import CpuTarget, cpu, get_target, host_target, target_names


@pytest.mark.parametrize(
    ("features", "lanes", "registers"),
    [
        ({"avx512f", "avx2", "sse2"}, 16, 32),
        ({"avx2", "sse2"}, 8, 16),
        ({"sse2"}, 4, 16),
        ({"neon"}, 4, 32),
        (set(), 4, 16),
    ],
    ids=["avx512", "avx2", "sse2", "neon", "unknown"],
)
def test_vector_registers_follow_the_widest_extension(
    features: set[str], lanes: int, registers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_has", lambda feature, target: feature in features)
    target = host_target.__wrapped__()
    assert (target.lanes, target.registers) == (lanes, registers)


def test_host_is_the_machine_at_hand() -> None:
    target = host_target()
    assert target.name == "host"
    assert target.mcpu == codegen.llvm_get_system_cpu()
    assert target.cores == len(os.sched_getaffinity(0))
    assert 8 * 1024 <= target.l1_bytes <= target.l2_bytes <= 1 << 28
    assert host_target() is target


@pytest.mark.parametrize(("mcpu", "cheap"), [("znver4", True), ("skylake-avx512", False)])
def test_only_zen_4_has_cheap_half_vectors(mcpu: str, cheap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codegen, "llvm_get_system_cpu", lambda: mcpu)
    monkeypatch.setattr(cpu, "_has", lambda feature, target: True)
    assert host_target.__wrapped__().half_vectors_are_cheap is cheap


def test_cache_sizes_have_defaults_where_the_kernel_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert cpu._cache_sizes() == (32 * 1024, 512 * 1024)


def test_tvm_target_names_the_processor_and_its_cores() -> None:
    target = CpuTarget("server", "skylake-avx512", 16, 32, cores=12).tvm_target()
    assert str(target.kind) == "llvm"
    assert target.attrs["mcpu"] == "skylake-avx512"
    assert int(target.attrs["num-cores"]) == 12


def test_descriptions_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        host_target().lanes = 3


def test_targets_are_found_by_name() -> None:
    assert [get_target(name).name for name in target_names()] == target_names()
    assert get_target() is host_target()
    with pytest.raises(DwfuseError, match=r"unknown target 'gap9'; known targets: .*host"):
        get_target("gap9")
