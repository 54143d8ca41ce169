"""Which blocks are computed by lane, and their functions."""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.blocks import Block

from ..loops import FlatViews, with_statements
from ..tile import Knobs
from . import dwpw, pointwise, pwdwpw, stem


def build(definition: tirx.PrimFunc, block: Block, knobs: Knobs, threads: int) -> tirx.PrimFunc:
    """``definition`` computed by lane."""
    flat = FlatViews()
    family = {"pw": pointwise, "conv": stem, "dwpw": dwpw, "pwdwpw": pwdwpw}[block.order]
    body = family.statements(block, knobs, list(definition.params), flat, threads)
    return with_statements(definition, [*flat.declarations(), body])
