"""The one rewrite behind the fusing passes: matched bindings out of a function, a call of a composite in."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import relax

from .composite import activations, build_composite
from .dataflow import Dataflow
from .match_blocks import Match


def open_functions(mod: tvm.IRModule) -> list[tuple[tvm.ir.GlobalVar, relax.Function]]:
    """The Relax functions of ``mod``, by name, that no fusion or code generator has made."""
    closed = ("Composite", "Primitive", "Codegen")
    return [
        (gv, mod[gv])
        for gv in sorted(mod.get_global_vars(), key=lambda gv: gv.name_hint)
        if isinstance(mod[gv], relax.Function) and not any(attr in (mod[gv].attrs or {}) for attr in closed)
    ]


def lift_composites(mod: tvm.IRModule, choose: Callable[[str, relax.Function], list[Match]]) -> tvm.IRModule:
    """A new module in which each match that ``choose`` returns for a function is a call of a composite.

    Composites are named ``fused_<kind>``, ``fused_<kind>1``, ... in program order; equal ones are made once. A call
    stands where the last operator of its match stood: its other operators have no reader outside the match, and all
    that they read is bound before.
    """
    builder = relax.BlockBuilder(mod)
    for gv, func in open_functions(mod):
        matches = choose(gv.name_hint, func)
        if matches:
            builder.update_func(gv, _with_calls(builder, func, matches))
    return builder.get()


def _with_calls(builder: relax.BlockBuilder, func: relax.Function, matches: list[Match]) -> relax.Function:
    flow = Dataflow(func)
    calls: dict[int, relax.Call] = {}
    swallowed: set[int] = set()
    for match in matches:
        name = f"fused_{match.kind}"
        composite = builder.add_func(build_composite(match, flow, name), name)
        calls[match.positions[-1]] = relax.Call(composite, list(activations(match).values()))
        swallowed.update(match.positions[:-1])
    blocks, at = [], 0
    for block in func.body.blocks:
        bindings = []
        for binding in block.bindings:
            if at in calls:
                bindings.append(relax.VarBinding(binding.var, builder.normalize(calls[at])))
            elif at not in swallowed:
                bindings.append(binding)
            at += 1
        blocks.append(type(block)(bindings))
    body = builder.normalize(relax.SeqExpr(blocks, func.body.body))
    return relax.Function(func.params, body, func.ret_ty, func.is_pure, func.attrs)
