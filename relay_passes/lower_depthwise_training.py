"""LowerDepthwiseTraining: depthwise convolutions and their gradients become calls of scheduled TensorIR kernels."""

from __future__ import annotations

import tvm
from tvm import relax

from schedules.depthwise import build_depthwise
from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes
from tvm_dwfuse.targets import CpuTarget

from .dataflow import static_shape
from .lift_composites import open_functions
from .lower_composites import as_kernel
from .match_depthwise import DepthwiseMatch, find_depthwise


@tvm.transform.module_pass(opt_level=0, name="LowerDepthwiseTraining")
class LowerDepthwiseTraining:
    """Replaces each procedure of a depthwise convolution by ``call_tir`` of a kernel scheduled for ``target``.

    Runs behind ``relax.transform.Gradient`` and before ``LegalizeOps`` (``SetupTrainer(..., legalize=False)``), or on
    any module in NCHW. A bias added to the result is taken into the forward kernel, and the gradient of a bias into the
    weight gradient's. Equal geometries share a kernel. What ``find_depthwise`` does not find stays as it is.

    Args:
        target: the machine to schedule for.
        threads: threads that one kernel uses.
    """

    def __init__(self, target: CpuTarget, threads: int = 1) -> None:
        self.target = target
        self.threads = threads

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with its depthwise convolutions lowered; ``mod`` itself stays as it is."""
        lowering = _Lowering(mod, self.target, self.threads)
        for gv, func in open_functions(mod):
            matches = find_depthwise(func)
            if matches:
                lowering.builder.update_func(gv, lowering.lower(func, matches))
        return lowering.builder.get()


class _Lowering:
    def __init__(self, mod: tvm.IRModule, target: CpuTarget, threads: int) -> None:
        self.builder = relax.BlockBuilder(mod)
        self._target = target
        self._threads = threads
        self._kernels: dict[tuple[Procedure, Depthwise, bool], tvm.ir.GlobalVar] = {}

    def lower(self, func: relax.Function, matches: list[DepthwiseMatch]) -> relax.Function:
        """``func`` with ``matches`` as calls of kernels. A call stands where the first of its outputs was bound."""
        variables = [binding.var for block in func.body.blocks for binding in block.bindings]
        first = {min(match.outputs): match for match in matches}
        outputs = {at for match in matches for at in match.outputs}
        blocks, at = [], 0
        for block in func.body.blocks:
            rebuilt = _Block(self.builder, block)
            for binding in block.bindings:
                if at in first:
                    self._call_kernel(rebuilt, first[at], [variables[output] for output in first[at].outputs])
                elif at not in outputs:
                    rebuilt.bindings.append(binding)
                at += 1
            blocks.append(type(block)(rebuilt.bindings))
        body = self.builder.normalize(relax.SeqExpr(blocks, func.body.body))
        lowered = relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)
        return relax.analysis.remove_all_unused(lowered)

    def _call_kernel(self, block: _Block, match: DepthwiseMatch, results: list[relax.Var]) -> None:
        """Bind ``results`` to what the kernel of ``match`` writes, in ``block``."""
        shapes = list(operand_shapes(match.procedure, match.conv, match.bias).values())
        read, written = shapes[: len(match.inputs)], shapes[len(match.inputs) :]
        arguments = [block.reshaped(value, shape) for value, shape in zip(match.inputs, read, strict=True)]
        types = [relax.TensorType(shape, "float32") for shape in written]
        outputs = [relax.call_tir(self._kernel(match), arguments, types if len(types) > 1 else types[0])]
        if len(types) > 1:
            tensors = block.bind(outputs[0])
            outputs = [relax.TupleGetItem(tensors, index) for index in range(len(types))]
        for output, result, shape in zip(outputs, results, written, strict=True):
            expected = static_shape(result)
            block.bind(output if expected == shape else relax.op.reshape(block.bind(output), expected), result)

    def _kernel(self, match: DepthwiseMatch) -> tvm.ir.GlobalVar:
        key = match.procedure, match.conv, match.bias
        if key not in self._kernels:
            func = build_depthwise(match.procedure, match.conv, self._target, self._threads, match.bias)
            self._kernels[key] = self.builder.add_func(as_kernel(func), depthwise_kernel_name(match))
        return self._kernels[key]


class _Block:
    """The bindings of one block of a function while they are written anew."""

    def __init__(self, builder: relax.BlockBuilder, block: relax.BindingBlock) -> None:
        self.bindings: list[relax.Binding] = []
        self._builder = builder
        self._variable = relax.DataflowVar if isinstance(block, relax.DataflowBlock) else relax.Var

    def bind(self, value: relax.Expr, var: relax.Var | None = None) -> relax.Var:
        """``value`` bound to ``var``, or to a new variable."""
        value = self._builder.normalize(value)
        var = self._variable("lv", value.ty) if var is None else var
        self.bindings.append(relax.VarBinding(var, value))
        return var

    def reshaped(self, value: relax.Expr, shape: tuple[int, ...]) -> relax.Expr:
        """``value`` in that shape."""
        return value if static_shape(value) == shape else self.bind(relax.op.reshape(value, shape))


def depthwise_kernel_name(match: DepthwiseMatch) -> str:
    """A name that tells the procedure, the weight and the input's size: ``dw_backward_data_3x3_32x14x14``."""
    conv = match.conv
    bias = "_bias" if match.bias else ""
    kernel = "x".join(map(str, conv.kernel))
    return f"dw_{match.procedure}{bias}_{kernel}_{conv.channels}x{conv.height}x{conv.width}"
