"""Which latency a candidate is given: a record's, or an estimate that fits the records of its layers."""

from __future__ import annotations

import pytest

from relay_passes import KernelPrices
from relay_passes.fusion_runs import FusionRun, find_runs
from schedules import default_knobs
from schedules.space import point_of
from tests.relay_passes.fake_records import CostOf, FakeRecords
from tests.relay_passes.networks import Net
from tvm_dwfuse import cpu_costs
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.targets import CpuTarget

MACHINE = CpuTarget("test", "znver4", 16, 32, 2, 32 * 1024, 1024 * 1024, True)
ROWS = "dwpw_hwc_hwc_hwc_rows"


def two_runs() -> list[FusionRun]:
    """DW -> PW, and behind a sum another DW -> PW, twice as wide."""

    def body(net: Net, x):
        first = net.pw(net.relu(net.dw(x)), 32)
        return net.pw(net.dw(net.silu(net.add(first, x))), 64)

    return find_runs("main", Net("NHWC").build((1, 32, 14, 14), body)["main"])


def alone(block: Block, variant: str | None) -> float:
    """What a kernel is estimated to take by itself."""
    from tvm_dwfuse.variants import VARIANTS

    chosen = VARIANTS[variant] if variant else None
    return cpu_costs.latency(block, chosen, default_knobs(block, chosen, MACHINE).depth, MACHINE)


def latencies(cost_of: CostOf, **options) -> dict[tuple[int, str], float]:
    """What is priced by run and name, the time that each kernel takes more in a network taken off."""
    runs = two_runs()
    records = FakeRecords(cost_of, **options)
    prices = KernelPrices(MACHINE, 1, records).of(runs)  # type: ignore[arg-type]
    return {
        (index, each.name): prices[each].costs.latency - cpu_costs.latency_in_network(each.block, MACHINE)
        for index, run in enumerate(runs)
        for each in run.candidates
    }


def estimates() -> dict[tuple[int, str], float]:
    return {
        (index, each.name): alone(each.block, each.variant.name if each.variant else None)
        for index, run in enumerate(two_runs())
        for each in run.candidates
    }


def test_without_records_all_is_estimated() -> None:
    assert latencies(lambda block, variant: None) == pytest.approx(estimates())


def test_a_record_is_taken_as_it_is_and_scales_estimates_of_its_layers() -> None:
    def cost_of(block: Block, variant: str | None) -> float | None:
        wide = block.stages[-1].out_channels == 64
        return 3 * alone(block, variant) if variant == ROWS and wide else None

    expected = estimates()
    found = latencies(cost_of)
    assert found == pytest.approx({key: 3 * value for key, value in expected.items()})


def test_layers_without_records_take_the_mean_of_all_and_others_their_own() -> None:
    def cost_of(block: Block, variant: str | None) -> float | None:
        if variant == ROWS:
            return (2 if block.stages[-1].out_channels == 64 else 8) * alone(block, variant)
        return None

    expected = estimates()
    found = latencies(cost_of)
    for (run, name), seconds in found.items():
        assert seconds == pytest.approx((8, 2)[run] * expected[run, name])

    only_first = latencies(lambda block, variant: alone(block, None) * 5 if block.order == "dw" else None)
    assert only_first[1, "pw"] == pytest.approx(5 * expected[1, "pw"])


@pytest.mark.parametrize(("unit", "here"), [("instructions", True), ("seconds", False)])
def test_records_of_another_scale_only_order_candidates(unit: str, here: bool) -> None:
    def cost_of(block: Block, variant: str | None) -> float:
        return 1e6 * alone(block, variant) * (1.5 if variant else 1)

    expected, found = estimates(), latencies(cost_of, unit=unit, here=here)
    factors = {key: found[key] / expected[key] for key in expected}
    assert len({round(factors[key], 6) for key in factors if key[1] == ROWS}) == 1
    assert factors[0, ROWS] == pytest.approx(1.5 * factors[0, "pw"])
    assert 0.6 < factors[0, "pw"] < 1 < factors[0, ROWS] < 1.5


def test_an_own_record_is_not_moved_by_those_of_another_machine() -> None:
    class Mixed(FakeRecords):
        def find(self, block, variant, *args):
            self.here = variant is None
            return super().find(block, variant, *args)

    runs = two_runs()
    records = Mixed(lambda block, variant: alone(block, variant) * (7 if variant else 2))
    prices = KernelPrices(MACHINE, 1, records).of(runs)  # type: ignore[arg-type]
    for each in runs[0].candidates:
        seconds = prices[each].costs.latency - cpu_costs.latency_in_network(each.block, MACHINE)
        assert seconds == pytest.approx(2 * alone(each.block, each.variant.name if each.variant else None))


def test_price_tells_knobs_and_where_they_come_from() -> None:
    runs = two_runs()
    records = FakeRecords(lambda block, variant: 1e-6 if variant is None else None, default=False)
    prices = KernelPrices(MACHINE, 1, records)  # type: ignore[arg-type]
    for each, price in prices.of(runs).items():
        default = default_knobs(each.block, each.variant, MACHINE)
        if each.variant:
            assert (price.origin, price.measured, price.knobs) == ("default", False, default)
            assert prices.tuned_knobs(each.block, each.variant, None) is None
            continue
        assert (price.origin, price.measured) == ("tuned (test)", True)
        assert point_of(price.knobs) == records.point(each.block, None, MACHINE, 1, None) != point_of(default)
        assert prices.tuned_knobs(each.block, None, None) == price.knobs
