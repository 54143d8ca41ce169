"""FoldConstantArithmetic: arithmetic on constants, computed at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

from .dataflow import static_shape
from .rewrite import Rewrite, constant, constant_array, op_name, rewrite_function

_ARITHMETIC: dict[str, Callable[..., np.ndarray]] = {
    "relax.abs": np.abs,
    "relax.add": np.add,
    "relax.divide": np.true_divide,
    "relax.exp": np.exp,
    "relax.isnan": np.isnan,
    "relax.maximum": np.maximum,
    "relax.minimum": np.minimum,
    "relax.multiply": np.multiply,
    "relax.negative": np.negative,
    "relax.sqrt": np.sqrt,
    "relax.subtract": np.subtract,
    "relax.where": np.where,
}
_RESHAPES = ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims")


@relax.transform.function_pass(opt_level=0, name="FoldConstantArithmetic")
class FoldConstantArithmetic:
    """Folds arithmetic, reshapes, transposes and casts of constants.

    ``relax.transform.FoldConstant`` folds everything, but compiles a kernel for each operator that it meets: seconds
    for a network whose every clip has a guard against NaN. Run this one first.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` with constants folded."""
        return rewrite_function(func, mod, _fold)


def _fold(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    name = op_name(expr)
    if name is None or name not in (*_ARITHMETIC, *_RESHAPES, "relax.permute_dims", "relax.astype"):
        return None
    operands = [constant_array(rewrite.value(arg)) for arg in expr.args if isinstance(arg.ty, relax.TensorType)]
    if any(operand is None for operand in operands):
        return None
    return _evaluate(name, expr, [operand for operand in operands if operand is not None])


def _evaluate(name: str, call: relax.Call, operands: list[np.ndarray]) -> relax.Expr | None:
    if name == "relax.permute_dims":
        return constant(operands[0].transpose(call.attrs.axes and [int(axis) for axis in call.attrs.axes]))
    if name == "relax.astype":
        return constant(operands[0].astype(str(call.attrs.dtype)))
    if name in _RESHAPES:
        shape = static_shape(call)
        return None if shape is None else constant(operands[0].reshape(shape))
    if name == "relax.divide" and not np.issubdtype(operands[0].dtype, np.floating):
        return None
    return constant(np.asarray(_ARITHMETIC[name](*operands), str(call.ty.dtype)))
