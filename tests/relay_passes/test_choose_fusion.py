"""The choice over a network: never worse than the fixed rules, true to tuned records, and right in what it tells."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tvm
from tvm import relax

import relay_passes
from relay_passes import (
    ChooseFusion,
    ChooseVariants,
    FuseConvolutions,
    FuseSeparableBlocks,
    FusionPlan,
    FusionPlanner,
    KernelPrices,
    LowerComposites,
    explain_blocks,
    prefer_variant,
)
from relay_passes.choose_fusion import FUSED, UNFUSED, FixedRule
from relay_passes.fusion_runs import find_runs
from schedules import build_kernel, default_knobs
from tests.relay_passes.fake_records import FakeRecords
from tests.relay_passes.networks import Net, composites, run
from tvm_dwfuse import cpu_costs, zoo
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.choice import Objective
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.frontend import import_onnx
from tvm_dwfuse.targets import CpuTarget, host_target
from tvm_dwfuse.variants import VARIANTS

MACHINE = CpuTarget("test", "znver4", 16, 32, 2, 32 * 1024, 1024 * 1024, True)
NETWORKS = ("mobilenet_v1_0.25_128", "mobilenet_v2_0.35_96", "mobilenet_v3_small_1.0_224", "mcunet_vww")
OBJECTIVES = ("latency", "traffic", "energy", "memory", "latency=1,traffic=0.2", "latency=1,memory=1")


@cache
def canonical(name: str) -> tvm.IRModule:
    return tvm.transform.Sequential(relay_passes.canonicalize_passes())(import_onnx(zoo.build(name)))


def inverted_residuals() -> tvm.IRModule:
    """Two inverted residuals, the second one with a sum."""

    def body(net: Net, x):
        narrow = net.pw(net.relu6(net.dw(net.relu6(net.pw(x, 48)))), 16)
        wide = net.relu6(net.pw(narrow, 96))
        return net.add(net.pw(net.relu6(net.dw(wide)), 16), narrow)

    return Net("NHWC").build((1, 16, 14, 14), body)


def planner(objective: str = "latency", records: FakeRecords | None = None, **options) -> FusionPlanner:
    prices = KernelPrices(MACHINE, 1, records)  # type: ignore[arg-type]
    return FusionPlanner(prices, Objective.parse(objective), **options)


def built_kernel(kernels: list[tvm.tirx.PrimFunc], block: Block) -> tvm.tirx.PrimFunc:
    (built,) = [func for func in kernels if str(func.attrs["dwfuse.kernel_block"]) == block.to_json()]
    return built


def names(plan: FusionPlan) -> list[str]:
    return [kernel.candidate.name for kernel in plan.kernels]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", NETWORKS)
def test_never_worse_than_everything_or_nothing_fused(name: str, objective: str) -> None:
    chooser = planner(objective)
    plan = chooser.plan(canonical(name))
    wanted = chooser.objective
    if wanted.single:
        keys = [wanted.key(costs) for costs in (plan.costs, plan.unfused, plan.fused)]
        assert keys[0] <= min(keys[1:])
        return
    # The weighted sums of three plans, relative to the best of these: the scale of a metric is the same for all.
    fronts = chooser.pareto(canonical(name)).points
    best = type(plan.costs)(*(min(getattr(costs, metric) for costs, _ in fronts) for metric in vars(plan.costs)))
    sums = [wanted.weighted(costs, best) for costs in (plan.costs, plan.unfused, plan.fused)]
    assert sums[0] <= min(sums[1:]) * (1 + 1e-9)


def test_a_mix_must_gain_what_is_sure() -> None:
    """DW -> PW -> DW -> PW: a triple behind the first is better than two pairs by 1%, and once by much."""

    def body(net: Net, x):
        return net.pw(net.dw(net.pw(net.dw(x), 32)), 32)

    mod = Net("NHWC").build((1, 32, 14, 14), body)

    def taken(scale: float, measured: bool) -> list[str]:
        def cost_of(block: Block, variant: str | None) -> float | None:
            if not measured and variant is None and block.order == "dw":
                return None
            estimate = cpu_costs.latency(block, VARIANTS[variant] if variant else None, 1, MACHINE)
            return 1e3 * estimate * (scale if block.order == "pwdwpw" else 0.9 if variant else 1)

        return names(planner(records=FakeRecords(cost_of)).plan(mod))

    pairs = ["dwpw_hwc_hwc_hwc_rows"] * 2
    middle = ["dw", "pwdwpw_hwc_hwc_hwc_rows"]
    for measured in (True, False):
        assert taken(0.885, measured) == pairs
        assert taken(0.5, measured) == middle


def test_every_layer_is_computed_once_and_in_order() -> None:
    mod = canonical("mobilenet_v3_small_1.0_224")
    plan = planner().plan(mod)
    convs = [conv for kernel in plan.kernels for conv in kernel.candidate.match.convs]
    singles = [match.convs[0] for match in relay_passes.find_convolutions("main", mod["main"])]
    assert sorted(convs) == sorted(singles)
    lasts = [kernel.candidate.match.positions[-1] for kernel in plan.kernels]
    assert lasts == sorted(lasts)


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        (FUSED, [FuseSeparableBlocks(), ChooseVariants()]),
        (UNFUSED, []),
        (
            FixedRule("variant", choose=prefer_variant("pwdw_hwc_hwc_hwc_channels")),
            [FuseSeparableBlocks(), ChooseVariants(prefer_variant("pwdw_hwc_hwc_hwc_channels"))],
        ),
    ],
    ids=["fused", "unfused", "variant"],
)
def test_fixed_rules_are_those_of_the_passes(rule: FixedRule, passes: list) -> None:
    mod = canonical("mobilenet_v1_0.25_128")
    expected = tvm.transform.Sequential(passes)(mod) if passes else mod
    found = ChooseFusion(planner(rule=rule).plan)(mod)
    tvm.ir.assert_structural_equal(found, expected)


def test_a_plan_is_what_the_pass_lifts_and_what_is_explained() -> None:
    mod = inverted_residuals()
    plan = planner("traffic").plan(mod)
    lifted = ChooseFusion(lambda _: plan)(mod)
    assert names(plan) == ["pwdwpw_hwc_hwc_hwc_rows"] * 2
    variants = [str(func.attrs["dwfuse.variant"]) for func in composites(lifted).values()]
    assert variants == names(plan)
    assert [report.composite for report in explain_blocks(mod, plan.resolve)] == ["dwfuse.pwdwpw"] * 2


def test_records_decide() -> None:
    def alone_is_free(block: Block, variant: str | None) -> float:
        return 1e-3 if variant else 1e-9

    def pairs_are_free(block: Block, variant: str | None) -> float:
        return 1e-9 if variant == "pwdw_hwc_chw_hwc_rows" else 1e-3 * len(block.stages)

    mod = inverted_residuals()
    assert set(names(planner(records=FakeRecords(alone_is_free)).plan(mod))) == {"pw", "dw"}
    plan = planner(records=FakeRecords(pairs_are_free)).plan(mod)
    assert names(plan) == ["pwdw_hwc_chw_hwc_rows", "pw"] * 2
    (first, _, _, _) = plan.kernels
    assert first.price.measured
    assert first.rival is not None
    assert first.rival.costs.latency > 2.5 * first.rival.chosen.latency
    assert plan.costs.latency < plan.fused.latency


def test_runner_up_covers_the_same_layers() -> None:
    plan = planner("traffic").plan(inverted_residuals())
    kernel = plan.kernels[0]
    assert kernel.rival is not None
    assert kernel.rival.convs == kernel.candidate.match.convs
    assert kernel.rival.chosen == kernel.price.costs
    assert kernel.rival.costs.traffic > kernel.price.costs.traffic
    assert sum(len(each.match.convs) for each in kernel.rival.candidates) == 3
    assert kernel.unfused is not None
    assert kernel.unfused.traffic >= kernel.rival.costs.traffic


def test_inputs_name_the_kernels_that_are_read() -> None:
    def body(net: Net, x):
        first = net.pw(x, 8)
        second = net.dw(net.squeeze_excite(first))
        return net.add(net.pw(net.emit(relax.op.nn.max_pool2d(second, layout="NHWC")), 8), first)

    plan = planner(rule=UNFUSED).plan(Net("NHWC").build((1, 8, 8, 8), body))
    assert [kernel.candidate.match.convs for kernel in plan.kernels] == [("lv",), ("lv2",), ("lv7",), ("lv9",)]
    assert [kernel.inputs for kernel in plan.kernels] == [(-1,), (0,), (0, 1), (0, 2)]


def test_memory_limit_is_kept_or_refused() -> None:
    mod = inverted_residuals()
    unlimited = planner(rule=UNFUSED).plan(mod)
    least = planner("memory").plan(mod).costs.memory
    assert least < unlimited.costs.memory
    assert planner(memory_limit=int(least)).plan(mod).costs.memory == least
    with pytest.raises(DwfuseError, match=r"a memory limit of .* bytes: the run of lv5 -> lv7 -> lv9 needs more"):
        planner(memory_limit=int(least) - 1).plan(mod)


def test_memory_of_other_operators_counts_too() -> None:
    def body(net: Net, x):
        made = net.dw(x)
        return net.add(net.emit(relax.op.exp(net.emit(relax.op.sin(made)))), made)

    mod = Net("NHWC").build((1, 8, 8, 8), body)
    plan = planner("memory").plan(mod)
    assert plan.costs.memory == 3 * 4 * 8 * 8 * 8
    with pytest.raises(DwfuseError, match="what stands between the convolutions needs more"):
        planner(memory_limit=int(plan.costs.memory) - 1).plan(mod)


def test_front_has_the_best_of_each() -> None:
    mod = inverted_residuals()
    points = planner().pareto(mod).points
    for metric in ("latency", "traffic", "energy", "memory"):
        best = getattr(planner(metric).plan(mod).costs, metric)
        assert min(getattr(costs, metric) for costs, _ in points) == pytest.approx(best)


def test_a_tuned_kernel_is_built_with_its_knobs_and_others_by_default() -> None:
    mod, machine = inverted_residuals(), host_target()

    def only_triples(block: Block, variant: str | None) -> float | None:
        return 1e-9 if block.order == "pwdwpw" and block.stages[0].out_channels == 48 else None

    records = FakeRecords(only_triples, default=False)
    prices = KernelPrices(machine, 1, records)  # type: ignore[arg-type]
    chooser = FusionPlanner(prices, rule=FUSED)
    plan = chooser.plan(mod)
    passes = [ChooseFusion(chooser.plan), FuseConvolutions(), LowerComposites(machine, 1, prices.tuned_knobs)]
    lowered = tvm.transform.Sequential(passes)(mod)
    kernels = [func for _, func in lowered.functions_items() if func.attrs and "dwfuse.kernel_block" in func.attrs]
    variant = VARIANTS["pwdwpw_hwc_hwc_hwc_rows"]
    tuned, default = (kernel.candidate.block for kernel in plan.kernels)
    knobs = prices.tuned_knobs(tuned, variant, None)
    assert knobs is not None
    assert knobs != default_knobs(tuned, variant, machine)
    for block, chosen in ((tuned, knobs), (default, None)):
        built = built_kernel(kernels, block)
        expected = build_kernel(block, variant, machine, 1, chosen).func
        tvm.ir.assert_structural_equal(built.body, expected.body, map_free_vars=True)
    untuned = build_kernel(tuned, variant, machine).func
    with pytest.raises(ValueError, match="StructuralEqual"):
        tvm.ir.assert_structural_equal(built_kernel(kernels, tuned).body, untuned.body, map_free_vars=True)


def test_what_is_chosen_computes_the_same() -> None:
    mod, machine = inverted_residuals(), host_target()
    x = np.random.default_rng(0).standard_normal((1, 14, 14, 16)).astype(np.float32)
    (expected,) = run(mod, x)

    def cost_of(block: Block, variant: str | None) -> float:
        favourites = {48: "pwdw_hwc_hwc_hwc_channels", 96: "dwpw_hwc_hwc_hwc_rows"}
        return 1e-9 if variant == favourites.get(block.stages[0].out_channels) else 1e-3 * len(block.stages)

    prices = KernelPrices(machine, 1, FakeRecords(cost_of, default=False))  # type: ignore[arg-type]
    passes = [
        ChooseFusion(FusionPlanner(prices).plan),
        FuseConvolutions(),
        LowerComposites(machine, 1, prices.tuned_knobs),
    ]
    lowered = tvm.transform.Sequential(passes)(mod)
    variants = {
        str(func.attrs["dwfuse.kernel_variant"])
        for _, func in lowered.functions_items()
        if func.attrs and "dwfuse.kernel_variant" in func.attrs
    }
    assert variants == {"pwdw_hwc_hwc_hwc_channels", "dwpw_hwc_hwc_hwc_rows"}
    (found,) = run(lowered, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))


def test_scaling_apart_is_paid_for() -> None:
    def body(net: Net, x):
        return net.dw(net.pw(net.squeeze_excite(x), 32))

    mod = Net("NHWC").build((1, 16, 14, 14), body)
    prices = KernelPrices(MACHINE).of(find_runs("main", mod["main"]))
    fused = next(each for each in prices if each.scales_apart)
    assert prices[fused].costs.traffic == cpu_costs.traffic(fused.block, fused.variant, 1, MACHINE) + 2 * 4 * 16 * 14**2
