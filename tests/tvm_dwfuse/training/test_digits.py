from __future__ import annotations

import numpy as np
import pytest

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.training import digits

FEW = digits.Samples(np.zeros((8, *digits.IMAGE), np.float32), np.zeros(8, np.int64))


def test_samples() -> None:
    pytest.importorskip("sklearn", reason="install the extra 'train'")
    training, held_out = digits.load_samples()
    assert training.images.shape == (1437, 1, 8, 8)
    assert len(held_out.labels) == len(held_out.images) == 360
    images = np.concatenate([training.images, held_out.images])
    assert len(np.unique(images.reshape(1797, -1), axis=0)) == 1797
    assert images.mean() == pytest.approx(0, abs=1e-6)
    assert set(held_out.labels) == set(range(10))


def test_a_batch_larger_than_the_samples() -> None:
    with pytest.raises(DwfuseError, match="batch: 9 images asked for, but there are only 8"):
        digits.train(digits.Recipe(batch=9), FEW, FEW)


@pytest.mark.parametrize(("losses", "expected"), [([2.0, 1.0], 0.0), ([2.0, 1.5], 0.25), ([1.0, 1.0], 0.5)])
def test_disagreement(losses: list[float], expected: float) -> None:
    run, other = digits.Run(digits.Recipe(), losses), digits.Run(digits.Recipe(), [2.0, 1.0])
    assert digits.disagreement(run, other) == expected


def test_a_diverged_run_does_not_agree() -> None:
    run, other = digits.Run(digits.Recipe(), [2.0, float("nan")]), digits.Run(digits.Recipe(), [2.0, 1.0])
    assert not digits.disagreement(run, other) <= digits.TOLERANCE
