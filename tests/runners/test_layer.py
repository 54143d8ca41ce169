from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners.layer import LayerCase, LayerResult, run_layers

from .tools import needs_gvsoc, needs_host, needs_rv32, needs_sanitizer

#: y = x + addend, through L1, by all cores.
SOURCE = """
#include "dwfuse_runtime.h"
void add(int core, uint8_t *l1, const uint8_t *x, const int32_t *addend, uint8_t *y, int count) {
  if (core == 0) {
    dwfuse_dma_in(0, DWFUSE_ACTIVATION, l1, x, 1, count, count);
    dwfuse_dma_wait(0);
  }
  dwfuse_barrier();
  for (int i = core; i < count; i += CORES) l1[count + i] = (uint8_t)(l1[i] + addend[0]);
  dwfuse_barrier();
  if (core == 0) {
    dwfuse_dma_out(1, DWFUSE_ACTIVATION, l1 + count, y, 1, count, count);
    dwfuse_dma_wait(1);
  }
}
"""


def case(count: int = 100, addend: int = 1, cores: int = 8, edits: dict[str, str] | None = None) -> LayerCase:
    source = SOURCE.replace("CORES", str(cores))
    for old, new in (edits or {}).items():
        assert old in source, old
        source = source.replace(old, new)
    x = np.random.default_rng(count).integers(0, 256, count, dtype=np.uint8)
    arguments = (x, np.array([addend], np.int32), np.zeros(count, np.uint8), count)
    return LayerCase(source, "add", arguments, output=2, l1_bytes=2 * count)


def run(cases: list[LayerCase], **options) -> list[LayerResult]:
    return run_layers(cases, **{"kernels": (), "time_limit": 30, **options})


def assert_sums(cases: list[LayerCase], results: list[LayerResult]) -> None:
    assert len(results) == len(cases)
    for one, result in zip(cases, results, strict=True):
        x, addend, _, count = one.arguments
        np.testing.assert_array_equal(result.output, x + addend.astype(np.uint8))
        assert result.counters["activation_in"] == result.counters["activation_out"] == count
        assert result.counters["dma_transfers"] == 2


RUNNERS = [pytest.param("host", marks=needs_host), pytest.param("rv32", marks=needs_rv32)]


@pytest.mark.parametrize("cores", [1, 8])
@pytest.mark.parametrize("runner", RUNNERS)
def test_many_cases_in_one_program(runner: str, cores: int) -> None:
    cases = [case(50 + number, number % 5, cores, {"0]);": f"0]) /* {number % 3} */;"}) for number in range(60)]
    assert_sums(cases, run(cases, runner=runner, cores=cores))


@pytest.mark.parametrize(
    "sanitize", [pytest.param(n, marks=needs_sanitizer(n)) for n in ("address,undefined", "thread")]
)
def test_correct_cases_are_clean_under_sanitizers(sanitize: str) -> None:
    cases = [case(), case(33)]
    assert_sums(cases, run(cases, sanitize=sanitize, dma_late=True))


@needs_host
def test_no_cases() -> None:
    assert run_layers([]) == []


@needs_host
def test_output_keeps_shape_and_type() -> None:
    source = "void fill(int core, unsigned char *l1, int *y) { if (core == 0) y[5] = -7; }"
    (result,) = run([LayerCase(source, "fill", (np.arange(6, dtype=np.int32).reshape(2, 3),), 0, 8)])
    assert result.output.dtype == np.int32
    assert result.output.tolist() == [[0, 1, 2], [3, 4, -7]]


FIRST_BARRIER = "  dwfuse_barrier();\n  for"


@needs_host
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"dwfuse_dma_wait(1);": ""}, "nobody waited for the transfer on DMA slot 1"),
        ({"dwfuse_dma_wait(0);": "dwfuse_dma_wait(8);"}, "there is no transfer slot 8"),
        ({"l1, x, 1,": "l1 + 101, x, 1,"}, "a transfer of 100 bytes goes outside L1"),
        ({"l1, x, 1,": "l1 - 1, x, 1,"}, "a transfer of 100 bytes goes outside L1"),
        ({"l1, x, 1,": "l1, x, 0,"}, "a transfer of 0 bytes is impossible"),
        ({"dwfuse_dma_wait(0);": "for (;;) dwfuse_dma_in(0, 0, l1, x, 1, 1, 1);"}, "too many transfers under way"),
        ({"dwfuse_dma_wait(1);": "dwfuse_dma_wait(1); y[count] = 1;"}, "argument 2 was written outside its bounds"),
        ({"dwfuse_dma_wait(1);": "dwfuse_dma_wait(1); y[-32] = 1;"}, "argument 2 was written outside its bounds"),
    ],
)
def test_faults_of_a_layer_are_found_and_the_case_is_named(runner: str, edits: dict[str, str], message: str) -> None:
    with pytest.raises(DwfuseError, match=rf"^case 1 \(add\): .*{message}"):
        run([case(), case(edits=edits), case()], runner=runner)


@needs_host
@pytest.mark.parametrize(
    "edits",
    [
        {
            "    dwfuse_dma_wait(0);\n  }\n": "  }\n",
            "dwfuse_dma_wait(1);": "dwfuse_dma_wait(1);\n    dwfuse_dma_wait(0);",
        },
        {"    dwfuse_dma_wait(1);": "    for (int i = 0; i < count; i++) l1[count + i] = 0;\n    dwfuse_dma_wait(1);"},
    ],
    ids=["read before it came", "overwritten before it left"],
)
def test_late_copies_show_wrong_order(edits: dict[str, str]) -> None:
    wrong = case(edits=edits)
    assert_sums([wrong], run([wrong]))
    with pytest.raises(AssertionError):
        assert_sums([wrong], run([wrong], dma_late=True))


@needs_sanitizer("thread")
def test_missing_barrier_is_a_race() -> None:
    with pytest.raises(DwfuseError, match=r"^case 0 \(add\): .*ThreadSanitizer: data race"):
        run([case(edits={FIRST_BARRIER: "  for"})], sanitize="thread")


@needs_sanitizer("address,undefined")
@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"l1[count + i] =": "l1[count + 1 + i] ="}, "heap-buffer-overflow"),
        ({"dwfuse_dma_wait(1);": "dwfuse_dma_wait(1); y[count] = 1;"}, "heap-buffer-overflow"),
        ({"addend[0]": "(addend[0] << 31 << core)"}, "runtime error: left shift"),
    ],
)
def test_sanitizers_find_faults(edits: dict[str, str], message: str) -> None:
    with pytest.raises(DwfuseError, match=rf"^case 0 \(add\): .*{message}"):
        run([case(edits=edits)], sanitize="address,undefined")


@needs_host
def test_memory_nobody_wrote_holds_a_pattern() -> None:
    source = "void peek(int core, unsigned char *l1, unsigned char *y) { if (core == 0) y[0] = l1[3], l1[3] = 0; }"
    peek = LayerCase(source, "peek", (np.zeros(1, np.uint8),), 0, 8)
    assert [result.output[0] for result in run([peek, peek])] == [0xA5, 0xA5]


@needs_gvsoc
def test_cases_run_on_gvsoc() -> None:
    cases = [case(100), case(6_000, 2)]
    few, many = run_layers(cases, "gvsoc")
    for one, result in zip(cases, (few, many), strict=True):
        np.testing.assert_array_equal(result.output, one.arguments[0] + one.arguments[1].astype(np.uint8))
    assert few.ticks < many.ticks


@needs_host
def test_bad_requests_are_refused() -> None:
    with pytest.raises(DwfuseError, match=r"add_case_0:10:3: error: unknown type name .expected."):
        run([case(edits={"dwfuse_barrier();\n  if": "expected expected;\n if"})])
    with pytest.raises(DwfuseError, match="runners are 'host', 'rv32' and 'gvsoc'"):
        run([case()], runner="board")
    with pytest.raises(DwfuseError, match="sanitizers run on the host only"):
        run([case()], runner="rv32", sanitize="thread")
    with pytest.raises(DwfuseError, match="add: argument 3 is no array"):
        run([replace(case(), output=3)])
    with pytest.raises(DwfuseError, match="65 cores are not possible"):
        run([case()], cores=65)
