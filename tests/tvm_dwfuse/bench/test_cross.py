from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.bench import cross
from tvm_dwfuse.bench.cross import CrossBuild, ZooNetwork, cross_builds_table


class Emulated:
    """Stands for an artifact under qemu, whose outputs are off by a part of their range."""

    def __init__(self, outputs: list[np.ndarray], error: float) -> None:
        self.outputs = outputs
        self.error = error

    def run(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [output + np.float32(self.error * np.ptp(output)) for output in self.outputs]


@pytest.mark.parametrize(("error", "fine"), [(0.0, True), (5e-5, True), (2e-4, False), (np.nan, False)])
def test_outputs_are_compared_with_the_host(error: float, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = ZooNetwork("ds_cnn_s")
    outputs = [np.linspace(-1, 3, 10, dtype=np.float32), np.ones(3, np.float32)]
    network._example = {}, outputs
    monkeypatch.setattr(cross, "load_cross", lambda folder: Emulated(outputs, error))
    if fine:
        assert network._error(Path("b"), lambda phase: None) == pytest.approx(error, rel=1e-2, abs=1e-7)
        return
    with pytest.raises(DwfuseError, match=r"b: outputs differ from the host's by (2\.0e-04|nan) of their range"):
        network._error(Path("b"), lambda phase: None)


def test_table_has_a_row_for_each_artifact() -> None:
    builds = [
        CrossBuild("a", "cortex-a53", 1.25, 10 << 10, 1 << 20, 3, 2e-6),
        CrossBuild("b", "armv8-a", 10, 1, 1, 0, None),
    ]
    lines = cross_builds_table(builds).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["a", "cortex-a53", "1.2", "10", "1,024", "3", "2.0e-06"],
        ["b", "armv8-a", "10.0", "0", "0", "0", "-"],
    ]
