"""What the runtime promises generated code, on the platforms that run here; the runners' tests run whole programs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tvm_dwfuse.codegen_gap8 import runtime
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import rv32, toolchain
from tvm_dwfuse.runners.layer import LayerCase, LayerResult, run_layers


def _runner(name: str, *probes) -> object:
    try:
        for probe in probes:
            probe()
    except DwfuseError as error:
        return pytest.param(name, marks=pytest.mark.skip(reason=str(error)))
    return name


on_each_runner = pytest.mark.parametrize(
    "runner", [_runner("host", toolchain.host), _runner("rv32", toolchain.rv32, lambda: rv32.command(Path()))]
)


def run(case: LayerCase, runner: str, **options) -> LayerResult:
    return run_layers([case], runner, kernels=(), time_limit=30, **options)[0]


#: Each round, core c writes its cell, and after the barrier reads that of core c + 1 written in the same round.
BARRIER = """
#include "dwfuse_runtime.h"
void rounds(int core, uint8_t *l1, int32_t *y, int count) {
  volatile int32_t *cells = (volatile int32_t *)l1;
  for (int round = 1; round <= count; round++) {
    cells[core] = round;
    dwfuse_barrier();
    if (cells[(core + 1) % CORES] != round) y[core]++;
    dwfuse_barrier();
  }
  y[CORES + core] = core;
}
"""


@pytest.mark.parametrize("cores", [1, 3, 8])
@on_each_runner
def test_barrier(runner: str, cores: int) -> None:
    case = LayerCase(BARRIER.replace("CORES", str(cores)), "rounds", (np.zeros(2 * cores, np.int32), 300), 0, 4 * cores)
    result = run(case, runner, cores=cores)
    assert result.output.tolist() == [0] * cores + list(range(cores))


#: A block of 5 rows x 6 bytes moves from the middle of x to the middle of y, beside constants that are only counted.
TRANSFERS = """
#include "dwfuse_runtime.h"
void transfers(int core, uint8_t *l1, const uint8_t *x, uint8_t *y) {
  if (core != 0) return;
  dwfuse_dma_in(7, DWFUSE_ACTIVATION, l1, x + 2 * 20 + 3, 3, 6, 20);
  dwfuse_dma_in(7, DWFUSE_ACTIVATION, l1 + 18, x + 5 * 20 + 3, 2, 6, 20);
  dwfuse_dma_in(0, DWFUSE_CONSTANT, l1 + 30, x, 1, 10, 10);
  dwfuse_dma_wait(7);
  dwfuse_dma_out(1, DWFUSE_ACTIVATION, l1, y + 31 + 4, 5, 6, 31);
  dwfuse_dma_wait(1);
  dwfuse_dma_wait(1);
  dwfuse_dma_wait(0);
}
"""


@pytest.mark.parametrize("dma_late", [False, True])
@on_each_runner
def test_transfers_of_lines(runner: str, dma_late: bool) -> None:
    x = np.arange(200, dtype=np.uint8).reshape(10, 20)
    case = LayerCase(TRANSFERS, "transfers", (x, np.full((8, 31), 255, np.uint8)), 1, 40)
    result = run(case, runner, dma_late=dma_late)
    expected = np.full((8, 31), 255, np.uint8)
    expected[1:6, 4:10] = x[2:7, 3:9]
    np.testing.assert_array_equal(result.output, expected)
    assert result.counters == {
        "activation_in": 30,
        "activation_out": 30,
        "constant_in": 10,
        "dma_transfers": 4,
        "l3_in": 0,
        "l3_out": 0,
        "l3_transfers": 0,
    }


def _declared(*headers: str) -> set[str]:
    text = "".join((runtime.FOLDER / name).read_text() for name in headers)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return set(re.findall(r"^(?!static)[\w *]*?\b(dwfuse_\w+)\([^;{]*\)[^;{]*;", text, re.MULTILINE))


@pytest.mark.parametrize("platform", sorted(runtime.PLATFORMS))
def test_every_platform_defines_the_whole_runtime(platform: str) -> None:
    declared = _declared("dwfuse_runtime.h", "dwfuse_platform.h")
    assert {"dwfuse_barrier", "dwfuse_dma_in", "dwfuse_l3_wait", "dwfuse_file_read", "dwfuse_fail"} <= declared
    text = "".join(path.read_text() for path in runtime.sources(platform))
    defined = set(re.findall(r"^[\w *]+?\b(dwfuse_\w+)\([^;{]*\) \{", text, re.MULTILINE))
    assert declared - defined == {"dwfuse_network_run"}


def test_application_files_are_complete() -> None:
    """What an application takes along finds all its headers there."""
    assert all((runtime.FOLDER / name).is_file() for name in runtime.APPLICATION_FILES)
    for name in runtime.APPLICATION_FILES:
        own = re.findall(r'#include "(dwfuse_\w+\.h)"', (runtime.FOLDER / name).read_text())
        assert set(own) <= set(runtime.APPLICATION_FILES), name


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("options", [(), ("-DDWFUSE_CHECK", "-DDWFUSE_PROFILE", "-DDWFUSE_DMA_LATE")])
def test_compilers_have_nothing_to_warn_of(compiler: str, options: tuple[str, ...], tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}: `apt-get install {compiler}`")
    sources = [str(path) for main in (runtime.MAIN, runtime.CASES_MAIN) for path in runtime.sources("host", main)]
    warnings = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Wmissing-prototypes"]
    line = [compiler, "-fsyntax-only", "-Werror", *warnings, *options, *sorted(set(sources))]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
