"""Grouped networks made by hand: geometry as in real networks, random constants, tiles that are legal but not tuned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tvm_dwfuse.groups import Group, GroupedNetwork, Plan
from tvm_dwfuse.integer_network import Activation, Add, AveragePool, Conv, Layer, Network
from tvm_dwfuse.tiling.chain import Chain, Tile, is_depthwise
from tvm_dwfuse.tiling.elementwise import AddPlan, PoolPlan


class Builder:
    """Appends layers, each a group of its own; ``conv`` takes several stages for a fused group."""

    def __init__(self, height: int, width: int, channels: int, *, with_weights: bool = False) -> None:
        self.rng = np.random.default_rng(0)
        self.with_weights = with_weights
        self.layers: list[Layer] = []
        self.groups: list[Group] = []
        self.activations = {"input": Activation("input", height, width, channels, 1.0, 0)}
        self.layouts = {"input": "hwc"}
        self.last = "input"

    def conv(self, *stages: Conv, x: str | None = None, layout: str = "hwc", rows: int = 2, channels: int = 32) -> str:
        x = x or self.last
        image = self.activations[x]
        if len(stages) == 1 and stages[0].in_channels == image.bytes != image.channels:
            image = Activation(x, 1, 1, image.bytes, 1.0, 0)
        name = f"{'_'.join(_kind(stage) for stage in stages)}{len(self.groups)}"
        layers = []
        for i, stage in enumerate(stages):
            out = f"{name}_out" if i == len(stages) - 1 else f"{name}_mid{i}"
            layers.append(self._layer(f"{name}/{i}", stage, (x,), out, stage.out_channels))
            x = out
        layouts = (self.layouts[layers[0].inputs[0]], *["hwc"] * (len(stages) - 1), layout)
        block = stages[-1].out_channels
        if all(is_depthwise(stage) for stage in stages[1:]):
            block = min(channels, block)
        tile = Tile(1, block, tuple(stage.out_channels for stage in stages))
        chain = Chain(stages, image.height, image.width, layouts, tile)
        chain = replace(chain, tile=replace(tile, rows=min(rows, chain.out_rows)))
        for layer, size in zip(layers, chain.sizes[1:], strict=True):
            self.activations[layer.output] = Activation(layer.output, *size, layer.operator.out_channels, 1.0, 0)
        return self._group(name, tuple(layers), chain, layout)

    def add(self, a: str, b: str, chunk: int = 4096) -> str:
        name, image = f"add{len(self.groups)}", self.activations[a]
        operator = Add(image.height, image.width, image.channels)
        layer = self._layer(f"{name}/0", operator, (a, b), f"{name}_out", 1)
        self.activations[layer.output] = Activation(layer.output, image.height, image.width, image.channels, 1.0, 0)
        return self._group(name, (layer,), AddPlan(image.bytes, min(chunk, image.bytes)), self.layouts[a])

    def pool(self, tile: int = 64) -> str:
        name, image = f"pool{len(self.groups)}", self.activations[self.last]
        operator = AveragePool(image.height, image.width, image.channels)
        layer = self._layer(f"{name}/0", operator, (self.last,), f"{name}_out", 1)
        self.activations[layer.output] = Activation(layer.output, 1, 1, image.channels, 1.0, 0)
        layout = self.layouts[self.last]
        plan = PoolPlan(image.height, image.width, image.channels, layout, min(tile, image.channels))
        return self._group(name, (layer,), plan, "hwc")

    def done(self, name: str = "net") -> GroupedNetwork:
        network = Network(name, ("input",), (self.last,), tuple(self.layers), self.activations)
        return GroupedNetwork(network, tuple(self.groups), self.layouts)

    def _group(self, name: str, layers: tuple[Layer, ...], plan: Plan, layout: str) -> str:
        self.layers += layers
        self.groups.append(Group(name, layers, "unfused", plan))
        self.last = layers[-1].output
        self.layouts[self.last] = layout
        return self.last

    def _layer(self, name: str, operator: Conv | Add | AveragePool, inputs: tuple[str, ...], out: str, n: int) -> Layer:
        weights = None
        if isinstance(operator, Conv) and self.with_weights:
            shape = (operator.out_channels, operator.in_channels // operator.groups, *operator.kernel)
            weights = self.rng.integers(-128, 128, shape, dtype=np.int8)
        if isinstance(operator, Add):
            return Layer(name, operator, inputs, out, _ints(40, 24), _ints(32), 6)
        if isinstance(operator, AveragePool):
            multiplier = (1 << 16) // (operator.height * operator.width)
            return Layer(name, operator, inputs, out, _ints(multiplier), _ints(1 << 15), 16)
        # Keeps about two standard deviations of the sum of products within 0 to 255.
        taps = operator.kernel[0] * operator.kernel[1] * operator.in_channels // operator.groups
        multiplier = int((1 << 16) * 64 / (taps**0.5 * 74 * 150))
        spread = self.rng.integers(multiplier, 2 * multiplier + 1, n).astype(np.int32)
        return Layer(name, operator, inputs, out, spread, np.full(n, 128 << 16, np.int32), 16, weights)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def pointwise(channels: int, out: int) -> Conv:
    return Conv(channels, out)


def depthwise(channels: int, stride: int = 1, kernel: int = 3) -> Conv:
    half = kernel // 2
    return Conv(channels, channels, (kernel, kernel), (stride, stride), (half,) * 4, groups=channels)


def stem(out: int, channels: int = 3) -> Conv:
    return Conv(channels, out, (3, 3), (2, 2), (1, 1, 1, 1))


def mobilenet_v1(resolution: int, width: float = 1.0, fused: str = "", **options: bool) -> GroupedNetwork:
    """MobileNetV1; ``fused`` is "", "dwpw" or "pwdw" (the first depthwise and last pointwise layers then alone)."""
    net = Builder(resolution, resolution, 3, **options)
    sizes = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    now = int(32 * width)
    net.conv(stem(now))
    stages: list[Conv] = []
    for out, stride in sizes:
        stages += [depthwise(now, stride), pointwise(now, int(out * width))]
        now = int(out * width)
    if fused == "pwdw":
        stages = [stages[0], *stages[1:]]
        net.conv(stages.pop(0))
    step = 2 if fused else 1
    for i in range(0, len(stages), step):
        net.conv(*stages[i : i + step])
    net.pool()
    net.conv(pointwise(now, 1000))
    return net.done(f"mobilenet_v1_{width}_{resolution}")


def mobilenet_v2(resolution: int, **options: bool) -> GroupedNetwork:
    """MobileNetV2 of width 1, unfused."""
    net = Builder(resolution, resolution, 3, **options)
    net.conv(stem(32))
    now = 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expand, out, count, stride in table:
        for i in range(count):
            x, s = net.last, stride if i == 0 else 1
            if expand > 1:
                net.conv(pointwise(now, now * expand))
            net.conv(depthwise(now * expand, s))
            net.conv(pointwise(now * expand, out))
            if i:
                net.add(x, net.last)
            now = out
    net.conv(pointwise(now, 1280))
    net.pool()
    net.conv(pointwise(1280, 1000))
    return net.done(f"mobilenet_v2_1.0_{resolution}")


def _kind(stage: Conv) -> str:
    return "dw" if stage.is_depthwise else "pw" if stage.is_pointwise else "conv"
