"""ChooseVariants: each fused block gets the variant that will compute it."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import relax

from schedules import legal_variants
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.variants import Variant

from .composite import VARIANT_ATTR, composite_block, composite_kind

#: Picks one of the legal variants of a block; the list is never empty.
Choose = Callable[[Block, list[Variant]], Variant]


def same_layout_first(block: Block, legal: list[Variant]) -> Variant:
    """The default rule for CPUs: the first variant whose intermediate has the layout of its input, else the first.

    Where the layouts agree, vectors run along the same axis in every stage and no store is a scatter.
    """
    del block
    return next((variant for variant in legal if variant.mid == variant.source), legal[0])


def prefer_variant(name: str) -> Choose:
    """The rule that takes the variant called ``name`` wherever it is legal, and :func:`same_layout_first` elsewhere.

    Raises:
        ValueError: there is no such variant.
    """
    wanted = Variant.parse(name)
    return lambda block, legal: wanted if wanted in legal else same_layout_first(block, legal)


@tvm.transform.module_pass(opt_level=0, name="ChooseVariants")
class ChooseVariants:
    """Writes the name of a variant into the attribute ``dwfuse.variant`` of every fused composite that has none yet.

    Single-stage composites have no variants and stay as they are, and so does a block that no variant computes
    (an inverted residual in NCHW): :class:`~relay_passes.LowerComposites` leaves that to TVM.

    Args:
        choose: picks among the legal variants of a block; by default :func:`same_layout_first`.
    """

    def __init__(self, choose: Choose = same_layout_first) -> None:
        self.choose = choose

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with variants chosen; ``mod`` itself stays as it is."""
        mod = mod.clone()
        for gv, func in mod.functions_items():
            if not isinstance(func, relax.Function) or composite_kind(func) is None or composite_variant(func):
                continue
            block = composite_block(func)
            legal = legal_variants(block)
            if legal:
                mod[gv] = func.with_attr(VARIANT_ATTR, self.choose(block, legal).name)
        return mod


def composite_variant(func: relax.Function) -> Variant | None:
    """The variant chosen for a composite, None where there is none."""
    name = (func.attrs or {}).get(VARIANT_ATTR)
    return None if name is None else Variant.parse(str(name))
