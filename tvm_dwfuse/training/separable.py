"""A small depthwise-separable classifier as a backbone for ``relax.training``, and its initial parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tvm
from tvm import relax

_Layer: TypeAlias = Callable[[relax.Expr], relax.Expr]


@dataclass(frozen=True)
class SeparableBlock:
    """A depthwise convolution, padded to keep the size at stride 1, then a pointwise one to ``channels``."""

    channels: int
    kernel: int = 3
    stride: int = 1


def separable_backbone(
    batch: int, image: tuple[int, int, int], stem: int, blocks: Sequence[SeparableBlock], classes: int
) -> tvm.IRModule:
    """A module for ``SetupTrainer``: a 3x3 convolution to ``stem`` channels, the blocks, a dense layer on all pixels.

    Each convolution has a bias and a ReLU behind it. The function ``backbone`` takes images (batch, C, H, W) as
    ``image`` says (C, H, W), then for each layer a weight and a bias, and returns logits (batch, classes).
    """
    channels, height, width = image
    layers = _Layers()
    steps = [layers.convolution("stem", channels, stem, kernel=3)]
    channels = stem
    for number, block in enumerate(blocks):
        steps.append(layers.convolution(f"dw{number}", channels, channels, block.kernel, block.stride, groups=channels))
        steps.append(layers.convolution(f"pw{number}", channels, block.channels, kernel=1))
        channels = block.channels
        height, width = (height - 1) // block.stride + 1, (width - 1) // block.stride + 1
    steps.append(layers.dense("head", batch, channels * height * width, classes))

    builder = relax.BlockBuilder()
    x = relax.Var("images", relax.TensorType((batch, *image), "float32"))
    with builder.function("backbone", [x, *layers.parameters]):
        with builder.dataflow():
            y: relax.Expr = x
            for step in steps:
                y = builder.emit(step(y))
            logits = builder.emit_output(y)
        builder.emit_func_output(logits)
    return builder.get().with_attrs({"param_num": len(layers.parameters), "state_num": 0})


def initial_parameters(backbone: tvm.IRModule, seed: int) -> dict[str, np.ndarray]:
    """Values of the parameters by name: normal with variance 2 / fan-in (He et al., 2015) for convolutions, else zero.

    A dense layer of zeros starts from equal odds for all classes, and so without the first steps of a random one, in
    which differences of rounding between two runs grow most.
    """
    random = np.random.default_rng(seed)
    parameters = {}
    for param in backbone["backbone"].params[1:]:
        shape = tuple(int(extent) for extent in param.ty.shape)
        is_filter = len(shape) == 4 and param.name.endswith("_weight")
        deviation = np.sqrt(2 / np.prod(shape[1:])) if is_filter else 0.0
        parameters[param.name] = (random.standard_normal(shape) * deviation).astype(np.float32)
    return parameters


class _Layers:
    """Makes layers as functions of their input, and keeps the parameters that they read, in order."""

    def __init__(self) -> None:
        self.parameters: list[relax.Var] = []

    def convolution(self, name: str, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> _Layer:
        weight = self._parameter(f"{name}_weight", out, channels // groups, kernel, kernel)
        bias = self._parameter(f"{name}_bias", 1, out, 1, 1)

        def layer(x: relax.Expr) -> relax.Expr:
            y = relax.op.nn.conv2d(x, weight, strides=stride, padding=kernel // 2, groups=groups)
            return relax.op.nn.relu(relax.op.add(y, bias))

        return layer

    def dense(self, name: str, batch: int, inputs: int, out: int) -> _Layer:
        weight, bias = self._parameter(f"{name}_weight", inputs, out), self._parameter(f"{name}_bias", out)
        return lambda x: relax.op.add(relax.op.matmul(relax.op.reshape(x, (batch, inputs)), weight), bias)

    def _parameter(self, name: str, *shape: int) -> relax.Var:
        self.parameters.append(relax.Var(name, relax.TensorType(shape, "float32")))
        return self.parameters[-1]
