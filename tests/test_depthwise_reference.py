"""The reference of depthwise convolutions against PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.depthwise_golden import CASES, load
from tests.depthwise_reference import random_operands, reference, to_layout
from tests.schedules.depthwise_kernels import random_geometries
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise

GEOMETRIES = random_geometries(seed=0, count=40)


@pytest.mark.parametrize("conv", GEOMETRIES, ids=range(len(GEOMETRIES)))
def test_agrees_with_automatic_differentiation(conv: Depthwise) -> None:
    """PyTorch pads opposite sides alike, so the padding is an operator of its own, which gradients pass through."""
    torch = pytest.importorskip("torch")
    in_nchw = replace(conv, layout="NCHW")
    inputs = {
        **random_operands("forward", in_nchw, bias=True),
        "dy": random_operands("backward_data", in_nchw, seed=1)["dy"],
    }
    x, w, b, dy = (torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in inputs.values())
    top, left, bottom, right = conv.padding
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, w, b, conv.stride, 0, conv.dilation, conv.channels)
    y.backward(dy)
    theirs = {"y": y.detach(), "dx": x.grad, "dw": w.grad, "db": b.grad}
    operands = {name: to_layout(name, array, conv.layout) for name, array in inputs.items()}
    ours = {name: value for procedure in PROCEDURES for name, value in reference(procedure, conv, operands).items()}
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], to_layout(name, value.numpy(), conv.layout), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_stored_values(name: str) -> None:
    conv, values = load(name)
    for procedure in PROCEDURES:
        for output, expected in reference(procedure, conv, values).items():
            np.testing.assert_allclose(expected, values[output], rtol=0, atol=1e-4, err_msg=f"{procedure} {output}")
