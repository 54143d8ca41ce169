"""PartitionForCluster: the integer layers of a quantized network become regions for the cluster's code generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_dwfuse.cluster_options import ClusterOptions

from .integer_patterns import integer_patterns

#: The code generator: ``relax.ext.gap8``, for every member of the family.
CODEGEN = "gap8"

#: Attribute of a region: :class:`~tvm_dwfuse.cluster_options.ClusterOptions` as JSON.
OPTIONS_ATTR = "dwfuse.options"

#: Attribute of a composite: name of the variable that held its result.
ACTIVATION_ATTR = "dwfuse.activation"


@tvm.transform.module_pass(opt_level=0, name="PartitionForCluster")
class PartitionForCluster:
    """Groups the layers of :func:`~relay_passes.integer_patterns.integer_patterns` into regions as large as can be.

    Each layer becomes a composite ``gap8.int8_conv2d`` ..., and composites that follow each other one function
    ``gap8_<n>`` with the attribute ``Codegen`` = ``"gap8"``, which ``relax.transform.RunCodegen`` hands to the
    generator. What no pattern matches stays in ``main`` for TVM.

    Args:
        target: a name of ``tvm_dwfuse.targets.gap8.CLUSTER_TARGETS``.
        options: other fields of :class:`~tvm_dwfuse.cluster_options.ClusterOptions`; ``RunCodegen(target_options=
            {"gap8": {...}})`` may still change any of them.

    Raises:
        DwfuseError: no such option, or one with a value that is not legal.
    """

    def __init__(self, target: str = "gap8", **options: Any) -> None:
        self._options = ClusterOptions().updated({"target": target, **options})

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The partitioned module; ``mod`` itself stays as it is."""
        patterns = integer_patterns(CODEGEN, _describe_activations(mod))
        mod = relax.transform.FuseOpsByPattern(patterns, bind_constants=True)(mod)
        mod = relax.transform.MergeCompositeFunctions()(mod)
        return self._rename_regions(mod)

    def _rename_regions(self, mod: tvm.IRModule) -> tvm.IRModule:
        """Short names: those that TVM makes have a word for every operator, and become symbols of the library."""
        taken = {gv.name_hint for gv in mod.get_global_vars()}
        free = (name for n in range(len(taken) + 1) if (name := f"{CODEGEN}_{n}") not in taken)
        renamed: dict[tvm.ir.GlobalVar, relax.GlobalVar] = {}
        result = mod.clone()
        for gv in _called_regions(mod):
            region = mod[gv].with_attr("global_symbol", next(free)).with_attr(OPTIONS_ATTR, self._options.to_json())
            renamed[gv] = relax.GlobalVar(str(region.attrs["global_symbol"]))
            tvm.relax.expr._update_type(renamed[gv], gv.ty)
            del result[gv]
            result[renamed[gv]] = region
        for gv, func in mod.functions_items():
            if gv not in renamed and isinstance(func, relax.Function):
                result[gv] = _Rename(renamed).visit_expr(func)
        return result


def _describe_activations(mod: tvm.IRModule) -> Callable[[relax.Call], dict[str, str]]:
    """Gives a composite the name of the variable that it binds, which fusing would lose."""
    names: dict[relax.Expr, str] = {}
    for _, func in mod.functions_items():
        if isinstance(func, relax.Function):
            bindings = (binding for block in func.body.blocks for binding in block.bindings)
            names.update({binding.value: binding.var.name for binding in bindings})
    return lambda call: {ACTIVATION_ATTR: names[call]} if call in names else {}


def region_options(func: relax.Function) -> ClusterOptions:
    """The options that the pass gave a region; the default ones where it was made by hand."""
    text = (func.attrs or {}).get(OPTIONS_ATTR)
    return ClusterOptions() if text is None else ClusterOptions.from_json(str(text))


def regions(mod: tvm.IRModule) -> list[relax.Function]:
    """The functions of a partitioned module that go to the code generator, in the order in which they are called."""
    return [mod[gv] for gv in _called_regions(mod)]


def _called_regions(mod: tvm.IRModule) -> list[relax.GlobalVar]:
    found: dict[str, relax.GlobalVar] = {}

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, tvm.ir.GlobalVar) and (mod[expr].attrs or {}).get("Codegen") == CODEGEN:
            found.setdefault(expr.name_hint, expr)

    for _, func in sorted(mod.functions_items(), key=lambda item: item[0].name_hint != "main"):
        if isinstance(func, relax.Function) and (func.attrs or {}).get("Codegen") is None:
            relax.analysis.post_order_visit(func.body, visit)
    return list(found.values())


@mutator
class _Rename(PyExprMutator):
    def __init__(self, renamed: dict[relax.GlobalVar, relax.GlobalVar]) -> None:
        super().__init__()
        self._renamed = renamed

    def visit_global_var_(self, gv: relax.GlobalVar) -> relax.GlobalVar:
        return self._renamed.get(gv, gv)
