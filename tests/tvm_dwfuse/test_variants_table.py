from __future__ import annotations

from dataclasses import replace

import pytest

from tests.blocks import block_for, depthwise, pointwise
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.variants import ORDERS, TRAVERSALS, VARIANTS, Variant


def block_of(name: str, **attrs: object) -> Block:
    variant = VARIANTS[name]
    return block_for(variant, (4, 8, 4)[: 3 if variant.order == "pwdwpw" else 2], (8, 8), **attrs)


def test_the_table_is_the_papers_set_and_the_triple() -> None:
    assert list(VARIANTS) == [
        "dwpw_chw_hwc_chw_rows",
        "dwpw_hwc_hwc_hwc_rows",
        "pwdw_chw_chw_chw_channels",
        "pwdw_hwc_chw_hwc_channels",
        "pwdw_hwc_hwc_hwc_channels",
        "pwdw_hwc_chw_hwc_rows",
        "pwdw_hwc_hwc_hwc_rows",
        "pwdwpw_hwc_hwc_hwc_rows",
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_names_parse_and_print(name: str) -> None:
    variant = Variant.parse(name)
    assert variant.name == name
    assert variant.order in ORDERS
    assert variant.traversal in TRAVERSALS
    order, source, mid, sink, traversal = name.split("_")
    assert variant == Variant(order, source, mid, sink, traversal)
    layouts = {"hwc": "NHWC", "chw": "NCHW"}
    assert (variant.in_layout, variant.out_layout) == (layouts[source], layouts[sink])


@pytest.mark.parametrize("name", ["dwpw_hwc_hwc_hwc_channels", "dwpw", "", "DWPW_HWC_HWC_HWC_ROWS"])
def test_unknown_names_are_refused_with_those_known(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown variant {name!r}; known: dwpw_chw_hwc_chw_rows, .*"):
        Variant.parse(name)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_supports_blocks_of_its_order_in_its_layout(name: str) -> None:
    variant = VARIANTS[name]
    for other in VARIANTS.values():
        expected = (other.order, other.source) == (variant.order, variant.source)
        assert variant.supports(block_of(other.name)) is expected
    assert not variant.supports(replace(block_of(name), prologue=("scale",)))


@pytest.mark.parametrize("name", VARIANTS)
def test_single_stages_have_no_variant(name: str) -> None:
    for stage in (depthwise(4), pointwise(4, 4)):
        assert not VARIANTS[name].supports(Block((stage,), 1, 4, 4, VARIANTS[name].in_layout))


@pytest.mark.parametrize("name", VARIANTS)
def test_walks_by_rows_need_every_row_of_the_intermediate(name: str) -> None:
    by_rows = name.startswith("pw") and name.endswith("rows")
    attrs = {"kernel": (1, 3), "stride": 2, "padding": (0, 0, 0, 0)}
    assert VARIANTS[name].supports(block_of(name, **attrs)) is not by_rows
    assert VARIANTS[name].supports(block_of(name, **attrs | {"kernel": (2, 3)}))
