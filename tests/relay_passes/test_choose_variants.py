from __future__ import annotations

from dataclasses import replace

import pytest
import tvm
from tvm import relax

from relay_passes import (
    ChooseVariants,
    FuseConvolutions,
    FuseSeparableBlocks,
    composite_block,
    prefer_variant,
    same_layout_first,
)
from relay_passes.choose_variants import VARIANT_ATTR, composite_variant
from tests.blocks import block_for
from tests.relay_passes.networks import Net, composites
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.variants import VARIANTS, Variant

SHAPE = (1, 4, 8, 8)


def dw_pw(net: Net, x: relax.Expr) -> relax.Expr:
    return net.relu(net.pw(net.relu(net.dw(x)), 8))


def pw_dw(net: Net, x: relax.Expr) -> relax.Expr:
    return net.relu(net.dw(net.relu6(net.pw(x, 8))))


def triple(net: Net, x: relax.Expr) -> relax.Expr:
    return net.pw(net.relu6(net.dw(net.relu6(net.pw(x, 8)))), 4)


def fused(layout: str, body) -> tvm.IRModule:
    return FuseSeparableBlocks()(Net(layout).build(SHAPE, body))


def chosen(mod: tvm.IRModule) -> list[str | None]:
    variants = [composite_variant(func) for func in composites(mod).values()]
    return [variant.name if variant else None for variant in variants]


@pytest.mark.parametrize(
    ("layout", "body", "name"),
    [
        ("NHWC", dw_pw, "dwpw_hwc_hwc_hwc_rows"),
        ("NCHW", dw_pw, "dwpw_chw_hwc_chw_rows"),
        ("NHWC", pw_dw, "pwdw_hwc_hwc_hwc_channels"),
        ("NCHW", pw_dw, "pwdw_chw_chw_chw_channels"),
        ("NHWC", triple, "pwdwpw_hwc_hwc_hwc_rows"),
        ("NCHW", triple, None),
    ],
)
def test_default_choice(layout: str, body, name: str | None) -> None:
    assert chosen(ChooseVariants()(fused(layout, body))) == [name]


def test_only_the_attribute_is_added() -> None:
    before = fused("NHWC", dw_pw)
    expected = before.clone()
    (name,) = composites(before)
    expected[name] = before[name].with_attr(VARIANT_ATTR, "dwpw_hwc_hwc_hwc_rows")
    tvm.ir.assert_structural_equal(ChooseVariants()(before), expected)


def test_the_module_given_stays_as_it_is() -> None:
    before, again = fused("NHWC", dw_pw), fused("NHWC", dw_pw)
    ChooseVariants()(before)
    tvm.ir.assert_structural_equal(before, again)


def test_single_stages_and_plain_functions_stay() -> None:
    mod = FuseConvolutions()(Net("NHWC").build(SHAPE, lambda net, x: net.relu(net.conv(x, 8, 3))))
    assert composites(mod)
    tvm.ir.assert_structural_equal(ChooseVariants()(mod), mod)


def test_a_caller_chooses_among_the_legal_ones() -> None:
    asked: list[tuple[Block, list[str]]] = []

    def last(block: Block, legal: list[Variant]) -> Variant:
        asked.append((block, [variant.name for variant in legal]))
        return legal[-1]

    mod = fused("NHWC", pw_dw)
    assert chosen(ChooseVariants(last)(mod)) == ["pwdw_hwc_hwc_hwc_rows"]
    (func,) = composites(mod).values()
    assert asked == [(composite_block(func), [name for name in VARIANTS if name.startswith("pwdw_hwc")])]


def test_a_preferred_variant_is_taken_where_it_is_legal_and_the_default_elsewhere() -> None:
    def both(net: Net, x: relax.Expr) -> relax.Expr:
        return net.add(pw_dw(net, x), dw_pw(net, x))

    mod = ChooseVariants(prefer_variant("pwdw_hwc_chw_hwc_rows"))(fused("NHWC", both))
    assert sorted(chosen(mod)) == ["dwpw_hwc_hwc_hwc_rows", "pwdw_hwc_chw_hwc_rows"]
    assert chosen(ChooseVariants(prefer_variant("pwdw_hwc_chw_hwc_rows"))(fused("NCHW", pw_dw))) == [
        "pwdw_chw_chw_chw_channels"
    ]


def test_an_unknown_preference_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="unknown variant 'fast'; known: "):
        prefer_variant("fast")


def test_the_default_rule_keeps_one_layout_where_it_can() -> None:
    block = block_for(VARIANTS["pwdw_hwc_hwc_hwc_rows"], (4, 8), (8, 8))
    legal = [VARIANTS["pwdw_hwc_chw_hwc_rows"], VARIANTS["pwdw_hwc_hwc_hwc_rows"]]
    assert same_layout_first(block, legal) is legal[1]
    assert same_layout_first(block, legal[:1]) is legal[0]
    only = [VARIANTS["dwpw_chw_hwc_chw_rows"]]
    assert same_layout_first(replace(block, layout="NCHW"), only) is only[0]
