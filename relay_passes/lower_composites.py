"""LowerComposites: composites become calls of scheduled TensorIR kernels, their weights packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tvm
from tvm import relax, tirx

from schedules import Kernel, Knobs, build_kernel
from tvm_dwfuse.blocks import Block, Layout, activation_shape
from tvm_dwfuse.targets import CpuTarget
from tvm_dwfuse.variants import Variant

from .choose_variants import composite_variant
from .composite import composite_block, composite_kind, composite_operands

#: ``TOpPatternKind`` of a function that nothing may be fused with.
_OPAQUE = 8

_PERMUTE_DIMS = tvm.ir.Op.get("relax.permute_dims")
_FEW_CHANNELS = 4

#: Attributes of a kernel that tell what it computes: the block as JSON, and its variant if it has one.
KERNEL_BLOCK_ATTR = "dwfuse.kernel_block"
KERNEL_VARIANT_ATTR = "dwfuse.kernel_variant"

#: The knobs of the kernel for a block, its variant and the layout of its input where that is not the block's; None
#: leaves them at their defaults.
KnobsFor = Callable[[Block, Variant | None, Layout | None], Knobs | None]


def default_everywhere(block: Block, variant: Variant | None, source: Layout | None) -> None:
    """The rule that leaves all knobs at their defaults."""
    del block, variant, source


@tvm.transform.module_pass(opt_level=0, name="LowerComposites")
class LowerComposites:
    """Replaces every call of a composite of ours by ``call_tir`` of a kernel scheduled for ``target``.

    Weights are packed here, at compile time. Equal blocks share one kernel. A fused composite without a variant is
    opened again, its operators back in the caller. The kernels carry ``tirx.is_scheduled``, and ``FuseOps`` fuses
    nothing with them.

    Args:
        target: the machine to schedule for.
        threads: threads that one kernel uses.
        knobs_for: gives the knobs of each kernel, such as tuned ones; by default all stay at their defaults.
    """

    def __init__(self, target: CpuTarget, threads: int = 1, knobs_for: KnobsFor = default_everywhere) -> None:
        self.target = target
        self.threads = threads
        self.knobs_for = knobs_for

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with its composites lowered; ``mod`` itself stays as it is."""
        lowering = _Lowering(mod, self.target, self.threads, self.knobs_for)
        for gv, func in mod.functions_items():
            if isinstance(func, relax.Function) and composite_kind(func) is None:
                lowering.builder_.update_func(gv, lowering.visit_expr(func))
        lowered = relax.transform.DeadCodeElimination()(lowering.builder_.get())
        return _opened(lowered)


def _opened(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with the operators of composites that no kernel computes back in their callers."""
    left = [(gv, func) for gv, func in mod.functions_items() if composite_kind(func) is not None]
    if not left:
        return mod
    mod = mod.clone()
    for gv, func in left:
        mod[gv] = func.without_attr("Composite").without_attr("Primitive")
    return relax.transform.InlinePrivateFunctions()(mod)


@relax.expr_functor.mutator
class _Lowering(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule, target: CpuTarget, threads: int, knobs_for: KnobsFor) -> None:
        super().__init__(mod)
        self._mod = mod
        self._target = target
        self._threads = threads
        self._knobs_for = knobs_for
        self._kernels: dict[tuple[Block, str | None, Layout | None], tuple[tvm.ir.GlobalVar, Kernel]] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if not isinstance(call.op, tvm.ir.GlobalVar):
            return call
        func = self._mod[call.op]
        if not isinstance(func, relax.Function) or composite_kind(func) is None:
            return call
        return self._lower(call, func)

    def _lower(self, call: relax.Call, func: relax.Function) -> relax.Expr:
        variant = composite_variant(func)
        block = composite_block(func)
        if variant is None and len(block.stages) > 1:
            return call
        passed = dict(zip(func.params, call.args, strict=True))
        source = self._unpermuted(call.args[0]) if can_read_nchw(block) else None
        if source is not None:
            passed[func.params[0]] = source
        gv, kernel = self._kernel(kernel_block(block), variant, None if source is None else "NCHW")
        shapes = _operand_shapes(kernel)
        args = []
        for name, value in composite_operands(func).items():
            if isinstance(value, np.ndarray):
                args.append(relax.const(kernel.pack(name, value)))
            else:
                args.append(self._reshaped(passed[value], shapes[name]))
        shape = shapes[f"r{len(block.stages) - 1}"]  # a residual of the last stage has the output's
        result = self.builder_.emit(relax.call_tir(gv, args, relax.TensorType(shape, block.dtype)))
        return self._reshaped(result, tuple(int(extent) for extent in call.ty.shape))

    def _kernel(self, block: Block, variant: Variant | None, source: Layout | None) -> tuple[tvm.ir.GlobalVar, Kernel]:
        name = variant.name if variant else None
        key = (block, name, source)
        if key not in self._kernels:
            knobs = self._knobs_for(block, variant, source)
            kernel = build_kernel(block, variant, self._target, self._threads, knobs, source)
            func = as_kernel(kernel.func).with_attr(KERNEL_BLOCK_ATTR, block.to_json())
            if name:
                func = func.with_attr(KERNEL_VARIANT_ATTR, name)
            gv = self.builder_.add_func(func, kernel_name(block, variant))
            self._kernels[key] = gv, kernel
        return self._kernels[key]

    def _unpermuted(self, value: relax.Expr) -> relax.Expr | None:
        """What ``value`` was before a change from NCHW to NHWC, None if it is no such change."""
        bound = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        return bound.args[0] if bound is not None and is_change_to_nhwc(bound) else None

    def _reshaped(self, value: relax.Expr, shape: tuple[int, ...]) -> relax.Expr:
        if tuple(int(extent) for extent in value.ty.shape) == shape:
            return value
        return self.builder_.emit(relax.op.reshape(value, shape))


def as_kernel(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """``func`` as a private function that no later pass schedules again or fuses with others."""
    func = func.without_attr("global_symbol")
    return func.with_attr("op_pattern", _OPAQUE).with_attr("tirx.is_scheduled", True)


def kernel_name(block: Block, variant: Variant | None) -> str:
    """A name that tells the variant, the input's size and the channels: ``pw_7x7_320_1280``."""
    kind = variant.name if variant else block.order
    channels = [block.stages[0].in_channels, *(stage.out_channels for stage in block.stages)]
    return f"{kind}_{block.height}x{block.width}_" + "_".join(map(str, channels))


def kernel_block(block: Block) -> Block:
    """The block that a kernel computes: images of one pixel become one image with a row of pixels, the same bytes."""
    (stage,) = block.stages if len(block.stages) == 1 else (None,)
    if stage is None or not stage.is_pointwise or block.prologue or (block.height, block.width) != (1, 1):
        return block
    return replace(block, batch=1, width=block.batch, layout="NHWC")


def is_change_to_nhwc(value: relax.Expr) -> bool:
    """Whether ``value`` is a call that changes the layout of its argument from NCHW to NHWC."""
    if not isinstance(value, relax.Call) or value.op != _PERMUTE_DIMS:
        return False
    return [int(axis) for axis in value.attrs.axes] == [0, 2, 3, 1]


def can_read_nchw(block: Block) -> bool:
    """Whether a kernel for this NHWC block may read an NCHW input: the stem of a network takes the layout change in.

    A dense convolution broadcasts its input element by element and copies its rows anyhow, if it is padded. With many
    input channels the broadcasts of one output would come from as many cache lines.
    """
    (stage,) = block.stages if len(block.stages) == 1 else (None,)
    return stage is not None and block.layout == "NHWC" and block.order == "conv" and stage.in_channels <= _FEW_CHANNELS


def _operand_shapes(kernel: Kernel) -> dict[str, tuple[int, ...]]:
    """Shapes of the operands that are activations."""
    block = kernel.block
    batch, layout, channels = block.batch, block.layout, block.stages[0].in_channels
    shapes: dict[str, tuple[int, ...]] = {}
    shapes["x"] = activation_shape(kernel.source or layout, batch, block.height, block.width, channels)
    if block.prologue:
        shapes["scale"] = activation_shape(layout, batch, 1, 1, channels)
    for i, (stage, size) in enumerate(zip(block.stages, block.sizes()[1:], strict=True)):
        shapes[f"r{i}"] = activation_shape(layout, batch, *size, stage.out_channels)
    return shapes
