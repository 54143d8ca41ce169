"""The intrinsics: their calls, their prototypes in C, and their meaning under LLVM, judged as the C kernels are."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

import tvm_dwfuse.codegen_gap8
from tests.codegen_gap8 import kernel_cases
from tests.codegen_gap8.small_functions import emit, function, l1, pointer, scalar
from tvm_dwfuse.codegen_gap8 import intrinsics
from tvm_dwfuse.codegen_gap8.expand_intrinsics import expand_intrinsics
from tvm_dwfuse.codegen_gap8.intrinsics import INTRINSICS, Intrinsic, Pointer

FOLDER = Path(tvm_dwfuse.codegen_gap8.__file__).parent
KERNELS = [intrinsic for intrinsic in INTRINSICS.values() if not intrinsic.by_master]
HEADER = {True: "runtime/dwfuse_runtime.h", False: "kernels/dwfuse_kernels.h"}


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("( ", "(")


@pytest.mark.parametrize("intrinsic", INTRINSICS.values(), ids=INTRINSICS)
def test_c_declares_and_holds_it(intrinsic: Intrinsic) -> None:
    prototype = one_line(intrinsic.prototype)
    assert f"{prototype};" in one_line((FOLDER / HEADER[intrinsic.by_master]).read_text())
    assert prototype in one_line((FOLDER / intrinsic.source).read_text())


def test_every_kernel_of_the_header_is_an_intrinsic() -> None:
    declared = re.findall(r"void (\w+)\(", (FOLDER / HEADER[False]).read_text())
    assert sorted(declared) == sorted(kernel.name for kernel in KERNELS)


@cache
def under_llvm(intrinsic: Intrinsic, void: str = "uint8") -> Callable[..., None]:
    """A function with the parameters of the intrinsic that does nothing but call it."""

    def body() -> None:
        given: dict[str, Any] = {}
        for p in intrinsic.parameters:
            given[p.name] = (pointer(p.name, p.dtype or void), 0) if p.is_pointer else scalar(p.name)
        emit(intrinsic(**given))

    func = expand_intrinsics(function(intrinsic.name, body))
    return tvm.compile(tvm.IRModule({intrinsic.name: func}), target="llvm")[intrinsic.name]


def call_meaning(intrinsic: Intrinsic, *args: np.ndarray | int | None) -> None:
    """What ``kernel_cases`` does with C; an absent scratch is an array that nobody looks at."""
    given = [np.zeros(1, np.uint8) if argument is None else argument for argument in args]
    flat = [a.reshape(-1) if isinstance(a, np.ndarray) else int(a) for a in given]
    under_llvm(intrinsic)(*flat)


@pytest.mark.parametrize("name", kernel_cases.CHECKS)
def test_meaning_agrees_with_numpy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(kernel_cases, "call", call_meaning)
    library: Any = SimpleNamespace(**INTRINSICS)
    for case, seed in kernel_cases.all_checks():
        if case == name:
            kernel_cases.check(library, name, seed)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_transfers_copy_lines(dtype: str) -> None:
    size = np.dtype(dtype).itemsize
    far, near = np.arange(40, dtype=dtype), np.zeros(14, dtype)
    under_llvm(intrinsics.dma_in, dtype)(0, 0, near, far, 3, 4 * size, 11 * size)
    np.testing.assert_array_equal(near, [*range(4), *range(11, 15), *range(22, 26), 0, 0])
    back = np.full(40, 77, dtype)
    under_llvm(intrinsics.dma_out, dtype)(0, 0, near, back, 3, 4 * size, 13 * size)
    expected = np.full(40, 77, dtype)
    for line in range(3):
        expected[13 * line : 13 * line + 4] = near[4 * line : 4 * line + 4]
    np.testing.assert_array_equal(back, expected)


def test_nothing_is_done_for_a_core_without_work() -> None:
    arrays = [np.ones(8, np.uint8), np.ones(8, np.uint8), np.full(8, 5, np.uint8)]
    for count in (0, -3):
        under_llvm(intrinsics.add)(*arrays[:2], count, 1, 1, 0, 0, arrays[2])
    assert (arrays[2] == 5).all()


def test_expansion_leaves_no_trace_of_the_cluster() -> None:
    def body() -> None:
        x, n, b = pointer("x"), scalar("n"), l1("b", "uint8", 8)
        emit(intrinsics.dma_in(slot=0, kind=0, l1=(b, 0), l2=(x, 0), lines=1, line_bytes=n, l2_stride=0))
        with T.parallel(8) as core:
            emit(intrinsics.dma_out(slot=0, kind=0, l1=(b, core), l2=(x, core + 8), lines=1, line_bytes=1, l2_stride=0))
        emit(intrinsics.dma_wait(slot=0))

    func = expand_intrinsics(function("f", body))
    text = func.script()
    assert not re.search(r"global\.l1|parallel|call_extern|dwfuse", text), text
    x = np.arange(16, dtype=np.uint8)
    tvm.compile(tvm.IRModule({"f": func}), target="llvm")["f"](x, 8)
    np.testing.assert_array_equal(x, [*range(8), *range(8)])


def test_unknown_functions_are_refused() -> None:
    def body() -> None:
        T.evaluate(tirx.call_extern("void", "memcpy", 1))

    with pytest.raises(ValueError, match="memcpy is not among the intrinsics"):
        expand_intrinsics(function("f", body))


def flat_buffer(name: str, dtype: str = "uint8") -> tirx.Buffer:
    return tirx.decl_buffer([tirx.IntImm("int32", 64)], dtype, name, layout=None)


def test_call_has_the_arguments_in_order() -> None:
    x, y, count = flat_buffer("x"), flat_buffer("y"), tirx.Var("count", "int32")
    numbers = {"multiplier_a": 2, "multiplier_b": 3, "offset": -4, "shift": 1}
    call = intrinsics.add(y=(y, count), a=(x, 3), b=(x, 4), count=count, **numbers).value
    assert call.args[0].value == "dwfuse_add"
    assert isinstance(call.args[1].args[0], TensorLoad)
    arguments = intrinsics.add.arguments(call)
    assert isinstance(arguments.a, Pointer)
    assert arguments.a.buffer.same_as(x)
    assert int(arguments.a.offset) == 3
    assert arguments.y.buffer.same_as(y)
    assert arguments.y.offset.same_as(count)
    assert arguments.count.same_as(count)
    assert [int(vars(arguments)[name]) for name in numbers] == [2, 3, -4, 1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"slot": None}, "missing or unknown arguments: slot"),
        ({"slots": 1}, "missing or unknown arguments: slots"),
        ({"slot": 2**31}, "slot must be an int32"),
        ({"slot": True}, "slot must be an int32"),
        ({"slot": 1.0}, "slot must be an int32"),
        ({"slot": tirx.Var("n", "int64")}, "slot must be an int32"),
        ({"slot": flat_buffer("b", "int32")}, "slot must be an int32"),
        ({"l1": flat_buffer("b")}, r"l1 must be \(buffer, offset\)"),
        ({"l1": (flat_buffer("b"), 0.5)}, "l1 must be an int32"),
        ({"l1": (tirx.decl_buffer([4, 4], "uint8", "b", layout=None), 0)}, "b has 2 dimensions"),
    ],
)
def test_wrong_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    given = {"slot": 0, "kind": 0, "l1": (flat_buffer("a"), 0), "l2": (flat_buffer("x"), 0)}
    given |= {"lines": 1, "line_bytes": 4, "l2_stride": 4, **changed}
    with pytest.raises(ValueError, match=message):
        intrinsics.dma_in(**{name: value for name, value in given.items() if value is not None})


def test_pointers_to_other_elements_are_refused() -> None:
    x, w = (flat_buffer("x"), 0), (flat_buffer("w", "int8"), 0)
    numbers = {"x_pixel": 1, "x_channel": 1, "pixels": 1, "channels": 1, "multiplier": 1, "offset": 0, "shift": 0}
    with pytest.raises(ValueError, match="argument x must point to uint8; w holds int8"):
        intrinsics.average_pool(x=w, y=x, **numbers)


def test_transfers_between_different_elements_are_refused() -> None:
    near, far = (flat_buffer("a", "int32"), 0), (flat_buffer("x"), 0)
    call = intrinsics.dma_in(slot=0, kind=0, l1=near, l2=far, lines=1, line_bytes=4, l2_stride=4).value
    with IRBuilder(), pytest.raises(ValueError, match="a of int32 and x of uint8"):
        intrinsics.dma_in.meaning(intrinsics.dma_in.arguments(call))


def test_hand_written_calls_are_checked_too() -> None:
    too_few = tirx.call_extern("void", "dwfuse_dma_wait")
    with pytest.raises(ValueError, match="takes 1 arguments, not 0"):
        intrinsics.dma_wait.arguments(too_few)
    no_address = tirx.call_extern("void", "dwfuse_add", *range(8))
    with pytest.raises(ValueError, match="a must be the address of an element of a flat buffer"):
        intrinsics.add.arguments(no_address)
