from __future__ import annotations

import pytest
import tvm
from tvm import relax, te, tirx, topi

from relay_passes import RaiseCallTir
from tests.relay_passes.modules import assert_rewritten, build

op = relax.op


def built_with_te(compute, shape: tuple[int, ...], bound: relax.Expr | None = None) -> tvm.IRModule:
    """``main`` that calls what ``compute`` builds, as an importer does by ``emit_te``."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            args = [x] if bound is None else [x, bound]
            output = builder.emit_output(builder.emit_te(compute, *args))
        builder.emit_func_output(output)
    return builder.get()


def raised(module: tvm.IRModule) -> tvm.IRModule:
    return relax.transform.DeadCodeElimination()(RaiseCallTir()(module))


@pytest.mark.parametrize(
    ("compute", "operator"), [(topi.maximum, op.maximum), (topi.minimum, op.minimum)], ids=["maximum", "minimum"]
)
@pytest.mark.parametrize("spelling", ["scalar", "vector", "literal"])
def test_clip_of_the_importer_is_raised(compute, operator, spelling: str) -> None:
    bound = relax.const([6.0] if spelling == "vector" else 6.0, "float32")
    if spelling == "literal":
        module = built_with_te(lambda x: compute(x, 6.0), (2, 3))
    else:
        module = built_with_te(compute, (2, 3), bound)
    expected = build(lambda emit, x: emit(operator(x, bound)), x=(2, 3))
    tvm.ir.assert_structural_equal(raised(module), expected)


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [([0, 0, 1, 2], [0, 0, 3, 0], 0.0), ([1, 0, 0, 0], [0, 2, 0, 1], 1.5), ([0, 0, 0, 0], [0, 0, 0, 0], 0.0)],
)
def test_pad_of_the_importer_is_raised(before: list[int], after: list[int], value: float) -> None:
    module = built_with_te(lambda x: topi.nn.pad(x, before, after, value), (2, 3, 5, 4))
    widths = [width for pair in zip(before, after, strict=True) for width in pair]
    expected = build(lambda emit, x: emit(op.nn.pad(x, widths, pad_value=value)), x=(2, 3, 5, 4))
    tvm.ir.assert_structural_equal(raised(module), expected)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: topi.nn.mirror_pad(x, [0, 1], [0, 1], "REFLECT"),
        lambda x: te.compute((2, 3), lambda i, j: tirx.max(x[i, 2 - j], tirx.const(0, "float32"))),
        lambda x: te.compute((2, 3), lambda i, j: tirx.if_then_else(j < 1, x[i, j], tirx.const(0, "float32"))),
        lambda x: te.compute((4, 3), lambda i, j: tirx.if_then_else(i < 3, x[i // 2, j], tirx.const(0, "float32"))),
        lambda x: topi.sum(x, 1),
        lambda x: topi.exp(x),
    ],
    ids=["reflect", "max-reversed", "mask", "repeat", "sum", "exp"],
)
def test_other_functions_are_called_as_before(compute) -> None:
    module = built_with_te(compute, (2, 3))
    tvm.ir.assert_structural_equal(RaiseCallTir()(module), module)


def test_operators_pass_through() -> None:
    module = build(lambda emit, x: op.maximum(x, relax.const(0.0, "float32")), x=(2, 3))
    assert_rewritten(RaiseCallTir(), module, module)
