"""Layers with seeded random constants in a task's shape: what its candidates compute, and are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from schedules.cluster import build_group
from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.codegen_gap8.constants import packed_constants
from tvm_dwfuse.codegen_gap8.printer import print_function
from tvm_dwfuse.groups import Group
from tvm_dwfuse.integer_network import Layer
from tvm_dwfuse.quantization import run_layer
from tvm_dwfuse.runners.layer import LayerCase
from tvm_dwfuse.targets.gap8 import GAP8
from tvm_dwfuse.tiling.chain import Chain

#: What an output holds that no kernel has written.
_UNWRITTEN = 0xA5


@dataclass(frozen=True, eq=False)
class ClusterExample:
    """The layers of a chain, an input (uint8 HWC), and what it gives."""

    layers: tuple[Layer, ...]
    x: np.ndarray

    @staticmethod
    def of(stages: Sequence[Conv], height: int, width: int, seed: int = 0) -> ClusterExample:
        """Seeded constants and a seeded input for ``stages``."""
        rng = np.random.default_rng(seed)
        layers = tuple(random_layer(f"conv{i}", conv, rng) for i, conv in enumerate(stages))
        return ClusterExample(layers, rng.integers(0, 256, (height, width, stages[0].in_channels), dtype=np.uint8))

    @cached_property
    def expected(self) -> np.ndarray:
        """The output, uint8 HWC, by the numpy reference."""
        y = self.x
        for layer in self.layers:
            y = run_layer(layer, y)
        return y

    def case(self, plan: Chain) -> LayerCase:
        """A call of the C function of ``plan`` that computes everything."""
        return group_case(Group("group", self.layers, "", plan), self.x)

    def is_right(self, plan: Chain, output: np.ndarray) -> bool:
        """Whether the output array of :meth:`case` holds what is expected, bit for bit."""
        return np.array_equal(output, stored(self.expected, plan.layouts[-1]))


def random_layer(name: str, conv: Conv, rng: np.random.Generator) -> Layer:
    """A layer with random constants, whose outputs spread over 0 to 255 and beyond both ends."""
    shape = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)
    weights = rng.integers(-127, 128, shape, dtype=np.int8)
    spread = 127 * 73 * np.sqrt(weights[0].size)
    bound = 255 * np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1).max()
    shift = int(np.log2(2**30 / (1.3 * 110 / spread * bound + 256)))
    multiplier = (rng.uniform(0.7, 1.3, conv.out_channels) * 110 / spread * 2**shift).astype(np.int32)
    mean = weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1) * 128
    offset = ((rng.uniform(90, 160, conv.out_channels)) * 2**shift - multiplier * mean).astype(np.int32)
    pad_value = int(rng.integers(0, 256))
    return Layer(name, conv, (f"{name}_in",), f"{name}_out", multiplier, offset, shift, weights, pad_value)


def stored(x: np.ndarray, layout: str) -> np.ndarray:
    """An HWC array as it lies in L2, flat."""
    return np.ascontiguousarray(x if layout == "hwc" else x.transpose(2, 0, 1)).reshape(-1)


def group_arguments(group: Group, x: np.ndarray) -> list[np.ndarray | int]:
    """Arguments of a call of a chain's function that computes everything; the last array is the output."""
    chain = group.plan
    assert isinstance(chain, Chain), group.name
    source = "hwc" if chain.dma_transposes else chain.layouts[0]
    height, width = chain.sizes[-1]
    y = np.full(height * width * chain.tensor_channels[-1], _UNWRITTEN, np.uint8)
    constants = [array.reshape(-1) for array in packed_constants(group).values()]
    return [stored(x, source), *constants, y, 0, chain.out_rows, 0, 0, 0, chain.blocks]


def group_case(group: Group, x: np.ndarray) -> LayerCase:
    """That call, of the C function that is printed for the group."""
    arguments = group_arguments(group, x)
    function = print_function(build_group(group), replace(GAP8, cores=group.plan.cores))
    output = max(i for i, argument in enumerate(arguments) if isinstance(argument, np.ndarray))
    source = f'#include "dwfuse_scalar.h"\n{function.text}'
    return LayerCase(source, function.name, tuple(arguments), output, function.l1_bytes)
