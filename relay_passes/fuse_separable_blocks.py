"""FuseSeparableBlocks: depthwise-separable convolutions become composites."""

from __future__ import annotations

import tvm

from .lift_composites import lift_composites
from .match_blocks import Resolve, choose_blocks, program_order


@tvm.transform.module_pass(opt_level=0, name="FuseSeparableBlocks")
class FuseSeparableBlocks:
    """Lifts every DW -> PW, PW -> DW and PW -> DW -> PW into a composite ``"dwfuse.dwpw"``, ``"dwfuse.pwdw"``, ...

    Each stage takes along what follows it element by element: one bias, ReLU, ReLU6, hardsigmoid, HardSwish, sigmoid,
    SiLU, and the last stage a residual add. Weights and biases are constants, shapes static, activations NCHW or NHWC.
    An intermediate that has a second user or is an output stays one, so no block reaches across it.
    :func:`relay_passes.explain_blocks` tells what was fused and why the rest was not;
    :mod:`relay_passes.composite` says what a composite looks like.

    The pass sees canonical operators only: batch normalization must be folded before, so in a pipeline of one's own it
    stands behind the canonicalizing passes, ``Sequential([FoldBatchNorm(), FuseSeparableBlocks()])``.

    Args:
        resolve: settles which of several overlapping blocks to take; by default :func:`program_order`. It gets all
            matches of one function in program order and returns those to fuse. See also :func:`prefer`.

    Raises:
        ValueError: (when run) ``resolve`` returns two matches that overlap.
    """

    def __init__(self, resolve: Resolve = program_order) -> None:
        self.resolve = resolve

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with its separable blocks lifted; ``mod`` itself stays as it is."""
        return lift_composites(mod, lambda name, func: choose_blocks(name, func, self.resolve))
