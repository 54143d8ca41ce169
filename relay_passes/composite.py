"""Composites: Relax functions that hold one matched block, how they are made and how they are read back.

A composite has the attributes that ``relax.transform.FuseOpsByPattern`` would give it, ``Primitive`` and ``Composite``
(``"dwfuse.<kind>"``), ``dwfuse.block``, the :class:`~tvm_dwfuse.blocks.Block` as JSON, and ``dwfuse.variant`` as soon
as it is known which variant computes it. Its parameters are the activations in the order of ``Block.operands()``;
weights and biases stand as constants in its body of plain Relax operators, so that it can be legalized and run by
whoever knows nothing of it.
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from tvm_dwfuse.blocks import Block
from tvm_dwfuse.errors import DwfuseError

from .dataflow import Dataflow, is_tensor_constant
from .match_blocks import Match, find_blocks, find_convolutions

BLOCK_ATTR = "dwfuse.block"
VARIANT_ATTR = "dwfuse.variant"
_PREFIX = "dwfuse."


def composite_kind(func: ir.BaseFunc) -> str | None:
    """``"dwpw"``, ``"dense"``, ... if ``func`` is a composite of ours, else None."""
    name = str(func.attrs["Composite"]) if func.attrs and "Composite" in func.attrs else ""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def composite_block(func: relax.Function) -> Block:
    """The description of the block that a composite computes.

    Raises:
        DwfuseError: ``func`` does not carry one.
    """
    if not func.attrs or BLOCK_ATTR not in func.attrs:
        raise DwfuseError(f"the function has no attribute {BLOCK_ATTR}; make it with FuseSeparableBlocks")
    return Block.from_json(str(func.attrs[BLOCK_ATTR]))


def composite_operands(func: relax.Function) -> dict[str, np.ndarray | relax.Var]:
    """What stands for each name of ``Block.operands()``, in that order.

    Returns:
        For ``x``, ``scale`` and ``r<i>`` the composite's parameter, in the shape that the network gave it (``scale`` is
        (N, C, 1, 1) or (N, 1, 1, C)); for ``w<i>`` the weight as an OIHW array whatever layout the composite has (O, I,
        1, 1 for a dense layer); for ``b<i>`` the bias as an array of shape (out_channels,).

    Raises:
        DwfuseError: ``func`` is no composite of ours, or its body was changed so that it is not the block any more.
    """
    match = _match_of(func)
    return {name: _operand_value(match, name) for name in match.block.operands()}


def activations(match: Match) -> dict[str, relax.Var]:
    """The variables that a call of the composite passes, by the names of its parameters and in their order."""
    return {name: expr for name, expr in match.operands.items() if not is_tensor_constant(expr)}


def build_composite(match: Match, flow: Dataflow, name: str) -> relax.Function:
    """The composite function of that name for ``match``, found in the function that ``flow`` describes."""
    params = {key: relax.Var(key, var.ty) for key, var in activations(match).items()}
    # One variable may be input and residual at once, and still each operand has its own parameter.
    residuals = {var: params[key] for key, var in activations(match).items() if key.startswith("r")}
    known = {var: params[key] for key, var in activations(match).items() if not key.startswith("r")}
    attrs = {"Composite": match.composite, "Primitive": True, BLOCK_ATTR: match.block.to_json()}
    if match.variant:
        attrs[VARIANT_ATTR] = match.variant

    def value(at: int) -> relax.Call:
        call = flow.call(at)
        assert call is not None
        vars_here = known | residuals if flow.op_name(at) == "relax.add" else known
        args = [vars_here.get(arg, arg) if isinstance(arg, relax.Var) else arg for arg in call.args]
        return relax.Call(call.op, args, call.attrs, call.ty_args)

    builder = relax.BlockBuilder()
    with builder.function(name, list(params.values()), attrs, private=True):
        with builder.dataflow():
            for at in match.positions[:-1]:
                known[flow.var(at)] = builder.emit(value(at))
            result = builder.emit_output(value(match.positions[-1]))
        builder.emit_func_output(result)
    return builder.get()[name]


def _match_of(func: relax.Function) -> Match:
    """The match that covers the whole body of a composite."""
    kind, block = composite_kind(func), composite_block(func)
    flow = Dataflow(func)
    finder = find_blocks if len(block.stages) > 1 else find_convolutions
    for match in finder(f"composite {kind}", func):
        if match.kind == kind and match.block == block and len(match.positions) == len(flow.bindings):
            return match
    raise DwfuseError(f"the body of a dwfuse.{kind} composite is not its block any more; read it before other passes")


def _operand_value(match: Match, name: str) -> np.ndarray | relax.Var:
    expr = match.operands[name]
    if not is_tensor_constant(expr):
        return expr
    value = expr.value.numpy()
    stage = match.block.stages[int(name[1:])]
    if name.startswith("b"):
        return np.ascontiguousarray(np.broadcast_to(value.reshape(-1), (stage.out_channels,)))
    weight = value.transpose(match.weight_axes[name])
    return np.ascontiguousarray(weight.reshape(*weight.shape[:2], *stage.kernel))
