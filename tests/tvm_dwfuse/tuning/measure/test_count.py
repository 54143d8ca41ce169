"""Counting instructions of candidates under qemu."""

from __future__ import annotations

import pytest

from tests.armv8.tools import needs_qemu
from tvm_dwfuse.armv8 import tools
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import ARMV8_TARGETS
from tvm_dwfuse.tuning.measure.count import CountRunner

from . import faulty

TASK = faulty.task_for(machine=ARMV8_TARGETS["cortex-a72"])

ORDER = (faulty.NONE, faulty.REFUSED, faulty.WRONG, faulty.CRASHING, faulty.HANGING, faulty.NONE)


@needs_qemu
def test_instructions_and_failures() -> None:
    runner = CountRunner(limit_s=5, kernel_at=faulty.kernel_at)
    try:
        found = dict(runner.measure(TASK, [faulty.with_fault(TASK, fault) for fault in ORDER]))
    finally:
        runner.close()
    good, refused, wrong, crashing, hanging, again = (found[index] for index in range(len(ORDER)))
    assert good.ok
    assert good == again, "a count is the same in every run"
    assert 0.25 < good.cost / faulty.BLOCK.macs() < 2
    assert good.cost == int(good.cost)
    assert refused.error == "build: no such kernel"
    assert wrong.error.startswith("wrong: outputs differ by ")
    assert crashing.error.startswith("crash: ended with status -6")
    assert hanging.error == "timeout: the run took longer than 5 s"


@needs_qemu
@pytest.mark.parametrize("package", ["gcc-aarch64-linux-gnu", "qemu-user"])
def test_an_absent_tool_is_told(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = tools._find.__wrapped__

    def find_others(names: tuple[str, ...], wanted: str) -> str:
        return find(("no-such-program",) if wanted == package else names, wanted)

    monkeypatch.setattr(tools, "_find", find_others)
    with pytest.raises(DwfuseError, match=f"no-such-program: `apt-get install {package}`"):
        CountRunner()
