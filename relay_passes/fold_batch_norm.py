"""FoldBatchNorm: batch norm, and all arithmetic with a constant for each channel, goes into the layer before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax

from .dataflow import static_shape
from .rewrite import Rewrite, constant, constant_array, op_name, rewrite_function

_ARITHMETIC = ("relax.add", "relax.subtract", "relax.multiply", "relax.divide")


@relax.transform.function_pass(opt_level=0, name="FoldBatchNorm")
class FoldBatchNorm:
    """Folds ``nn.batch_norm`` at inference into the ``nn.conv2d`` or ``matmul`` before it, as a weight and a bias.

    Where no such layer is in front, or its result has another reader, batch norm becomes a multiplication and an
    addition of constants. Those fold in the same way wherever they come from, since exporters spell batch norm so;
    scalars are left, because they belong to activations such as hardsigmoid. The bias is one addition of shape
    (1, C, 1, 1) for NCHW, (1, 1, 1, C) for NHWC, (C,) for ``matmul``. A weight computed from constants has to be
    folded first, by ``relax.transform.FoldConstant``.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` without batch norm."""
        return rewrite_function(func, mod, _fold)


def _fold(expr: relax.Expr, rewrite: Rewrite) -> relax.Expr | None:
    if isinstance(expr, relax.TupleGetItem):
        return _fold_batch_norm(expr, rewrite)
    name = op_name(expr)
    if name in _ARITHMETIC:
        return _fold_arithmetic(name, expr, rewrite)
    return None


def _fold_batch_norm(item: relax.TupleGetItem, rewrite: Rewrite) -> relax.Expr | None:
    call = rewrite.call(item.tuple_value, "relax.nn.batch_norm")
    if call is None or item.index != 0 or call.attrs.training:
        return None
    parameters = [constant_array(arg) for arg in call.args[1:]]
    if any(parameter is None for parameter in parameters):
        return None
    gamma, beta, mean, variance = (parameter.astype("float64") for parameter in parameters if parameter is not None)
    scale = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + call.attrs.epsilon)
    shift = (beta if call.attrs.center else 0.0) - mean * scale

    data = call.args[0]
    layer = _read_layer(data, rewrite)
    if layer is not None and int(call.attrs.axis) % data.ty.ndim == layer.channel_axis:
        return layer.scaled(scale).shifted(shift).emit(rewrite)
    shape = [1] * data.ty.ndim
    shape[int(call.attrs.axis)] = -1
    dtype = str(data.ty.dtype)
    product = rewrite.emit(relax.op.multiply(data, constant(scale.reshape(shape).astype(dtype))))
    return relax.op.add(product, constant(shift.reshape(shape).astype(dtype)))


def _fold_arithmetic(name: str, call: relax.Call, rewrite: Rewrite) -> relax.Expr | None:
    data, operand = call.args
    if name in ("relax.add", "relax.multiply") and constant_array(data) is not None:
        data, operand = operand, data
    layer = _read_layer(data, rewrite)
    if layer is None:
        return None
    vector = layer.channel_vector(operand)
    if vector is None:
        return None
    if name == "relax.add" and layer.bias is None and static_shape(operand) == layer.bias_shape:
        return None
    folded = {
        "relax.add": lambda: layer.shifted(vector),
        "relax.subtract": lambda: layer.shifted(-vector),
        "relax.multiply": lambda: layer.scaled(vector),
        "relax.divide": lambda: layer.scaled(1.0 / vector),
    }
    return folded[name]().emit(rewrite)


@dataclass(frozen=True)
class _Layer:
    """A convolution or matmul of constant weight, and at most one addition of a bias of shape (C,), in float64."""

    call: relax.Call
    weight: np.ndarray
    out_axis: int
    channel_axis: int
    bias: np.ndarray | None = None

    @property
    def bias_shape(self) -> tuple[int, ...]:
        if self.weight.ndim == 2:
            return (-1,)
        return tuple(-1 if axis == self.channel_axis else 1 for axis in range(4))

    def channel_vector(self, operand: relax.Expr) -> np.ndarray | None:
        """``operand`` as a vector of shape (C,), if it is a constant of one value for each channel."""
        array = constant_array(operand)
        rank = self.weight.ndim
        if array is None or not 0 < array.ndim <= rank:
            return None
        shape = (1,) * (rank - array.ndim) + array.shape
        channels = self.weight.shape[self.out_axis]
        expected = tuple(channels if axis == self.channel_axis else 1 for axis in range(rank))
        return array.astype("float64").reshape(-1) if shape == expected else None

    def scaled(self, scale: np.ndarray) -> _Layer:
        shape = [1] * self.weight.ndim
        shape[self.out_axis] = -1
        bias = None if self.bias is None else self.bias * scale
        return replace(self, weight=self.weight * scale.reshape(shape), bias=bias)

    def shifted(self, shift: np.ndarray) -> _Layer:
        return replace(self, bias=shift if self.bias is None else self.bias + shift)

    def emit(self, rewrite: Rewrite) -> relax.Expr:
        dtype = str(self.call.args[1].ty.dtype)
        call = relax.Call(self.call.op, [self.call.args[0], constant(self.weight.astype(dtype))], self.call.attrs)
        if self.bias is None:
            return call
        bias = constant(self.bias.reshape(self.bias_shape).astype(str(self.call.ty.dtype)))
        return relax.op.add(rewrite.emit(call), bias)


def _read_layer(expr: relax.Expr, rewrite: Rewrite) -> _Layer | None:
    """The layer whose result ``expr`` is, before its bias or after it, if nobody else reads what would change."""
    if not rewrite.is_sole_use(expr):
        return None
    layer = _read_unbiased(expr, rewrite)
    if layer is not None:
        return layer
    add = rewrite.call(expr, "relax.add")
    if add is None:
        return None
    for data, bias in (add.args, reversed(add.args)):
        layer = _read_unbiased(data, rewrite) if rewrite.is_sole_use(data) else None
        vector = layer.channel_vector(bias) if layer is not None else None
        if layer is not None and vector is not None:
            return layer.shifted(vector)
    return None


def _read_unbiased(expr: relax.Expr, rewrite: Rewrite) -> _Layer | None:
    call = rewrite.call(expr, "relax.nn.conv2d", "relax.matmul")
    weight = constant_array(call.args[1]) if call is not None else None
    if call is None or weight is None:
        return None
    if op_name(call) == "relax.matmul":
        return _Layer(call, weight.astype("float64"), 1, 1) if weight.ndim == call.ty.ndim == 2 else None
    layout, kernel_layout = str(call.attrs.out_layout), str(call.attrs.kernel_layout)
    if len(layout) != 4 or len(kernel_layout) != 4:
        return None
    return _Layer(call, weight.astype("float64"), kernel_layout.index("O"), layout.index("C"))
