"""Depthwise convolution and its two gradients: geometry and operand shapes, shared by schedules, passes and tests.

The three procedures and their operands, in the order of a kernel's parameters:

- ``forward``: x, w [, b] -> y
- ``backward_data``: dy, w -> dx
- ``backward_weight``: x, dy -> dw [, db]

In NCHW a weight is (C * multiplier, 1, kh, kw), as PyTorch has it; in NHWC it is (kh, kw, C * multiplier), so that the
lanes of a vector run along channels. Output channel ``o`` reads input channel ``o // multiplier``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tvm_dwfuse.blocks import Conv, Layout, activation_shape

Procedure = Literal["forward", "backward_data", "backward_weight"]

PROCEDURES: tuple[Procedure, ...] = ("forward", "backward_data", "backward_weight")


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution of ``batch`` images of ``height`` x ``width`` pixels and ``channels`` channels.

    ``padding`` is (top, left, bottom, right); ``multiplier`` is the number of output channels for each input channel.

    Raises:
        ValueError: a size is not positive, a padding is negative, or the output has no pixels.
    """

    channels: int
    height: int
    width: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    multiplier: int = 1
    batch: int = 1
    layout: Layout = "NCHW"

    def __post_init__(self) -> None:
        sizes = (self.batch, self.channels, self.height, self.width, self.multiplier)
        if min(*sizes, *self.kernel, *self.stride, *self.dilation) < 1:
            raise ValueError(f"{self}: sizes, stride, dilation and multiplier must be at least 1")
        if min(self.padding) < 0:
            raise ValueError(f"{self}: padding must not be negative")
        if min(self.out_size) < 1:
            raise ValueError(
                f"{self}: the output would be {self.out_size[0]}x{self.out_size[1]}; the kernel, dilated, must fit "
                "the padded input"
            )

    @property
    def conv(self) -> Conv:
        """The same, without the input's size."""
        return Conv(
            self.channels,
            self.out_channels,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            groups=self.channels,
        )

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.channels * self.multiplier

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.conv.out_size(self.height, self.width)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of x and dx."""
        return activation_shape(self.layout, self.batch, self.height, self.width, self.channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of y and dy."""
        return activation_shape(self.layout, self.batch, *self.out_size, self.out_channels)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of w and dw."""
        return (self.out_channels, 1, *self.kernel) if self.layout == "NCHW" else (*self.kernel, self.out_channels)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of any of the three procedures, those with padding included."""
        return self.batch * self.conv.macs(self.height, self.width)


def operand_shapes(procedure: Procedure, conv: Depthwise, bias: bool = False) -> dict[str, tuple[int, ...]]:
    """Shape of each operand of a kernel by name, in the order of its parameters; outputs stand last.

    Raises:
        ValueError: there is no such procedure, or the gradient of the data has no bias.
    """
    x, y, w, b = conv.input_shape, conv.output_shape, conv.weight_shape, (conv.out_channels,)
    if procedure == "forward":
        return {"x": x, "w": w, **({"b": b} if bias else {}), "y": y}
    if procedure == "backward_data":
        if bias:
            raise ValueError("backward_data: the gradient of the data does not depend on a bias")
        return {"dy": y, "w": w, "dx": x}
    if procedure == "backward_weight":
        return {"x": x, "dy": y, "dw": w, **({"db": b} if bias else {})}
    raise ValueError(f"unknown procedure {procedure!r}; known: {', '.join(PROCEDURES)}")
