"""Results of PyTorch for a few depthwise convolutions, stored in ``golden/depthwise_torch.npz``.

They were computed by PyTorch 2.13 in float32: ``conv2d`` and ``aten::convolution_backward`` on numbers that numpy drew.
``python -m tests.depthwise_golden`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.depthwise_reference import random_operands
from tvm_dwfuse.kernels.depthwise import Depthwise

PATH = Path(__file__).parent / "golden" / "depthwise_torch.npz"

#: The last row and column of an input of even size take no part at stride 2 without enough padding: gradients are zero.
CASES = {
    "3x3": Depthwise(5, 9, 11, padding=(1, 1, 1, 1), batch=2),
    "3x3 stride 2, odd": Depthwise(6, 9, 11, stride=(2, 2), padding=(1, 1, 1, 1)),
    "3x3 stride 2, rest": Depthwise(3, 10, 8, stride=(2, 2)),
    "5x3 stride 1x2, dilated, multiplier 2": Depthwise(
        3, 12, 13, (5, 3), (1, 2), (2, 3, 2, 3), dilation=(1, 2), multiplier=2
    ),
}


def load(name: str) -> tuple[Depthwise, dict[str, np.ndarray]]:
    """A convolution in NCHW, and x, w, b, dy, y, dx, dw and db."""
    with np.load(PATH) as stored:
        return CASES[name], {key.rpartition("/")[2]: stored[key] for key in stored if key.rpartition("/")[0] == name}


def _compute(conv: Depthwise) -> dict[str, np.ndarray]:
    import torch

    operands = {**random_operands("forward", conv, bias=True), **random_operands("backward_data", conv, seed=1)}
    x, w, b, dy = (torch.from_numpy(operands[name]) for name in ("x", "w", "b", "dy"))
    padding, groups = conv.padding[:2], conv.channels
    y = torch.nn.functional.conv2d(x, w, b, conv.stride, padding, conv.dilation, groups)
    dx, dw, db = torch.ops.aten.convolution_backward(
        dy, x, w, b.shape, conv.stride, padding, conv.dilation, False, (0, 0), groups, (True, True, True)
    )
    results = {"y": y, "dx": dx, "dw": dw, "db": db}
    return {**operands, **{name: value.numpy() for name, value in results.items()}}


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        PATH, **{f"{name}/{key}": array for name, conv in CASES.items() for key, array in _compute(conv).items()}
    )
