"""The plain-Python description of a convolution block: what passes find, variants compute and schedules read.

Nothing here imports TVM. A :class:`Block` says everything about a block but its weights: the geometry of each
convolution, what follows it element by element, the activation layout and the input size.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Layout = Literal["NHWC", "NCHW"]

#: Element-wise activations that an epilogue can hold, by the name that stands in :attr:`Conv.epilogue`.
#: ``hardsigmoid`` is clip(x / 6 + 1/2, 0, 1), ``hardswish`` is x * hardsigmoid(x), ``silu`` is x * sigmoid(x).
ACTIVATIONS = ("relu", "relu6", "hardsigmoid", "hardswish", "sigmoid", "silu")

#: Epilogue steps that read a second operand: a (C,) bias, or a tensor of the output's own shape.
OPERAND_STEPS = ("bias", "add")


def activation_shape(layout: Layout, n: int, h: int, w: int, c: int) -> tuple[int, int, int, int]:
    """Shape of an activation of ``n`` images, ``h`` x ``w`` pixels and ``c`` channels in that layout."""
    return (n, h, w, c) if layout == "NHWC" else (n, c, h, w)


@dataclass(frozen=True)
class Conv:
    """One 2-D convolution and the element-wise steps that follow it, in order.

    ``padding`` is (top, left, bottom, right). ``epilogue`` holds ``"bias"``, ``"add"`` (a residual of the output's
    shape) and names from :data:`ACTIVATIONS`, applied left to right.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    epilogue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"groups={self.groups} does not divide channels {self.in_channels} -> {self.out_channels}")
        unknown = [step for step in self.epilogue if step not in ACTIVATIONS + OPERAND_STEPS]
        if unknown:
            raise ValueError(f"unknown epilogue step {unknown[0]!r}; known: {', '.join(ACTIVATIONS + OPERAND_STEPS)}")

    @property
    def is_depthwise(self) -> bool:
        """One input channel a group, more than one channel; any channel multiplier."""
        return self.groups == self.in_channels and self.in_channels > 1

    @property
    def is_pointwise(self) -> bool:
        """A dense 1x1 convolution that reads every pixel once: stride 1, no padding."""
        return self.kernel == (1, 1) and self.strides == (1, 1) and self.padding == (0, 0, 0, 0) and self.groups == 1

    @property
    def channel_multiplier(self) -> int:
        """Output channels for each group."""
        return self.out_channels // self.groups

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output for an input of that size."""
        top, left, bottom, right = self.padding
        reach_h = self.dilation[0] * (self.kernel[0] - 1) + 1
        reach_w = self.dilation[1] * (self.kernel[1] - 1) + 1
        return (
            (height + top + bottom - reach_h) // self.strides[0] + 1,
            (width + left + right - reach_w) // self.strides[1] + 1,
        )

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates for one image of that input size."""
        out_h, out_w = self.out_size(height, width)
        taps = self.kernel[0] * self.kernel[1] * (self.in_channels // self.groups)
        return out_h * out_w * self.out_channels * taps


@dataclass(frozen=True)
class Block:
    """A chain of convolutions computed by one kernel.

    ``height`` and ``width`` are the input's. ``prologue`` may hold ``"scale"``: the input is first multiplied by a
    tensor of one value a channel, (N, 1, 1, C) or (N, C, 1, 1) (the end of a squeeze-and-excite branch).
    """

    stages: tuple[Conv, ...]
    batch: int
    height: int
    width: int
    layout: Layout = "NHWC"
    dtype: str = "float32"
    prologue: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        """``"dwpw"``, ``"pwdw"``, ``"pwdwpw"``, or for one stage ``"dw"``, ``"pw"``, ``"conv"``."""
        if len(self.stages) == 1 and not (self.stages[0].is_depthwise or self.stages[0].is_pointwise):
            return "conv"
        return "".join("dw" if stage.is_depthwise else "pw" for stage in self.stages)

    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the input and of each stage's output."""
        sizes = [(self.height, self.width)]
        for stage in self.stages:
            sizes.append(stage.out_size(*sizes[-1]))
        return sizes

    def macs(self) -> int:
        """Multiply-accumulates of the whole block, all images."""
        sizes = self.sizes()
        return self.batch * sum(stage.macs(*size) for stage, size in zip(self.stages, sizes[:-1], strict=True))

    def operands(self) -> list[str]:
        """Names of the operands in call order: ``x``, ``scale``, then per stage i ``w<i>`` and its epilogue's.

        ``b<i>`` is a bias of shape (out_channels,), ``r<i>`` a residual of the stage's output shape.
        """
        names = ["x", *self.prologue]
        for i, stage in enumerate(self.stages):
            names.append(f"w{i}")
            names += [f"b{i}" if step == "bias" else f"r{i}" for step in stage.epilogue if step in OPERAND_STEPS]
        return names

    def to_json(self) -> str:
        """One line of JSON; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Block:
        """The block that :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        stages = tuple(Conv(**_with_tuples(stage)) for stage in fields.pop("stages"))
        return Block(stages=stages, **_with_tuples(fields))


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with tuples where JSON has lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
