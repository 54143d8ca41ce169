"""Depthwise kernels under test: built, run on guarded memory, compared with the reference; and geometries for that."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import For, ForKind

from schedules.depthwise import build_depthwise
from tests.depthwise_reference import OUTPUTS, random_operands, reference
from tests.schedules.kernels import GUARD, guarded
from tvm_dwfuse import threads as thread_pool
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes
from tvm_dwfuse.targets import CpuTarget, host_target

#: Largest difference from float64, of the sum of the products' absolute values: a few roundings of float32.
TOLERANCE = 1e-6

#: Random kernels have no more taps, all those of an input channel taken together: large ones take seconds to compile.
MOST_TAPS = 18


def check(
    procedure: Procedure,
    conv: Depthwise,
    bias: bool = False,
    threads: int = 1,
    target: CpuTarget | None = None,
) -> tirx.PrimFunc:
    """Assert that a kernel agrees with the float64 reference; returns its function.

    What it reads and does not get is NaN, as is each element of its output that it does not write, and a write outside
    of the output is an error.
    """
    target = target or host_target()
    function = build_depthwise(procedure, conv, target, threads, bias)
    operands = random_operands(procedure, conv, bias)
    outputs = run(function, procedure, conv, operands, target, threads)
    check_values(procedure, conv, operands, outputs)
    return function


def run(
    function: tirx.PrimFunc,
    procedure: Procedure,
    conv: Depthwise,
    operands: dict[str, np.ndarray],
    target: CpuTarget,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """The outputs of a kernel by name."""
    library = tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target.tvm_target())
    arrays = fill(operands, procedure, conv, bias=len(function.params) > 3)
    tensors = {name: guarded(array) for name, array in arrays.items()}
    thread_pool.configure(min(threads, thread_pool.available()))
    library["main"](*(tensor for tensor, _ in tensors.values()))
    for name, (tensor, memory) in tensors.items():
        assert np.isnan(memory[:GUARD]).all(), f"wrote before {name}"
        assert np.isnan(memory[GUARD + tensor.numpy().size :]).all(), f"wrote behind {name}"
    for name, array in operands.items():
        np.testing.assert_array_equal(tensors[name][0].numpy(), array, f"{name} was written")
    return {name: tensors[name][0].numpy() for name in arrays if name in OUTPUTS[procedure]}


def fill(
    operands: dict[str, np.ndarray], procedure: Procedure, conv: Depthwise, bias: bool = False
) -> dict[str, np.ndarray]:
    """All parameters of a kernel in their order, outputs filled with NaN."""
    shapes = operand_shapes(procedure, conv, bias)
    return {name: operands.get(name, np.full(shape, np.nan, np.float32)) for name, shape in shapes.items()}


def check_values(
    procedure: Procedure, conv: Depthwise, operands: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> None:
    """Assert that outputs are those of the reference; where nothing is added up they must be exact."""
    expected = reference(procedure, conv, operands)
    products = reference(procedure, conv, {name: np.abs(array) for name, array in operands.items()})
    for name, output in outputs.items():
        error = np.abs(output - expected[name])
        wrong = ~(error <= TOLERANCE * products[name])
        assert not wrong.any(), (
            f"{procedure} {conv}: {wrong.sum()} of {wrong.size} values of {name} are wrong, the first at "
            f"{np.argwhere(wrong)[0]}: {output[wrong][0]}, not {expected[name][wrong][0]}"
        )


def parallel_loops(function: tirx.PrimFunc) -> int:
    """How many parallel loops a function has."""
    kinds: list[ForKind] = []
    tvm_ffi.structural_walk(function.body, (For, lambda loop: kinds.append(loop.kind)))
    return sum(kind == ForKind.PARALLEL for kind in kinds)


@contextmanager
def small_kernels_in_parallel() -> Iterator[None]:
    """Kernels under test are small: here several threads share them all the same."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("schedules.") and hasattr(module, "PARALLEL_MACS"):
                patch.setattr(module, "PARALLEL_MACS", 0)
        yield


def random_geometries(seed: int, count: int, layouts: Sequence[Layout] = ("NCHW", "NHWC")) -> list[Depthwise]:
    """Small convolutions of every kind: few that are wider than a tile, many with something odd about them."""
    choice = random.Random(seed)
    found: list[Depthwise] = []
    while len(found) < count:
        try:
            conv = _random_geometry(choice, layouts)
        except ValueError:  # the kernel does not fit the padded input
            continue
        if math.prod(conv.kernel) * conv.multiplier <= MOST_TAPS:
            found.append(conv)
    return found


def _random_geometry(choice: random.Random, layouts: Sequence[Layout]) -> Depthwise:
    return Depthwise(
        channels=choice.choice([1, 2, 3, 5, 8, 13, 16, 17, 33]),
        height=choice.randint(1, 20),
        width=choice.choice([1, 2, 3, 5, 7, 8, 13, 15, 16, 17, 24, 31, 35]),
        kernel=(choice.choice([1, 2, 3, 3, 3, 4, 5, 7]), choice.choice([1, 2, 3, 3, 3, 5, 6, 7])),
        stride=(choice.choice([1, 1, 2, 2, 3]), choice.choice([1, 1, 2, 2, 3])),
        padding=tuple(choice.choice([0, 1, 1, 2, 3, 4]) for _ in range(4)),
        dilation=(choice.choice([1, 1, 1, 2]), choice.choice([1, 1, 1, 2, 3])),
        multiplier=choice.choice([1, 1, 1, 1, 2, 3, 4]),
        batch=choice.choice([1, 1, 2, 3]),
        layout=choice.choice(layouts),
    )


def in_layout(conv: Depthwise, layout: Layout) -> Depthwise:
    """The same convolution in another layout."""
    return replace(conv, layout=layout)
