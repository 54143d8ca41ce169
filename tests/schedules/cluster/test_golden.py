"""The C of typical schedules, to be read: `pytest --update-golden` writes it anew after a change."""

from __future__ import annotations

from typing import Any

import pytest

from schedules.cluster import build_group
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.codegen_gap8.printer import print_function
from tvm_dwfuse.groups import Group
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Tile

from .groups import chain_group
from .test_chains import depthwise
from .test_elementwise import add_group, pool_group

GROUPS: dict[str, Group] = {
    "dwpw_hwc_hwc_hwc_rows": chain_group((depthwise(16), Conv(16, 24)), 14, 14, ("hwc",) * 3, Tile(2, 24, (16, 8))),
    "pwdw_hwc_chw_hwc_rows": chain_group(
        (Conv(16, 24), depthwise(24, stride=2)), 14, 14, ("hwc", "chw", "hwc"), Tile(1, 24, (24, 24))
    ),
    "pwdw_chw_chw_chw_channels": chain_group((Conv(16, 24), depthwise(24)), 14, 14, ("chw",) * 3, Tile(14, 8, (8, 8))),
    "pwdwpw_hwc_hwc_hwc_rows": chain_group(
        (Conv(8, 24), depthwise(24), Conv(24, 8)), 14, 14, ("hwc",) * 4, Tile(2, 8, (8, 24, 4))
    ),
    "sum": add_group(1000, 256, True),
    "average_pool": pool_group(7, 7, 64, "hwc", 32, True),
}


@pytest.mark.parametrize("name", GROUPS)
def test_golden(name: str, golden: Any) -> None:
    golden.check(f"{name}.c", print_function(build_group(GROUPS[name]), GAP8).text)


def test_no_orphans(golden: Any) -> None:
    golden.check_no_orphans([f"{name}.c" for name in GROUPS])
