"""Depthwise kernels against the float64 reference, and against what PyTorch computed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schedules.depthwise import build_depthwise
from tests.depthwise_golden import CASES, load
from tests.depthwise_reference import OUTPUTS, random_operands, to_layout
from tests.schedules.depthwise_kernels import (
    check,
    in_layout,
    parallel_loops,
    random_geometries,
    run,
    small_kernels_in_parallel,
)
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets import host_target

GEOMETRIES = {
    "3x3 stride 2, even": Depthwise(24, 12, 16, stride=(2, 2), padding=(1, 1, 1, 1)),
    "3x3 stride 2, odd": Depthwise(20, 13, 35, stride=(2, 2), padding=(1, 1, 1, 1)),
    "3x3 stride 2, rest": Depthwise(8, 10, 12, stride=(2, 2)),
    "7x7": Depthwise(6, 9, 19, (7, 7), padding=(3, 3, 3, 3)),
    "dilated": Depthwise(16, 11, 18, padding=(2, 2, 2, 2), dilation=(2, 2)),
    "multiplier": Depthwise(5, 8, 17, padding=(1, 1, 1, 1), multiplier=3),
    "two rows and columns": Depthwise(3, 2, 2, padding=(1, 1, 1, 1)),
    "outputs that see padding only": Depthwise(4, 5, 6, stride=(1, 3), padding=(4, 4, 3, 4)),
    "one channel": Depthwise(1, 9, 21, padding=(1, 1, 1, 1), batch=3),
}
LAYOUTS: tuple[Layout, ...] = ("NCHW", "NHWC")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_agrees_with_float64(name: str, layout: Layout, procedure: Procedure) -> None:
    check(procedure, in_layout(GEOMETRIES[name], layout))


@pytest.mark.parametrize("seed", range(12))
def test_random_geometries(seed: int) -> None:
    (conv,) = random_geometries(seed, count=1)
    for procedure in PROCEDURES:
        check(procedure, conv, bias=procedure != "backward_data" and seed % 2 == 0)


@pytest.mark.parametrize(("layout", "procedure"), [*itertools.product(LAYOUTS, PROCEDURES)])
def test_threads_share_the_work(layout: Layout, procedure: Procedure) -> None:
    conv = Depthwise(6, 11, 18, padding=(1, 1, 1, 1), batch=3, layout=layout)
    with small_kernels_in_parallel():
        function = check(procedure, conv, bias=procedure != "backward_data", threads=2)
    assert parallel_loops(function) > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_share_one_channel(layout: Layout) -> None:
    """The weight gradient of one channel has a task for each part of the batch, and their sums are added up."""
    conv = Depthwise(1, 20, 18, padding=(1, 1, 1, 1), batch=3, layout=layout)
    with small_kernels_in_parallel():
        function = check("backward_weight", conv, bias=True, threads=2)
    assert parallel_loops(function) > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reads_nothing_outside_of_its_operands(layout: Layout) -> None:
    """And computes what it should, for more geometries."""
    command = [sys.executable, "-m", "tests.schedules.guard_pages", layout]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = result.stdout.strip().rpartition("\n")[2]
    assert result.returncode == 0, f"{last}: ended with status {result.returncode}: {result.stderr}"


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name: str, procedure: Procedure) -> None:
    conv, values = load(name)
    bias = procedure != "backward_data"
    function = build_depthwise(procedure, conv, host_target(), bias=bias)
    operands = {key: values[key] for key in random_operands(procedure, conv, bias)}
    for output, value in run(function, procedure, conv, operands, host_target()).items():
        np.testing.assert_allclose(value, values[output], rtol=0, atol=2e-6 * np.abs(values[output]).max())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("procedure", PROCEDURES)
def test_agrees_with_pytorch_that_is_installed(procedure: Procedure, layout: Layout) -> None:
    torch = pytest.importorskip("torch")
    conv = Depthwise(24, 15, 22, (5, 3), (2, 2), (2, 1, 2, 1), multiplier=2, batch=2)
    operands = {**random_operands("forward", conv), **random_operands("backward_data", conv, seed=1)}
    x, w, dy = (torch.from_numpy(operands[name]) for name in ("x", "w", "dy"))
    rest = (conv.stride, conv.padding[:2], conv.dilation)
    dx, dw, _ = torch.ops.aten.convolution_backward(
        dy, x, w, None, *rest, False, (0, 0), conv.channels, (True, True, False)
    )
    expected = {"y": torch.nn.functional.conv2d(x, w, None, *rest, conv.channels), "dx": dx, "dw": dw}
    in_this_layout = in_layout(conv, layout)
    function = build_depthwise(procedure, in_this_layout, host_target())
    inputs = {name: to_layout(name, operands[name], layout) for name in random_operands(procedure, conv)}
    (name,) = set(OUTPUTS[procedure]) & set(expected)
    result = run(function, procedure, in_this_layout, inputs, host_target())[name]
    theirs = to_layout(name, expected[name].numpy(), layout)
    np.testing.assert_allclose(result, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


def test_there_is_no_bias_in_the_data_gradient() -> None:
    with pytest.raises(ValueError, match="backward_data: the gradient of the data does not depend on a bias"):
        build_depthwise("backward_data", GEOMETRIES["7x7"], host_target(), bias=True)


def test_unknown_procedure() -> None:
    with pytest.raises(ValueError, match="unknown procedure 'backward'; known: forward, "):
        build_depthwise("backward", GEOMETRIES["7x7"], host_target())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": (3, 5), "dilation": (1, 4)}, "the output would be 4x-12"),
        ({"multiplier": 0}, "must be at least 1"),
        ({"padding": (0, -1, 0, 0)}, "padding must not be negative"),
    ],
)
def test_impossible_geometries(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Depthwise(1, 6, 4, **change)  # type: ignore[arg-type]
