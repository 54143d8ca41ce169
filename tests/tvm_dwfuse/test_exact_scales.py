"""Weight scales for which float32 arithmetic and int32 arithmetic agree bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_dwfuse.exact_scales import _rounds_alike


def in_float32(accumulators: np.ndarray, ratio: float, zero_point: int) -> np.ndarray:
    """What ONNX Runtime does: a float32 product, rounded half to even."""
    return np.clip(np.rint(accumulators.astype(np.float32) * np.float32(ratio)) + zero_point, 0, 255)


@pytest.mark.parametrize("zero_point", [0, 3, 128, 255])
@pytest.mark.parametrize("shift", [11, 14])
def test_agreement_at_all_steps_is_agreement_everywhere(shift: int, zero_point: int) -> None:
    multipliers = np.concatenate([np.arange(9, 40), np.arange(200, 330)]).astype(float)
    alike = _rounds_alike(multipliers, shift, zero_point)
    assert 0 < alike.sum() < len(alike), "both cases must occur"
    for multiplier, expected in zip(multipliers.astype(int), alike, strict=True):
        reach = 260 * 2**shift // multiplier
        accumulators = np.arange(-reach, reach)
        ours = (multiplier * accumulators + (2 * zero_point + 1) * 2 ** (shift - 1)) >> shift
        theirs = in_float32(accumulators, multiplier / 2**shift, zero_point)
        assert (np.clip(ours, 0, 255) == theirs).all() == expected
