"""FuseConvolutions: every convolution and dense layer that is left becomes a composite with its epilogue."""

from __future__ import annotations

import tvm

from .lift_composites import lift_composites
from .match_blocks import find_convolutions


@tvm.transform.module_pass(opt_level=0, name="FuseConvolutions")
class FuseConvolutions:
    """Lifts single layers into ``"dwfuse.dw"``, ``"dwfuse.pw"``, ``"dwfuse.conv"`` and ``"dwfuse.dense"``.

    Runs behind :class:`~relay_passes.FuseSeparableBlocks` and takes what that left, with the same epilogues. A
    pointwise convolution also takes in the squeeze-and-excite multiply in front of it (``Block.prologue``), and a dense
    layer becomes a pointwise block of one pixel, its rows the batch.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with its convolutions and dense layers lifted; ``mod`` itself stays as it is."""
        return lift_composites(mod, find_convolutions)
