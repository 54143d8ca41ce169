from __future__ import annotations

import pytest

from tests.armv8.test_disassembly import loop
from tests.armv8.tools import needs_mca
from tvm_dwfuse.armv8 import mca
from tvm_dwfuse.armv8.analysis import loop_cycles
from tvm_dwfuse.errors import DwfuseError

pytestmark = needs_mca


@pytest.mark.parametrize(
    ("core", "cycles"), [("cortex-a57", 1), ("cortex-a72", 1), ("neoverse-n1", 0.5), ("tsv110", 0.5)]
)
def test_throughput_of_multiply_adds(core: str, cycles: float) -> None:
    """One or two pipes, as the cores' optimisation guides have it."""
    assert mca.multiply_add_cycles(core) == pytest.approx(cycles, rel=0.02)


def test_a_chain_of_multiply_adds_waits_for_each() -> None:
    chain = loop(*["fmla v0.4s, v1.4s, v2.4s"] * 4, "subs x1, x1, #1", "b.ne 0 <f>")
    found = loop_cycles(chain, "cortex-a72")
    assert found.floor == 4
    assert found.cycles >= 3 * found.floor
    assert found.stores == found.loads == 0


def test_independent_multiply_adds_reach_the_floor() -> None:
    lines = [f"fmla v{register}.4s, v30.4s, v31.4s" for register in range(24)]
    found = loop_cycles(loop(*lines, "subs x1, x1, #1", "b.ne 0 <f>"), "cortex-a72")
    assert found.over_floor == pytest.approx(1, abs=0.01)
    assert found.busiest.startswith("A57Unit")


def test_a_branch_backward_without_a_comparison() -> None:
    found = mca.loop_cost(loop("fmla v0.4s, v1.4s, v2.4s", "tbnz w1, #3, 0 <f>"), "cortex-a72")
    assert found.cycles > 0


def test_write_back_holds_nothing_up() -> None:
    """The model of Cortex-A72 lets the next access wait for the data of one with write-back."""
    lines = ["ldr q0, [x1], #16", "ldr q1, [x2, #32]!", "ld1 {v2.4s}, [x3], x4"]
    accesses = loop(*lines * 4, "subs x5, x5, #1", "b.ne 0 <f>")
    assert mca.loop_cost(accesses, "cortex-a72").cycles == pytest.approx(12, rel=0.05)
    as_it_stands = [*lines * 4, "subs x5, x5, #1", "b.ne 0"]
    assert mca.body_cost(as_it_stands, "cortex-a72").cycles > 18


def test_an_access_to_one_lane_has_no_write_back() -> None:
    lane = ["ld1 {v0.s}[2], [x0]", "st1 {v0.s}[1], [x1]", "st1 {v0.s}[1], [x1], #4"]
    assert mca.loop_cost(loop(*lane, "subs x5, x5, #1", "b.ne 0 <f>"), "cortex-a72").cycles > 0


def test_stores_share_the_pipes_of_neoverse_n1() -> None:
    lines = [f"fmla v{register}.4s, v30.4s, v31.4s" for register in range(18)]
    storing = loop(*lines, "str q0, [x1]", "str q1, [x1, #512]", "subs x2, x2, #1", "b.ne 0 <f>")
    found = loop_cycles(storing, "neoverse-n1")
    assert found.floor == pytest.approx(9, rel=0.02)
    assert found.with_stores > found.floor + 1
    assert found.cycles >= found.with_stores - 0.1
    assert loop_cycles(storing, "cortex-a72").with_stores == pytest.approx(18, rel=0.02)


def test_an_unknown_core_is_told() -> None:
    with pytest.raises(DwfuseError, match=r"llvm-mca for nothing: .*not a recognized processor"):
        mca.multiply_add_cycles("nothing")


def test_an_unknown_instruction_is_told() -> None:
    with pytest.raises(DwfuseError, match="llvm-mca for cortex-a72"):
        mca.body_cost(["frobnicate x0"], "cortex-a72")
