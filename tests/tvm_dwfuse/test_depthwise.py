"""Depthwise kernels on numpy arrays: results, and what is said of operands that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.depthwise_reference import OUTPUTS, random_operands, reference
from tvm_dwfuse import Depthwise, DwfuseError, compile_depthwise
from tvm_dwfuse.kernels.depthwise import Procedure

CONV = Depthwise(5, 7, 9, stride=(2, 2), padding=(1, 1, 1, 1), batch=2)


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("procedure", "bias"), [("forward", True), ("backward_data", False), ("backward_weight", True)]
)
def test_results_are_those_of_the_reference(procedure: Procedure, bias: bool) -> None:
    operands = random_operands(procedure, CONV, bias)
    results = compile_depthwise(procedure, CONV, threads=1, bias=bias)(*operands.values())
    expected = reference(procedure, CONV, operands)
    for name, result in zip(OUTPUTS[procedure], results, strict=False):
        np.testing.assert_allclose(result, expected[name], rtol=1e-4, atol=1e-4)
    assert len(results) == (2 if procedure == "backward_weight" else 1)


@pytest.mark.parametrize(
    ("procedure", "names"), [("backward_data", ("dy", "w")), ("backward_weight", ("x", "dy")), ("forward", ("x", "w"))]
)
def test_an_operand_of_another_shape_is_named(procedure: Procedure, names: tuple[str, str]) -> None:
    kernel = compile_depthwise(procedure, CONV, threads=1)
    first, second = arrays(*(kernel.shapes[name] for name in names))
    with pytest.raises(DwfuseError, match=rf"{procedure}: {names[1]} has shape .*, expected"):
        kernel(first, second[..., :-1])
    with pytest.raises(DwfuseError, match=rf"{procedure}: {names[0]} has dtype float64, expected float32"):
        kernel(first.astype(np.float64), second)
    with pytest.raises(DwfuseError, match=f"{procedure}: 1 operands given, expected {names[0]}, {names[1]}"):
        kernel(first)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(DwfuseError, match="procedure 'sideways': unknown; known: forward"):
        compile_depthwise("sideways", CONV)  # type: ignore[arg-type]
    with pytest.raises(DwfuseError, match="does not depend on a bias"):
        compile_depthwise("backward_data", CONV, bias=True)
    with pytest.raises(DwfuseError, match="threads: 0 asked for"):
        compile_depthwise("forward", CONV, threads=0)
    with pytest.raises(ValueError, match="the output would be 0x0"):
        Depthwise(4, 4, 4, dilation=(2, 2))
