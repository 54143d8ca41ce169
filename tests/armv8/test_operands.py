from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.depthwise_reference import reference
from tvm_dwfuse.armv8.operands import check_result, compute, random_operands
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure, operand_shapes

#: Nothing in it is symmetric.
CONV = Depthwise(2, 7, 9, (3, 2), (2, 3), (1, 0, 2, 1), (1, 2), multiplier=2, batch=2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("procedure", PROCEDURES)
def test_results_are_those_of_the_definition(procedure: Procedure, layout: Layout) -> None:
    conv = replace(CONV, layout=layout)
    operands = random_operands(procedure, conv)
    assert np.isnan(operands[-1]).all()
    inputs = [operand.astype(np.float64) for operand in operands[:-1]]
    *_, output = operand_shapes(procedure, conv)
    expected = reference(procedure, conv, dict(zip(operand_shapes(procedure, conv), inputs, strict=False)))[output]
    found = compute(procedure, conv, *inputs)
    assert found.shape == operands[-1].shape
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("procedure", PROCEDURES)
@pytest.mark.parametrize("fault", ["one value", "nan"])
def test_wrong_results_are_told(procedure: str, fault: str) -> None:
    operands = random_operands(procedure, CONV)
    right = compute(procedure, CONV, *(operand.astype(np.float64) for operand in operands[:-1])).astype(np.float32)
    check_result(procedure, CONV, operands, right)
    place = tuple(size - 1 for size in right.shape)
    right[place] = right[place] * 1.01 + 0.01 if fault == "one value" else np.nan
    with pytest.raises(DwfuseError, match=rf"{procedure} in NCHW: 1 of {right.size} values are wrong, the first at"):
        check_result(procedure, CONV, operands, right)
