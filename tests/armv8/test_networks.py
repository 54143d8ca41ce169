from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.armv8.tools import needs_qemu
from tvm_dwfuse.armv8 import networks
from tvm_dwfuse.armv8.networks import count_network
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets.armv8 import ARMV8_TARGETS


@needs_qemu
def test_counts_of_a_network_by_function() -> None:
    found = count_network("ds_cnn_s", ARMV8_TARGETS["cortex-a72"])
    assert sum(found.by_function.values()) == found.counts.instructions
    kernels = sum(count for name, count in found.by_function.items() if name.startswith("kernel_"))
    assert 0.99 < kernels / found.counts.instructions <= 1
    # 2.7 million multiply-accumulates, four at a time.
    assert 2.7e6 / 4 < found.counts.instructions < 2.7e6


def test_outputs_that_differ_from_the_host_are_told(tmp_path: Path) -> None:
    file = tmp_path / "output.bin"
    np.array([1, 2, 3.001], np.float32).tofile(file)
    with pytest.raises(DwfuseError, match="outputs under qemu are not those of the host"):
        networks._compare("net", [np.array([1, 2, 3], np.float32)], [file])
