"""Networks of real geometry with constants of zeros, from the zoo's tables: all that choosing groups looks at."""

from __future__ import annotations

import numpy as np

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.integer_network import Activation, Add, AveragePool, Layer, Network, Operator
from tvm_dwfuse.zoo import table as tables
from tvm_dwfuse.zoo.networks import make_divisible


class Builder:
    """Appends layers; activations are named by their producers."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.layers: list[Layer] = []
        self.activations = {"input": Activation("input", height, width, channels, 1.0, 0)}

    def conv(
        self, x: str, channels: int, kernel: int = 1, stride: int = 1, depthwise: bool = False, pad: int | None = None
    ) -> str:
        source = self.activations[x]
        around = kernel // 2 if pad is None else pad
        groups = source.channels if depthwise else 1
        conv = Conv(source.channels, channels, (kernel, kernel), (stride, stride), (around,) * 4, groups=groups)
        height, width = conv.out_size(source.height, source.width)
        return self._append("dw" if depthwise else "conv", conv, (x,), height, width, channels)

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1, pad: int | None = None) -> str:
        return self.conv(x, self.activations[x].channels, kernel, stride, depthwise=True, pad=pad)

    def add(self, a: str, b: str) -> str:
        source = self.activations[a]
        size = source.height, source.width, source.channels
        return self._append("add", Add(*size), (a, b), *size)

    def pool(self, x: str) -> str:
        source = self.activations[x]
        operator = AveragePool(source.height, source.width, source.channels)
        return self._append("pool", operator, (x,), 1, 1, source.channels)

    def network(self, *outputs: str) -> Network:
        return Network("test", ("input",), outputs, tuple(self.layers), self.activations)

    def _append(
        self, kind: str, operator: Operator, inputs: tuple[str, ...], height: int, width: int, channels: int
    ) -> str:
        name = f"{kind}{len(self.layers)}"
        count = channels if isinstance(operator, Conv) else 1
        weights = None
        if isinstance(operator, Conv):
            shape = (operator.out_channels, operator.in_channels // operator.groups, *operator.kernel)
            weights = np.zeros(shape, np.int8)
        zeros = np.zeros(2 if isinstance(operator, Add) else count, np.int32)
        offset = np.zeros(count, np.int32)
        self.layers.append(Layer(name, operator, inputs, name, zeros, offset, 0, weights))
        self.activations[name] = Activation(name, height, width, channels, 1.0, 0)
        return name


def mobilenet_v1(width: float, resolution: int) -> Network:
    """MobileNetV1 of that width multiplier."""
    builder, x = Builder(resolution, resolution, 3), "input"
    for row in tables.load("mobilenet_v1").layers:
        channels = max(8, int(row.number("c") * width))
        for repeat in range(row.number("n")):
            stride = row.number("s") if repeat == 0 else 1
            if row.kind == "conv":
                x = builder.conv(x, channels, 3, stride)
            elif row.kind == "dwpw":
                x = builder.conv(builder.depthwise(x, 3, stride), channels)
            elif row.kind == "pool":
                x = builder.pool(x)
            else:
                x = builder.conv(x, row.number("c"))
    return builder.network(x)


def mobilenet_v2(width: float, resolution: int) -> Network:
    """MobileNetV2 of that width multiplier."""
    builder, x = Builder(resolution, resolution, 3), "input"
    for row in tables.load("mobilenet_v2").layers:
        scale = max(width, 1.0) if row.options.get("scale") == "widen" else width
        channels = make_divisible(row.number("c") * scale)
        for repeat in range(row.number("n")):
            stride = row.number("s") if repeat == 0 else 1
            if row.kind == "conv":
                x = builder.conv(x, channels, row.number("k"), stride)
            elif row.kind == "mbconv":
                x = inverted_residual(builder, x, channels, stride, row.number("e"))
            elif row.kind == "pool":
                x = builder.pool(x)
            else:
                x = builder.conv(x, row.number("c"))
    return builder.network(x)


def inverted_residual(builder: Builder, x: str, channels: int, stride: int, expansion: int) -> str:
    """A block of MobileNetV2."""
    shortcut, given = x, builder.activations[x].channels
    if expansion > 1:
        x = builder.conv(x, given * expansion)
    x = builder.conv(builder.depthwise(x, 3, stride), channels)
    return builder.add(shortcut, x) if stride == 1 and channels == given else x
