"""Artifacts for 64-bit Arm: what they hold, how they run where this machine is none, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import tvm_dwfuse
from tests.runners.tools import needs
from tvm_dwfuse import CrossNetwork, DwfuseError, api, artifact, execution, linker
from tvm_dwfuse.codegen_c import tools
from tvm_dwfuse.targets import ARMV8_TARGETS

from .commands import fail, succeed
from .conftest import separable_model

MakeOnnx = Callable[..., Path]

needs_cross_compiler = needs(lambda: linker.command("aarch64"), lambda: tools.compiler("aarch64"))
needs_qemu = needs(lambda: tools.emulator("aarch64", "cortex-a72"))

SHARED_OBJECT, AARCH64 = 3, 183  # ELF's ET_DYN and EM_AARCH64


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: np.ndarray) -> Iterator[Path]:
    """A folder to work in, with an input in x.npy."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    return tmp_path


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact for cortex-a72."""
    folder = tmp_path_factory.mktemp("cross")
    onnx.save(separable_model(), folder / "net.onnx")
    output = succeed("compile", folder / "net.onnx", "--target", "cortex-a72", "-o", folder / "build")
    assert output.splitlines()[0].startswith("fused blocks: 1 ")
    return folder / "build"


def expected(x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(separable_model().SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def elf_kind(path: Path) -> tuple[int, int]:
    """Type and machine of an ELF file."""
    header = path.read_bytes()[:20]
    assert header.startswith(b"\x7fELF")
    return int.from_bytes(header[16:18], "little"), int.from_bytes(header[18:20], "little")


@needs_cross_compiler
def test_artifact_holds_a_library_for_tvm_and_one_in_c(build: Path) -> None:
    assert sorted(path.name for path in build.iterdir()) == ["c", "manifest.json", "network.so"]
    assert elf_kind(build / "network.so") == (SHARED_OBJECT, AARCH64)
    assert elf_kind(build / "c" / "example")[1] == AARCH64
    assert {"dwfuse_network.h", "libdwfuse_network.a", "example.c", "Makefile"} <= set(os.listdir(build / "c"))
    manifest = artifact.read(build)
    assert manifest.threads == 1
    assert manifest.target == artifact.TargetInfo("cortex-a72", "aarch64", "cortex-a72", (), "aarch64-linux-gnu")


LOADER = """
#include <dlfcn.h>
#include <stdio.h>
void TVMFFIErrorSetRaisedFromCStrParts(void) {}  /* all that the library needs of TVM's runtime */
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) puts(dlerror());
    return !library || !dlsym(library, argv[2]);
}
"""


@needs_cross_compiler
@needs_qemu
def test_library_can_be_loaded_by_an_arm_program(build: Path, tmp_path: Path) -> None:
    (variant,) = artifact.read(build).fused
    names = re.findall(rb"__tvm_ffi_\w+", (build / "network.so").read_bytes())
    kernel = next(name for name in names if variant.encode() in name)
    (tmp_path / "loader.c").write_text(LOADER)
    compiler = tools.compiler("aarch64").command
    subprocess.run([*compiler, "loader.c", "-rdynamic", "-ldl", "-o", "loader"], cwd=tmp_path, check=True)
    line = [*tools.emulator("aarch64", "cortex-a72"), tmp_path / "loader", build / "network.so"]
    found = subprocess.run([*line, kernel], stdout=subprocess.PIPE, check=False)
    assert (found.returncode, found.stdout) == (0, b"")
    assert subprocess.run([*line, "no_such_kernel"], check=False).returncode == 1


@needs_cross_compiler
def test_weights_are_in_both_libraries(build: Path) -> None:
    (bias,) = (numpy_helper.to_array(weight) for weight in separable_model().graph.initializer if weight.name == "b2")
    assert bias.tobytes() in (build / "network.so").read_bytes()
    assert bias.tobytes() in (build / "c" / "libdwfuse_network.a").read_bytes()


@needs_cross_compiler
@needs_qemu
def test_run_is_under_qemu_elsewhere_and_says_so(build: Path, here: Path, x: np.ndarray) -> None:
    printed = succeed("run", build, "--input", "x.npy", "--output", "y.npy")
    assert printed.splitlines() == [
        "y:0 float32[1, 12, 12, 10] -> y.npy",
        "ran under qemu-aarch64, as the C library's example program",
    ]
    np.testing.assert_allclose(np.load("y.npy"), expected(x), atol=1e-5)


@needs_cross_compiler
@needs_qemu
def test_compiled_network_runs_saves_and_is_not_timed(make_onnx: MakeOnnx, here: Path, x: np.ndarray) -> None:
    phases: list[str] = []
    network = tvm_dwfuse.compile(make_onnx(), "neoverse-v1", threads=2, on_phase=phases.append)
    assert tuple(phases) == api.CROSS_PHASES
    assert isinstance(network, CrossNetwork)
    np.testing.assert_allclose(network.run(x)[0], expected(x), atol=1e-5)
    for refused in (network.time, network.profile):
        with pytest.raises(DwfuseError, match="net: compiled for neoverse-v1, cannot be timed or profiled"):
            refused()
    network.save("build")
    loaded = tvm_dwfuse.load_cross("build")
    assert loaded.manifest == network.manifest
    np.testing.assert_array_equal(loaded.run({"x": x})[0], network.run(x)[0])


@needs_cross_compiler
def test_without_a_c_library(make_onnx: MakeOnnx, here: Path) -> None:
    succeed("compile", make_onnx(), "--target", "armv8-a", "--no-c-library", "-o", "build")
    assert sorted(os.listdir("build")) == ["manifest.json", "network.so"]
    assert "compiled without a C library" in fail("run", "build", "--input", "x.npy", "--output", "y.npy")


@needs_cross_compiler
def test_loading_on_the_wrong_machine_says_how_to_run_it(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    message = f"{build}: compiled for aarch64, this machine is x86_64; `dwfuse run` .* under qemu, .* --rpc HOST:PORT"
    with pytest.raises(DwfuseError, match=message):
        tvm_dwfuse.load(build)


def test_a_host_artifact_on_another_machine_names_both_ways() -> None:
    manifest = artifact.Manifest("net", artifact.TargetInfo("host", "x86_64", "znver4", ()), 1, (), (), "", "")
    with pytest.raises(DwfuseError, match="compile the model again here, or give `dwfuse run` its --rpc"):
        artifact.check_host(Path("build"), manifest, "aarch64", frozenset())


def test_a_host_artifact_is_not_opened_as_a_foreign_one(make_onnx: MakeOnnx, here: Path) -> None:
    succeed("compile", make_onnx(), "--threads", 1, "-o", "build")
    with pytest.raises(DwfuseError, match="build: compiled for the machine it was made on"):
        tvm_dwfuse.load_cross("build")


@needs_cross_compiler
def test_on_an_arm_machine_the_artifact_is_loaded(build: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        manifest = artifact.read(build)
        inputs, outputs = manifest.inputs, manifest.outputs

        def run(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [arrays["x"] + 1]

    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(api, "load", lambda folder: Loaded())
    result = execution.run_artifact(build, ["x.npy"])
    assert result.summary == "ran on this machine"
    np.testing.assert_array_equal(result.outputs[0], np.load("x.npy") + 1)


def test_summary_tells_the_median() -> None:
    timing = tvm_dwfuse.Timing((0.003, 0.001, 0.002))
    result = execution.Execution((), [], "on board:9090 by TVM's RPC", timing)
    assert result.summary == "ran on board:9090 by TVM's RPC: median 2.000 ms of 3 runs"
    assert replace(result, timing=None).summary == "ran on board:9090 by TVM's RPC"


def test_help_names_every_target() -> None:
    words = succeed("compile", "--help").replace(",", " ").replace(";", " ").replace(".", " ").split()
    assert set(ARMV8_TARGETS) <= set(words)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["compile", "net.onnx", "-o", "b", "--target", "cortex-a99"], "znver4, cortex-a53, "),
        (["compile", "net.onnx", "-o", "b", "--target", "cortex-a53", "--threads", 65], "threads: 65 asked for"),
        (["compile", "net.onnx", "-o", "b", "--target", "cortex-a53", "--threads", 0], "threads: 0 asked for"),
        (["compile", "net.onnx", "-o", "b", "--target", "cortex-a53", "--l1", 1], "--l1: no option of cortex-a53"),
        (["compile", "net.onnx", "-o", "b", "--target", "gap8", "--no-c-library"], "--no-c-library: no option of gap8"),
        (["compile", "net.onnx", "-o", "b", "--no-c-library"], "--no-c-library: no option of host"),
        (["explain", "net.onnx", "--target", "cortex-a53", "--profile"], "leave --profile out"),
        (["bench", "net.onnx", "--target", "cortex-a53"], "target 'cortex-a53': not this machine"),
    ],
)  # fmt: skip
def test_bad_options(args: list[object], words: str, make_onnx: MakeOnnx, here: Path) -> None:
    make_onnx()
    assert words in fail(*args)
    assert sorted(os.listdir()) == ["net.onnx", "x.npy"]


@needs_cross_compiler
def test_times_are_not_asked_of_an_emulator(build: Path, here: Path) -> None:
    message = fail("run", build, "--input", "x.npy", "--output", "y.npy", "--runs", 3)
    assert "cannot be timed or profiled on this machine" in message
    assert not Path("y.npy").exists()


def test_explain_needs_no_cross_compiler(make_onnx: MakeOnnx) -> None:
    assert "(3x3 16->16): dwfuse." in succeed("explain", make_onnx(), "--target", "cortex-a72")


def test_a_failing_cross_compiler_leaves_nothing(
    make_onnx: MakeOnnx, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_onnx()
    compiler = here / "cc"
    compiler.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("AARCH64_CXX", str(compiler))
    monkeypatch.setenv("AARCH64_CC", str(compiler))
    message = fail("compile", "net.onnx", "--target", "cortex-a72", "-o", "build")
    assert "no space left" in message
    assert sorted(os.listdir()) == ["cc", "net.onnx", "x.npy"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["compile", "net.onnx", "--target", "cortex-a72", "-o", "b"], "apt-get install gcc-aarch64-linux-gnu"),
        (["run", "BUILD", "--input", "x.npy", "--output", "y.npy"], "apt-get install qemu-user"),
    ],
    ids=["compiler", "qemu"],
)
@needs_cross_compiler
def test_missing_tools_are_named(
    args: list[str], words: str, build: Path, make_onnx: MakeOnnx, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_onnx()
    for variable in ("AARCH64_CXX", "AARCH64_CC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(tools.armv8, "_find", tools.armv8._find.__wrapped__)  # what it found before is remembered
    assert words in fail(*(build if arg == "BUILD" else arg for arg in args))
    assert sorted(os.listdir()) == ["net.onnx", "x.npy"]
