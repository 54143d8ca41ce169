"""The one table of fused variants, and the grammar of their names.

A name reads in data-flow order, ``<order>_<in>_<mid>_<out>_<traversal>``: the order of the convolutions, the layouts
of input, intermediate and output, and whether the intermediate is produced by rows or by channels. The first seven
are the set of Daghero et al. 2024 (their kernels write in, out, mid); the last one has no counterpart there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .blocks import Block, Conv, Layout

ORDERS = ("dwpw", "pwdw", "pwdwpw")
TRAVERSALS = ("rows", "channels")
_LAYOUTS: dict[str, Layout] = {"hwc": "NHWC", "chw": "NCHW"}


@dataclass(frozen=True)
class Variant:
    """A way to compute a fused block. ``source``, ``mid`` and ``sink`` are ``"hwc"`` or ``"chw"``."""

    order: str
    source: str
    mid: str
    sink: str
    traversal: str

    @property
    def name(self) -> str:
        """The name in the grammar above."""
        return "_".join((self.order, self.source, self.mid, self.sink, self.traversal))

    @property
    def in_layout(self) -> Layout:
        """Layout of the block's input."""
        return _LAYOUTS[self.source]

    @property
    def out_layout(self) -> Layout:
        """Layout of the block's output."""
        return _LAYOUTS[self.sink]

    def supports(self, block: Block) -> bool:
        """Whether this variant computes ``block`` as it stands, without a layout change around it."""
        if block.order != self.order or not self.in_layout == self.out_layout == block.layout or block.prologue:
            return False
        return self.order == "dwpw" or self.traversal == "channels" or not _skips_rows(block.stages[1])

    @staticmethod
    def parse(name: str) -> Variant:
        """The variant of that name.

        Raises:
            ValueError: the name is not in :data:`VARIANTS`; the message lists those that are.
        """
        if name not in VARIANTS:
            raise ValueError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
        return VARIANTS[name]


def _skips_rows(depthwise: Conv) -> bool:
    """Whether rows of the input are read by no output: a walk by rows would have to jump over them."""
    return depthwise.strides[0] > depthwise.dilation[0] * (depthwise.kernel[0] - 1) + 1


def _table(*names: str) -> dict[str, Variant]:
    return {name: Variant(*name.split("_")) for name in names}


VARIANTS: dict[str, Variant] = _table(
    "dwpw_chw_hwc_chw_rows",
    "dwpw_hwc_hwc_hwc_rows",
    "pwdw_chw_chw_chw_channels",
    "pwdw_hwc_chw_hwc_channels",
    "pwdw_hwc_hwc_hwc_channels",
    "pwdw_hwc_chw_hwc_rows",
    "pwdw_hwc_hwc_hwc_rows",
    "pwdwpw_hwc_hwc_hwc_rows",
)
