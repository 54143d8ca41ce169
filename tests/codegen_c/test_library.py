"""C libraries on this machine: they compute what TVM does, in their own memory, and show nothing but the interface."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.codegen_c.libraries import Loaded, Network, Ports, needs_cross_tools, rows_module, zoo_network
from tvm_dwfuse.codegen_c import run_example, runtime, tools, write_c_library
from tvm_dwfuse.codegen_c.library import LIBRARY, build_example, compile_parts, write_parts
from tvm_dwfuse.codegen_c.source import prefix
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import toolchain
from tvm_dwfuse.runners.process import execute

OK, BAD_ARGUMENT, MISALIGNED, BUSY = range(4)


class Built:
    """A network's C library in a folder, and loaded."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        write_c_library(network.lowered, network.manifest, network.machine, folder)
        self.loaded = Loaded(network, folder, folder.with_suffix(".so"))

    def copy_with_parts(self, folder: Path) -> Path:
        """A copy of the folder that has what the library is built from, too."""
        shutil.copytree(self.folder, folder)
        write_parts(self.network.lowered, self.network.manifest, self.network.machine, folder)
        return folder


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(Network("ports", Ports), tmp_path_factory.mktemp("ports"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(zoo_network("ds_cnn_s"), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(Network("rows", rows_module(7), threads=3), tmp_path_factory.mktemp("threaded"))


@pytest.mark.parametrize("name", ["ports", "small", "threaded"])
def test_computes_what_the_virtual_machine_does(name: str, request: pytest.FixtureRequest) -> None:
    built: Built = request.getfixturevalue(name)
    expected = built.network.reference()
    for shift in (0, 8):
        check_equal(built.loaded.run(built.network.arrays, shift), expected)
    check_equal(run_example(built.folder, built.network.manifest, built.network.arrays), expected)


def test_threads_share_loops_without_changing_anything(threaded: Built) -> None:
    expected = threaded.network.reference()
    start, stop = threaded.loaded.function("open"), threaded.loaded.function("close")
    for threads in (2, 0, 100, 1):
        assert start(threads) == OK
        for _ in range(20):
            check_equal(threaded.loaded.run(threaded.network.arrays), expected)
        stop()
    assert start(-1) == BAD_ARGUMENT
    assert start(2) == OK
    assert start(2) == BUSY
    stop()
    stop()


def test_runs_at_the_same_time_do_not_meet(threaded: Built) -> None:
    generator = np.random.default_rng(5)
    arrays = [generator.standard_normal((7, 600)).astype(np.float32) for _ in range(4)]
    assert threaded.loaded.function("open")(3) == OK
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda array: [threaded.loaded.run([array]) for _ in range(50)], arrays))
    threaded.loaded.function("close")()
    for array, runs in zip(arrays, results, strict=True):
        for (result,) in runs:
            assert np.array_equal(result, array[:, ::-1] * 2 + array)


@pytest.mark.parametrize(
    ("rows", "columns", "threads", "scratch_bytes"),
    [
        (7, 600, 1, 2432),
        (7, 600, 3, 3 * 2432),
        (3, 600, 8, 3 * 2432),
        (8, 600, 4, 4 * 2432),
        (9, 600, 5, 5 * 2432),
        (7, 256, 3, 3 * 1024),
        (7, 255, 3, 0),
    ],
)
def test_each_task_of_a_loop_has_scratch_memory(
    rows: int, columns: int, threads: int, scratch_bytes: int, tmp_path: Path
) -> None:
    network = Network("rows", rows_module(rows, columns), threads=threads)
    program = write_parts(network.lowered, network.manifest, network.machine, tmp_path)
    assert program.kernels["kernel"].scratch_bytes == scratch_bytes
    assert program.memory.workspace_bytes == scratch_bytes


def test_refuses_bad_pointers(ports: Built) -> None:
    call = ports.loaded.call
    memory = np.zeros(4096, np.uint8)
    at = int(memory.ctypes.data)
    ways = 6 * [at]
    assert call([at, None], ways, at) == BAD_ARGUMENT
    assert call([at, at], [*ways[:5], None], at) == BAD_ARGUMENT
    assert call([at, at], ways, None) == BAD_ARGUMENT
    assert call([at, at + 2], ways, at) == MISALIGNED
    assert call([at, at], [*ways[:5], at + 4], at) == MISALIGNED  # the last one is int64


@pytest.mark.parametrize("target", ["host", "cortex-a72"])
def test_shows_nothing_but_its_interface(target: str, tmp_path: Path) -> None:
    if target != "host":
        needs_cross_tools()
    network = Network("rows", rows_module(7), target, threads=3)
    write_c_library(network.lowered, network.manifest, network.machine, tmp_path)
    nm = tools.binutil(tools.compiler(network.machine.arch), "nm")
    listed = execute([nm, "-g", "--format=posix", str(tmp_path / LIBRARY)], tmp_path, "nm", 60)
    symbols = [line.split()[:2] for line in listed.splitlines() if not line.endswith(":") and line]
    defined = {name for name, kind in symbols if kind not in "Uw"}
    interface = ("inputs", "outputs", "workspace_bytes", "run", "open", "close")
    assert defined == {f"dwfuse_rows_{name}" for name in interface}
    foreign = [name for name, kind in symbols if kind in "Uw" and not re.match(r"pthread_|mem|_GLOBAL_OFFSET", name)]
    assert not foreign
    expected = network.arrays[0][:, ::-1] * 2 + network.arrays[0]
    check_equal(run_example(tmp_path, network.manifest, network.arrays, runs=10), [expected])


def test_two_networks_in_one_program(ports: Built, threaded: Built, tmp_path: Path) -> None:
    source = tmp_path / "both.cc"
    source.write_text(
        f"""#include "{ports.folder}/dwfuse_network.h"
#include "{threaded.folder}/dwfuse_network.h"
static char x[7 * 600 * 4], y[7 * 600 * 4], workspace[100000];
int main() {{
  const void *inputs[] = {{x}};
  void *outputs[] = {{y}};
  if (dwfuse_rows_workspace_bytes() > sizeof workspace || dwfuse_ports_inputs[1].rank != 3) return 1;
  if (dwfuse_ports_run(0, 0, 0) != DWFUSE_BAD_ARGUMENT || dwfuse_ports_open(1) != DWFUSE_OK) return 2;
  if (dwfuse_rows_open(2) != DWFUSE_OK || dwfuse_rows_run(inputs, outputs, workspace) != DWFUSE_OK) return 3;
  dwfuse_rows_close(), dwfuse_ports_close();
}}
"""
    )
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("needs a C++ compiler: apt-get install g++")
    libraries = [str(built.folder / LIBRARY) for built in (ports, threaded)]
    options = ["-std=c++98", "-Wall", "-Wextra", "-pedantic", "-Wno-long-long", "-Werror"]
    program = tmp_path / "both"
    execute([compiler, *options, str(source), *libraries, "-pthread", "-o", str(program)], tmp_path, "c++", 60)
    execute([str(program)], tmp_path, "both", 60)


@pytest.mark.parametrize("command", ["gcc", "clang"])
def test_compiles_without_a_warning(command: str, ports: Built, threaded: Built, tmp_path: Path) -> None:
    if not shutil.which(command):
        pytest.skip(f"needs {command}: apt-get install {command}")
    for built in (ports, threaded):
        network = built.network
        folder = built.copy_with_parts(tmp_path / network.manifest.model)
        strict = [command, "-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror", "-fsyntax-only", f"-I{folder}"]
        threads = [f"-DDWFUSE_THREADS={network.manifest.threads}", f"-I{runtime.FOLDER}"]
        for standard, file in (("c99", "network.c"), ("c99", "example.c"), ("c11", str(runtime.SOURCE))):
            execute([*strict, f"-std={standard}", *threads, file], folder, file, 60)


@pytest.mark.parametrize("sanitizer", toolchain.SANITIZERS)
def test_is_clean_under_sanitizers(sanitizer: str, threaded: Built, tmp_path: Path) -> None:
    try:
        command = toolchain.host(sanitizer).command
    except DwfuseError as error:
        pytest.skip(str(error))
    network = threaded.network
    folder = threaded.copy_with_parts(tmp_path / "parts")
    options = (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-g1", "-O1", "-fPIC")
    instrumented = toolchain.Toolchain("host", command, options, (*options, "-pthread", "-lm"))
    (folder / LIBRARY).unlink()
    objects = compile_parts(instrumented, folder, network.manifest.threads)
    execute(["ar", "rcs", LIBRARY, *map(str, objects)], folder, "ar", 60)
    build_example(folder, instrumented, output="sanitized")
    results = run_example(folder, network.manifest, network.arrays, runs=20, program="sanitized")
    check_equal(results, network.reference())


def test_builds_with_the_users_own_tools(small: Built, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small.folder, folder)
    (folder / "marker.c").write_text('#include <stdio.h>\nvoid dwfuse_marker(int b) { fprintf(stderr, "%d", b); }\n')
    if not shutil.which("make"):
        pytest.skip("needs make: apt-get install make")
    execute(["make", "-B", "EXTRA=marker.c"], folder, "make", 60)
    image = tmp_path / "input.bin"
    small.network.arrays[0].tofile(image)
    line = [str(folder / "example"), str(image), str(tmp_path / "output.bin"), "--runs", "2"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stderr == "1010"
    if not shutil.which("cmake"):
        pytest.skip("needs cmake: apt-get install cmake")
    execute(["cmake", "-S", str(folder), "-B", "build"], tmp_path, "cmake", 60)
    execute(["cmake", "--build", "build"], tmp_path, "cmake", 60)
    execute([str(tmp_path / "build/example"), *line[1:]], tmp_path, "example", 60)


def test_names_are_c_identifiers() -> None:
    assert prefix("mobilenet_v2_1.0") == "dwfuse_mobilenet_v2_1_0"
    assert prefix("7 größe*/") == "dwfuse_7_gr__e__"


def test_names_of_any_kind_are_told_as_they_are(tmp_path: Path) -> None:
    network = Network("ports", Ports)
    names = ('x"*/ \\n', "größe??/1")
    inputs = tuple(replace(info, name=name) for info, name in zip(network.manifest.inputs, names, strict=True))
    manifest = replace(network.manifest, model="a*/b\\", inputs=inputs)
    write_c_library(network.lowered, manifest, network.machine, tmp_path)
    told = execute([str(tmp_path / "example"), "--help"], tmp_path, "example", 60)
    assert all(f"{name} float32[1, 4, 6], 96 bytes" in told for name in names)


def check_equal(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for result, right in zip(results, expected, strict=True):
        assert result.dtype == right.dtype
        assert np.array_equal(result, right)
