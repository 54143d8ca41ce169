from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tvm.target import codegen

import tvm_dwfuse
from tests.tvm_dwfuse.conftest import INPUT_SHAPE
from tvm_dwfuse import api
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import X86_TARGETS, get_cpu, get_target, target_names, x86

CPUS = ("x86-64-v3", "x86-64-v4", "haswell", "znver3", "skylake-avx512", "icelake-server", "znver4")

needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="these targets are for x86-64 machines")


def test_every_cpu_is_a_target() -> None:
    assert tuple(X86_TARGETS) == CPUS
    assert set(CPUS) < set(target_names())
    assert all(get_target(name).name == name for name in CPUS)


@needs_x86
@pytest.mark.parametrize("name", CPUS)
def test_vectors_are_those_that_llvm_has_for_the_cpu(name: str) -> None:
    cpu = get_cpu(name)
    features = set(map(str, codegen.llvm_get_cpu_features(cpu.tvm_target())))
    assert {"avx2", "fma"} < features
    assert ("avx512f" in features) == ((cpu.lanes, cpu.registers) == (16, 32))
    assert ("avx512f" not in features) == ((cpu.lanes, cpu.registers) == (8, 16))


def test_caches_are_described_in_numbers_that_can_be() -> None:
    for cpu in X86_TARGETS.values():
        assert cpu.l1_bytes in (32 << 10, 48 << 10)
        assert 256 << 10 <= cpu.l2_bytes <= 2 << 20
        assert cpu.half_vectors_are_cheap == (cpu.name == "znver4")


def test_other_machines_refuse_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(x86.platform, "machine", lambda: "aarch64")
    with pytest.raises(DwfuseError, match=r"target 'haswell': is for x86-64, this machine is aarch64; compile on"):
        get_cpu("haswell")


@needs_x86
def test_networks_for_a_named_cpu_run_here(make_onnx: Callable[..., Path], tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(INPUT_SHAPE, np.float32)
    network = tvm_dwfuse.compile(make_onnx(), "x86-64-v3", threads=1)
    assert network.manifest.target.name == "x86-64-v3"
    assert {"avx2", "fma"} < set(network.manifest.target.features)
    assert not [feature for feature in network.manifest.target.features if feature.startswith("avx512")]
    network.save(tmp_path / "build")
    expected = tvm_dwfuse.compile(make_onnx(), threads=1).run(x)[0]
    np.testing.assert_allclose(tvm_dwfuse.load(tmp_path / "build").run(x)[0], expected, atol=1e-5)


@needs_x86
def test_a_cpu_with_more_features_is_refused_in_one_line(
    make_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_host_features", lambda: frozenset({"avx2"}))
    with pytest.raises(DwfuseError, match=r"target 'x86-64-v4': this CPU lacks .*avx512f.*; leave --target out$"):
        tvm_dwfuse.compile(make_onnx(), "x86-64-v4")
