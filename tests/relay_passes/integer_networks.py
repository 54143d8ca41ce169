"""Integer networks in the canonical Relax form, with seeded constants, to partition and to read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

Expr = relax.Expr


class IntegerNet:
    """Emits layers; their constants are drawn from ``random``, such that outputs use most of their range."""

    def __init__(self, seed: int = 0) -> None:
        self.builder = relax.BlockBuilder()
        self.random = np.random.default_rng(seed)

    def build(self, shape: tuple[int, ...], body: Callable[[IntegerNet, relax.Var], Expr | tuple]) -> tvm.IRModule:
        """A module whose ``main`` maps one uint8 input of that shape to what ``body`` returns."""
        x = relax.Var("x", relax.TensorType(shape, "uint8"))
        with self.builder.function("main", [x]):
            with self.builder.dataflow():
                out = body(self, x)
                outputs = out if isinstance(out, tuple) else (out,)
                outputs = tuple(self.builder.emit_output(output, f"{output.name}_out") for output in outputs)
            self.builder.emit_func_output(outputs if len(outputs) > 1 else outputs[0])
        return self.builder.get()

    def emit(self, expr: Expr, name: str = "") -> relax.Var:
        return self.builder.emit(expr, name)

    def conv(
        self,
        x: Expr,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        zero_point: int = 0,
        depthwise: bool = False,
        dilation: int = 1,
        name: str = "conv",
    ) -> relax.Var:
        """A convolution; ``padding`` is (top, left, bottom, right)."""
        in_channels = int(x.ty.shape[-1])
        if any(padding):
            top, left, bottom, right = padding
            x = self.emit(relax.op.nn.pad(x, [0, 0, top, bottom, left, right, 0, 0], pad_value=zero_point))
        shape = (channels, kernel, kernel, 1 if depthwise else in_channels)
        weights = self.random.integers(-127, 128, shape).astype("int8")
        conv = relax.op.nn.conv2d(
            x,
            relax.const(weights),
            strides=(stride, stride),
            dilation=(dilation, dilation),
            groups=in_channels if depthwise else 1,
            data_layout="NHWC",
            kernel_layout="OHWI",
            out_dtype="int32",
        )
        spread = 80 * 128 * np.sqrt(weights[0].size)
        return self.requantize(self._scaled(self.emit(conv), channels, spread), name=name)

    def add(self, a: Expr, b: Expr, name: str = "add") -> relax.Var:
        multipliers = self.random.integers(40, 80, 2)
        scaled = [
            self.emit(relax.op.multiply(self.emit(relax.op.astype(x, "int32")), relax.const(int(m), "int32")))
            for x, m in zip((a, b), multipliers, strict=True)
        ]
        total = self.emit(relax.op.add(*scaled))
        return self.requantize(self.emit(relax.op.add(total, relax.const(-500, "int32"))), 7, name)

    def average_pool(self, x: Expr, name: str = "pool") -> relax.Var:
        pixels = int(x.ty.shape[1]) * int(x.ty.shape[2])
        total = self.emit(relax.op.sum(self.emit(relax.op.astype(x, "int32")), axis=[1, 2], keepdims=True))
        scaled = self.emit(relax.op.multiply(total, relax.const(round(2**16 / pixels), "int32")))
        return self.requantize(self.emit(relax.op.add(scaled, relax.const(2**15, "int32"))), 16, name)

    def reshape(self, x: Expr, shape: tuple[int, ...]) -> relax.Var:
        return self.emit(relax.op.reshape(x, shape))

    def _scaled(self, acc: Expr, channels: int, spread: float) -> relax.Var:
        """The accumulator times a multiplier a channel, and the offset; ``spread`` of it is half the output's range."""
        multiplier = self.random.integers(60, 120, channels) * 128 * 2**12 / (90 * spread)
        offset = self.random.integers(60, 200, channels) << 12
        scaled = self.emit(relax.op.multiply(acc, self._by_channel(multiplier)))
        return self.emit(relax.op.add(scaled, self._by_channel(offset)))

    def _by_channel(self, values: np.ndarray) -> Expr:
        return relax.const(np.ceil(values).astype("int32").reshape(1, 1, 1, -1))

    def requantize(self, scaled: Expr, shift: int = 12, name: str = "") -> relax.Var:
        shifted = self.emit(relax.op.right_shift(scaled, relax.const(shift, "int32")))
        return self.emit(relax.op.astype(self.emit(relax.op.clip(shifted, 0, 255)), "uint8"), name)


def mobile_net(net: IntegerNet, x: Expr) -> relax.Var:
    """A stem, a separable block, an inverted residual, a pool and a dense layer, in a few hundred operations."""
    x = net.conv(x, 8, 3, 2, (0, 0, 1, 1), zero_point=7, name="stem")
    x = net.conv(x, 8, 3, 1, (1, 1, 1, 1), zero_point=3, depthwise=True, name="dw0")
    x = net.conv(x, 6, name="pw0")
    y = net.conv(x, 12, name="expand")
    y = net.conv(y, 12, 5, 1, (2, 2, 2, 2), zero_point=11, depthwise=True, name="dw1")
    x = net.add(x, net.conv(y, 6, name="project"), name="residual")
    x = net.conv(x, 10, name="pw2")
    x = net.average_pool(x)
    return net.reshape(net.conv(x, 7, name="dense"), (1, 7))


def uint8_input(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A seeded input."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")
