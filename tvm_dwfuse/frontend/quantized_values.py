"""What a value of a quantized ONNX graph is while its layers are found: stored already, or awaiting its grid."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from ..blocks import Conv
from ..integer_network import Activation, Add, AveragePool
from ..quantization import (
    Requantization,
    accumulator_bounds,
    add_requantization,
    requantization,
    scale_ratio,
    usual_accumulators,
)
from .quantized_constants import Grid

Padding = tuple[int, int, int, int]

NO_PADDING: Padding = (0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored activation as the graph sees it, before or after DequantizeLinear.

    Args:
        activation: what is stored, HWC.
        index: for each element in the graph's order and shape, its place in HWC; relabelling operators change only it.
        nominal: the grid that the ONNX model states; that of ``activation`` is finer where a Clip was folded into it.
        real: whether it is dequantized.
        padding: rows and columns of real zeros around it, (top, left, bottom, right), which are not stored.
        scores: whether a Softmax stands between; only order is kept then.
    """

    activation: Activation
    index: np.ndarray = field(repr=False)
    nominal: Grid
    real: bool
    padding: Padding = NO_PADDING
    scores: bool = False

    @property
    def grid(self) -> Grid:
        """The grid of what is stored."""
        return Grid(self.activation.scale, self.activation.zero_point)

    @property
    def size(self) -> tuple[int, int, int]:
        """(height, width, channels) of what is stored."""
        return self.activation.height, self.activation.width, self.activation.channels

    @property
    def is_image(self) -> bool:
        """Whether the graph sees it as (1, channels, height, width)."""
        return self.index.ndim == 4 and np.array_equal(self.index, nchw_index(self.size))


@dataclass(frozen=True, eq=False)
class Pending(ABC):
    """The real result of an operator, which the next QuantizeLinear gives a grid to.

    ``index`` is as in :class:`Stored`, ``low`` and ``high`` are the real bounds that Relu and Clip set.
    """

    node: onnx.NodeProto
    operator: Conv | Add | AveragePool
    size: tuple[int, int, int]
    index: np.ndarray = field(repr=False)
    inputs: tuple[Activation, ...]
    weights: np.ndarray | None = field(default=None, repr=False)
    pad_value: int = 0
    low: float = -math.inf
    high: float = math.inf

    @abstractmethod
    def requantization(self, grid: Grid) -> Requantization:
        """The integer constants for a result on ``grid``; ValueError if there are none."""


@dataclass(frozen=True, eq=False)
class PendingSum(Pending):
    """A weighted sum: a step of the accumulator is ``x_scale * weight_scale`` and ``zero`` stands for a real zero."""

    x_scale: float = 1.0
    weight_scale: np.ndarray = field(default_factory=lambda: np.ones(1))
    zero: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def requantization(self, grid: Grid) -> Requantization:
        """See :meth:`Pending.requantization`."""
        ratio = scale_ratio(self.x_scale, self.weight_scale, grid.scale)
        if self.weights is None:
            bounds = np.zeros(1), np.full(1, 255.0 * self.inputs[0].height * self.inputs[0].width)
            return requantization(ratio, bounds, self.zero, grid.zero_point)
        usual = usual_accumulators(self.weights, self.pad_value)
        return requantization(ratio, accumulator_bounds(self.weights), self.zero, grid.zero_point, usual)

    def plus(self, constant: np.ndarray) -> PendingSum:
        """The sum and a real constant, one for each channel."""
        return replace(self, zero=self.zero - constant / (self.x_scale * self.weight_scale))


@dataclass(frozen=True, eq=False)
class PendingAdd(Pending):
    """The sum of two activations."""

    def requantization(self, grid: Grid) -> Requantization:
        """See :meth:`Pending.requantization`."""
        first, second = (float(scale_ratio(x.scale, np.ones(1), grid.scale)[0]) for x in self.inputs)
        zero_points = (self.inputs[0].zero_point, self.inputs[1].zero_point)
        return add_requantization((first, second), zero_points, grid.zero_point)


def nchw_index(size: tuple[int, int, int]) -> np.ndarray:
    """The index of :class:`Stored` for an image of (height, width, channels): shape (1, channels, height, width)."""
    return np.arange(math.prod(size), dtype=np.int32).reshape(1, *size).transpose(0, 3, 1, 2)


def clipped_grid(nominal: Grid, low: float, high: float) -> Grid:
    """The grid whose 0 and 255 are the bounds that a Clip and the grid's own ends leave together.

    Where only the grid's ends bound, it is ``nominal``. Otherwise it is finer, as the layers clip at 0 and 255 alone.

    Raises:
        ValueError: the bounds leave a single value, or no zero.
    """
    least = max(0, nominal.stored(low)) if low > -math.inf else 0
    greatest = min(255, nominal.stored(high)) if high < math.inf else 255
    if (least, greatest) == (0, 255):
        return nominal
    steps = greatest - least
    if steps <= 0 or not least <= nominal.zero_point <= greatest:
        raise ValueError(f"its result is bounded by {low:g} and {high:g}, which leaves one value, or no zero")
    return Grid(nominal.scale * steps / 255, round((nominal.zero_point - least) * 255 / steps))
