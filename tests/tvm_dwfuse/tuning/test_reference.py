"""The judge of candidates, against the plainer reference of the tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blocks import depthwise, pointwise, separable_blocks, single_blocks
from tests.reference import reference
from tvm_dwfuse.blocks import Block
from tvm_dwfuse.tuning.reference import TOLERANCE, expected, operands, relative_error
from tvm_dwfuse.variants import VARIANTS

KINDS = ("dw", "pw", "conv", "grouped")

BLOCK = Block((depthwise(64), pointwise(64, 128)), 1, 9, 7)


@settings(max_examples=60)
@given(data=st.data())
def test_agrees_with_a_plainer_reference(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from((*KINDS, *VARIANTS)))
    block = data.draw(single_blocks(kind) if kind in KINDS else separable_blocks(VARIANTS[kind]))
    arrays = operands(block, seed=data.draw(st.integers(0, 9)))
    assert list(arrays) == block.operands()
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    result = expected(block, arrays)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, reference(block, arrays), rtol=1e-12, atol=1e-12)


def test_operands_are_those_of_the_seed() -> None:
    first, again, other = operands(BLOCK), operands(BLOCK), operands(BLOCK, seed=1)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert (array != other[name]).any()


def test_float32_passes_and_one_lost_product_does_not() -> None:
    arrays = operands(BLOCK)
    correct = expected(BLOCK, arrays)
    assert relative_error(correct.astype(np.float32), correct) < TOLERANCE / 100
    lost = {**arrays, "w1": arrays["w1"].copy()}
    lost["w1"][5, 17] = 0
    assert relative_error(expected(BLOCK, lost), correct) > 10 * TOLERANCE


def test_a_missing_activation_shows() -> None:
    linear = replace(BLOCK, stages=(*BLOCK.stages[:1], replace(BLOCK.stages[1], epilogue=("bias",))))
    arrays = operands(BLOCK)
    assert relative_error(expected(linear, arrays), expected(BLOCK, arrays)) > TOLERANCE


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_wrong(value: float) -> None:
    correct = expected(BLOCK, operands(BLOCK))
    actual = correct.copy()
    actual[0, 3, 2, 1] = value
    assert not relative_error(actual, correct) <= TOLERANCE
