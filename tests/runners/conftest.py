"""A hand-written application that does what generated ones do, on all platforms."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_dwfuse.codegen_gap8 import runtime
from tvm_dwfuse.runners import Application

TOY = Path(__file__).parent / "toy"

#: What its transfers add up to.
TOY_COUNTERS = {
    "checked": 3,
    "activation_in": 2048,
    "activation_out": 2048,
    "constant_in": 40000,
    "dma_transfers": 7,
    "l3_in": 41024,
    "l3_out": 1024,
    "l3_transfers": 3,
}


class Toy:
    """The application in a folder of its own, an input, and what comes out.

    Args:
        folder: where to put it.
        edits: texts of ``network.c`` and what to put in their place.
    """

    def __init__(self, folder: Path, edits: dict[str, str]) -> None:
        generator = np.random.default_rng(3)
        x = generator.integers(0, 256, (64, 32), dtype=np.uint8)
        weights = generator.integers(0, 256, 40000, dtype=np.uint8)
        first = (x[::2] + np.uint8(1)).reshape(-1)
        second = first + weights[19 * np.arange(1024) % 40000]
        self.folder, self.input, self.output = folder, x.tobytes(), second.tobytes()
        (folder / "golden").mkdir()
        (folder / "golden/first.bin").write_bytes(first.tobytes())
        (folder / "golden/second.bin").write_bytes(self.output)
        (folder / "weights.bin").write_bytes(weights.tobytes())
        (folder / "network.c").write_text(_edited((TOY / "network.c").read_text(), edits))
        shutil.copy(TOY / "Makefile", folder)
        (folder / "runtime").mkdir()
        for name in runtime.APPLICATION_FILES:
            shutil.copy(runtime.FOLDER / name, folder / "runtime")
        application = Application(
            name="toy",
            cores=8,
            l1_bytes=42048,
            l2_bytes=44096,
            input_bytes=2048,
            output_bytes=1024,
            sources=("network.c",),
            include=(),
            weights="weights.bin",
            golden="golden",
        )
        application.write(folder)


def _edited(text: str, edits: dict[str, str]) -> str:
    for old, new in edits.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def make_toy(tmp_path: Path) -> Callable[..., Toy]:
    return lambda edits=None: Toy(tmp_path, edits or {})


@pytest.fixture
def toy(make_toy: Callable[..., Toy]) -> Toy:
    return make_toy()
