"""Small Relax networks for the tests of the fusing passes, built layer by layer in either layout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

Expr = relax.Expr


class Net:
    """Emits canonical layers into the dataflow block of a function ``main``."""

    def __init__(self, layout: str = "NCHW", seed: int = 0) -> None:
        self.layout = layout
        self.builder = relax.BlockBuilder()
        self.random = np.random.default_rng(seed)

    def build(self, shape: tuple[int, int, int, int], body: Callable[[Net, relax.Var], Expr | list[Expr]]):
        """The module whose ``main`` computes ``body`` from an input of NCHW ``shape``."""
        x = relax.Var("x", relax.TensorType(self.arrange(shape), "float32"))
        with self.builder.function("main", [x]):
            with self.builder.dataflow():
                results = body(self, x)
                if isinstance(results, list):
                    results = relax.Tuple(results)
                result = self.builder.emit_output(results)
            self.builder.emit_func_output(result)
        return self.builder.get()

    def arrange(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        n, c, h, w = shape
        return shape if self.layout == "NCHW" else (n, h, w, c)

    def channels(self, x: Expr) -> int:
        return int(x.ty.shape.values[1 if self.layout == "NCHW" else 3])

    def emit(self, expr: Expr) -> relax.Var:
        return self.builder.emit(expr)

    def constant(self, *shape: int) -> Expr:
        return relax.const(self.random.normal(0, 0.5, shape).astype("float32"))

    def conv(self, x: Expr, out: int, kernel: int = 1, groups: int = 1, **attrs) -> relax.Var:
        weight = attrs.pop("weight", None)
        if weight is None:
            weight = self.constant(*self.arrange((out, self.channels(x) // groups, kernel, kernel)))
        attrs.setdefault("padding", (kernel // 2,) * 4)
        kernel_layout = "OIHW" if self.layout == "NCHW" else "OHWI"
        layouts = {"data_layout": self.layout, "kernel_layout": kernel_layout, "out_layout": self.layout}
        return self.emit(relax.op.nn.conv2d(x, weight, groups=groups, **layouts, **attrs))

    def dw(self, x: Expr, kernel: int = 3, multiplier: int = 1, **attrs) -> relax.Var:
        return self.conv(x, self.channels(x) * multiplier, kernel, groups=self.channels(x), **attrs)

    def pw(self, x: Expr, out: int, **attrs) -> relax.Var:
        return self.conv(x, out, **attrs)

    def bias(self, x: Expr) -> relax.Var:
        return self.emit(relax.op.add(x, self.constant(*self.arrange((1, self.channels(x), 1, 1)))))

    def batch_norm(self, x: Expr) -> relax.Var:
        count = self.channels(x)
        gamma, beta, mean = (self.constant(count) for _ in range(3))
        variance = relax.const(self.random.uniform(0.5, 2, count).astype("float32"))
        axis = 1 if self.layout == "NCHW" else 3
        call = relax.op.nn.batch_norm(x, gamma, beta, mean, variance, axis=axis, training=False)
        return self.emit(relax.TupleGetItem(self.emit(call), 0))

    def relu(self, x: Expr) -> relax.Var:
        return self.emit(relax.op.nn.relu(x))

    def relu6(self, x: Expr) -> relax.Var:
        return self.emit(relax.op.clip(x, 0, 6))

    def sigmoid(self, x: Expr) -> relax.Var:
        return self.emit(relax.op.sigmoid(x))

    def silu(self, x: Expr) -> relax.Var:
        return self.emit(relax.op.nn.silu(x))

    def hardsigmoid(self, x: Expr) -> relax.Var:
        scaled = self.emit(relax.op.multiply(x, relax.const(1 / 6, "float32")))
        return self.emit(relax.op.clip(self.emit(relax.op.add(scaled, relax.const(0.5, "float32"))), 0, 1))

    def hardswish(self, x: Expr) -> relax.Var:
        return self.emit(relax.op.multiply(x, self.hardsigmoid(x)))

    def add(self, a: Expr, b: Expr) -> relax.Var:
        return self.emit(relax.op.add(a, b))

    def squeeze_excite(self, x: Expr) -> relax.Var:
        axes = [2, 3] if self.layout == "NCHW" else [1, 2]
        mean = self.emit(relax.op.mean(x, axis=axes, keepdims=True))
        return self.emit(relax.op.multiply(x, self.hardsigmoid(self.pw(mean, self.channels(x)))))


ACTIVATIONS = ("relu", "relu6", "sigmoid", "silu", "hardsigmoid", "hardswish")


def run(mod: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of ``main`` through TVM's own default pipeline."""
    machine = relax.VirtualMachine(tvm.compile(mod, target="llvm"), tvm.cpu())
    result = machine["main"](*(tvm.runtime.tensor(value) for value in inputs))
    return [part.numpy() for part in (result if hasattr(result, "__len__") else [result])]


def composites(mod: tvm.IRModule) -> dict[str, relax.Function]:
    """The composite functions of a module by name."""
    found = {gv.name_hint: func for gv, func in mod.functions_items() if "Composite" in (func.attrs or {})}
    return dict(sorted(found.items()))


def fused_calls(mod: tvm.IRModule) -> list[str]:
    """Names of the functions that ``main`` calls, in program order."""
    bindings = [binding for block in mod["main"].body.blocks for binding in block.bindings]
    calls = [binding.value for binding in bindings if isinstance(binding.value, relax.Call)]
    return [str(call.op.name_hint) for call in calls if isinstance(call.op, tvm.ir.GlobalVar)]


def operators(mod: tvm.IRModule) -> list[str]:
    """Names of the operators that ``main`` still calls itself, in program order."""
    bindings = [binding for block in mod["main"].body.blocks for binding in block.bindings]
    calls = [binding.value for binding in bindings if isinstance(binding.value, relax.Call)]
    return [str(call.op.name) for call in calls if isinstance(call.op, tvm.ir.Op)]
