from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import rv32, toolchain

from .conftest import TOY_COUNTERS
from .tools import needs_rv32


@needs_rv32
@pytest.mark.parametrize("dma_late", [False, True])
def test_output_counters_and_instructions(toy, dma_late: bool) -> None:
    runs = [rv32.run(toy.folder, toy.input, check=True, dma_late=dma_late) for _ in range(2)]
    for result in runs:
        assert result.outputs == {"output": toy.output}
        assert result.counters == TOY_COUNTERS
        assert result.unit == "instructions"
    assert runs[0].ticks == runs[1].ticks > 0


@needs_rv32
def test_waiting_harts_are_not_counted_as_work(make_toy) -> None:
    """Seven harts sleep while the first one works: the count grows by about its own instructions."""
    loop = 'for (int i = 0; i < 100000; i++) __asm__ volatile("");\n  memset(middle, 0, HALF);'
    toy = make_toy({"  memset(middle, 0, HALF);": loop})
    busy = rv32.run(toy.folder, toy.input).ticks
    (toy.folder / "network.c").write_text((toy.folder / "network.c").read_text().replace("100000", "1"))
    grown = busy - rv32.run(toy.folder, toy.input).ticks
    assert 200_000 <= grown <= 400_000


@needs_rv32
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ('dwfuse_fail("second", "for a test");', "ended with status 1: dwfuse: layer second: for a test"),
        ('__asm__ volatile(".word 0");', "ended with status 99"),
        ("((void (*)(void))0x20)();", "ended with status 99"),
        ("for (;;) {}", "not done after 1 s"),
    ],
)
def test_failures_are_failures(make_toy, edit: str, message: str) -> None:
    toy = make_toy({"  memset(middle, 0, HALF);": edit})
    with pytest.raises(DwfuseError, match=message):
        rv32.run(toy.folder, toy.input, time_limit=1 if "for (;" in edit else 20)


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DwfuseError, match="`apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf`"):
        toolchain.rv32()
    with pytest.raises(DwfuseError, match="`apt-get install qemu-system-misc`"):
        rv32.command(Path("program"))
