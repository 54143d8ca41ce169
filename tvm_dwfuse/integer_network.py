"""Plain-Python description of an integer network: what the quantized import leaves and every GAP8 step reads.

Nothing here imports TVM. Activations are uint8 of batch one, weights int8, accumulators int32; the arithmetic of each
layer is the one of :mod:`tvm_dwfuse.quantization`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .blocks import Conv


@dataclass(frozen=True)
class Activation:
    """A uint8 tensor of one image, logically HWC: real value = ``scale`` * (stored - ``zero_point``)."""

    name: str
    height: int
    width: int
    channels: int
    scale: float
    zero_point: int

    @property
    def bytes(self) -> int:
        """Its size, in any layout."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Add:
    """The sum of two activations of the same size, rescaled."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class AveragePool:
    """The mean of each channel over the whole image, rescaled; any other average pool is a depthwise convolution."""

    height: int
    width: int
    channels: int


Operator = Conv | Add | AveragePool


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator with its constants.

    Args:
        name: the ONNX node's name, for messages.
        operator: its geometry. A :class:`Conv` has an empty epilogue: bias and activation are in the constants.
        inputs, output: names of activations; an :class:`Add` has two inputs.
        multiplier: int32; (out_channels,) for a Conv, (2,) for an Add, (1,) for an AveragePool.
        offset: int32; (out_channels,) for a Conv, else (1,).
        shift: right shift of the requantization, in bits.
        weights: int8, OIHW; None for an Add or AveragePool.
        pad_value: what the padding holds, the zero point of the input.
    """

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    output: str
    multiplier: np.ndarray = field(repr=False)
    offset: np.ndarray = field(repr=False)
    shift: int
    weights: np.ndarray | None = field(default=None, repr=False)
    pad_value: int = 0


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in an order of execution, and every activation by name (inputs and outputs among them)."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    activations: dict[str, Activation]

    @cached_property
    def producers(self) -> dict[str, Layer]:
        """The layer that writes each activation; inputs of the network have none."""
        return {layer.output: layer for layer in self.layers}

    def users(self, name: str) -> list[Layer]:
        """Layers that read the activation ``name``, in order."""
        return [layer for layer in self.layers if name in layer.inputs]
