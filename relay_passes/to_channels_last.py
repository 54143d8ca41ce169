"""ToChannelsLast: the whole network in NHWC, with no transpose left inside of it."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from .channels_last_rules import RULES, Flat, Native, channels_last_axes, inverse
from .dataflow import static_shape
from .rewrite import constant, constant_array, op_name
from .simplify_inference import moves_only_unit_dims


@relax.transform.function_pass(opt_level=0, name="ToChannelsLast")
class ToChannelsLast:
    """Moves the channels of every image to the end: NCHW convolutions and pools, and all between them, become NHWC.

    Convolution weights become OHWI. Channel shuffle, squeeze-and-excite, concatenation, split and slices follow, also
    through tensors of rank 5, whose channel axes 1 and 2 move behind the pixels together. A flatten in front of a
    dense layer permutes the rows of its weight. What remains is one ``permute_dims`` of an input (a ``reshape`` for
    one channel), one of an output that is an image, and a pair around an operator that is not known here.

    Works on dataflow blocks of static shapes; a network in NHWC passes through.
    """

    def transform_function(
        self, func: relax.Function, mod: tvm.IRModule, _ctx: tvm.transform.PassContext
    ) -> relax.Function:
        """``func`` in NHWC."""
        return relax.analysis.remove_all_unused(_Mutation(mod).visit_expr(func))


@mutator
class _Mutation(PyExprMutator):
    """Keeps up to three values for a variable of the original: as it was, channels last, and flattened from that."""

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.in_dataflow = False
        self._forget()

    def _forget(self) -> None:
        self.native_values: dict[relax.Var, relax.Expr] = {}
        self.last_values: dict[relax.Var, relax.Expr] = {}
        self.flat_values: dict[relax.Var, Flat] = {}

    def visit_dataflow_block_(self, block: relax.DataflowBlock) -> relax.BindingBlock:
        # Dataflow variables end with their block, and so does what is known of the parameters.
        self._forget()
        self.in_dataflow = True
        block = super().visit_dataflow_block_(block)
        self.in_dataflow = False
        return block

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var = binding.var
        result = self._rewrite(binding.value) if self.in_dataflow else None
        if result is None:
            super().visit_var_binding_(binding)
            return
        if isinstance(result, Native):
            self.native_values[var] = self._bind(result.expr, var.name)
        elif isinstance(result, Flat):
            self.flat_values[var] = Flat(self._bind(result.expr, var.name), result.image)
        else:
            self.last_values[var] = self._bind(result, var.name)
        if not isinstance(var, relax.DataflowVar):
            self.set_var_remap(var, self.builder_.emit_output(self._native_value(var), var.name))

    def _bind(self, expr: relax.Expr, name: str) -> relax.Expr:
        return expr if isinstance(expr, relax.Var) else self.builder_.emit(expr, name)

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> relax.Expr:
        value = self._native_value(var)
        return super().visit_dataflow_var_(var) if value is None else value

    def _native_value(self, var: relax.Var) -> relax.Expr | None:
        """What a rule made of ``var``, in the order that it had; None if it is bound as it was."""
        if var not in self.native_values:
            if var in self.flat_values:
                self.native_values[var] = self._unflattened(self.flat_values[var])
            elif var in self.last_values:
                self.native_values[var] = self._channels_first(self.last_values[var])
        return self.native_values.get(var)

    def _rewrite(self, value: relax.Expr) -> relax.Expr | Native | Flat | None:
        if isinstance(value, relax.TupleGetItem):
            items = value.tuple_value
            return relax.TupleGetItem(self.last(items), value.index) if self.is_last(items) else None
        if isinstance(value, relax.Var):
            return self.last(value) if self.is_last(value) else None
        rule = RULES.get(op_name(value))
        return rule(value, self) if rule is not None else None

    def is_last(self, expr: relax.Expr) -> bool:
        """Whether the variable ``expr`` has a value in channels-last order already."""
        return isinstance(expr, relax.Var) and expr in self.last_values

    def flat(self, expr: relax.Expr) -> Flat | None:
        """The value of ``expr`` flattened from channels-last order, if it has one."""
        return self.flat_values.get(expr) if isinstance(expr, relax.Var) else None

    def native(self, expr: relax.Expr) -> relax.Expr:
        """The value of ``expr`` in the order that it had."""
        return self.visit_expr(expr)

    def last(self, expr: relax.Expr) -> relax.Expr:
        """The value of ``expr`` in channels-last order, transposed in front of the current call if need be."""
        if not isinstance(expr, relax.Var):
            return self.permuted(expr, channels_last_axes(expr.ty.ndim))
        if expr not in self.last_values:
            native = self.native(expr)
            self.native_values[expr] = native
            self.last_values[expr] = self.permuted(native, channels_last_axes(expr.ty.ndim))
        return self.last_values[expr]

    def permuted(self, expr: relax.Expr, axes: list[int]) -> relax.Expr:
        """``expr``, of the new function, with its axes permuted: by no operator, if that can be."""
        array = constant_array(expr)
        if array is not None:
            return constant(array.transpose(axes))
        if isinstance(expr, relax.Call):
            expr = self.builder_.emit(expr)
        inner = self.lookup_binding(expr) if isinstance(expr, relax.Var) else None
        if inner is not None and op_name(inner) == "relax.permute_dims" and inner.attrs.axes is not None:
            axes = [int(inner.attrs.axes[axis]) for axis in axes]
            expr = inner.args[0]
        if axes == sorted(axes):
            return expr
        shape = static_shape(expr)
        if shape is not None and moves_only_unit_dims(shape, axes):
            return self.builder_.emit(relax.op.reshape(expr, [shape[axis] for axis in axes]))
        return self.builder_.emit(relax.op.permute_dims(expr, axes))

    def _channels_first(self, value: relax.Expr) -> relax.Expr:
        if isinstance(value.ty, relax.TupleType):
            items = [self.builder_.emit(relax.TupleGetItem(value, i)) for i in range(len(value.ty.fields))]
            return relax.Tuple([self._channels_first(item) for item in items])
        return self.permuted(value, inverse(channels_last_axes(value.ty.ndim)))

    def _unflattened(self, flat: Flat) -> relax.Expr:
        shape = static_shape(flat.expr)
        assert shape is not None
        channels, height, width = flat.image
        image = self.builder_.emit(relax.op.reshape(flat.expr, (shape[0], height, width, channels)))
        return self.builder_.emit(relax.op.reshape(self._channels_first(image), shape))
