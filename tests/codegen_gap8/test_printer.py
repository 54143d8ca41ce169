"""The C printer: golden text, agreement of the C with TensorIR under LLVM, and what it refuses."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tvm import tirx
from tvm.tirx.script.builder import ir as T

from tests.codegen_gap8.small_functions import (
    FUNCTIONS,
    compiled,
    each_core,
    emit,
    fetch,
    function,
    l1,
    let,
    loop,
    output_index,
    pointer,
    scalar,
    wait,
    when,
)
from tests.conftest import GoldenFolder
from tvm_dwfuse.codegen_gap8 import intrinsics, kernels, runtime
from tvm_dwfuse.codegen_gap8.printer import HEADERS, CFunction, print_function
from tvm_dwfuse.runners.layer import LayerCase, run_layers
from tvm_dwfuse.targets.gap8 import GAP8

INCLUDES = "".join(f'#include "{name}"\n' for name in HEADERS)
BARRIER = "dwfuse_barrier();"


def printed(func: tirx.PrimFunc, cores: int = GAP8.cores) -> CFunction:
    return print_function(func, replace(GAP8, cores=cores))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_text_is_the_golden_one(golden: GoldenFolder, name: str) -> None:
    c = printed(FUNCTIONS[name][0](GAP8.cores))
    golden.check(f"{name}.c", f"{INCLUDES}\n{c.define}\n\n{c.text}")


def test_no_golden_file_is_left_behind(golden: GoldenFolder) -> None:
    golden.check_no_orphans(f"{name}.c" for name in FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compilers_have_nothing_to_say(tmp_path: Path, name: str) -> None:
    source = tmp_path / f"{name}.c"
    source.write_text(INCLUDES + printed(FUNCTIONS[name][0](GAP8.cores)).text)
    include = [f"-I{folder}" for folder in (runtime.FOLDER, Path(kernels.__file__).parent)]
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Wpedantic", "-Werror"]
    subprocess.run(["gcc", "-std=c11", "-fsyntax-only", *warnings, *include, source], check=True)


@pytest.mark.parametrize(
    ("cores", "options"),
    [(8, {}), (8, {"dma_late": True}), (1, {}), (8, {"sanitize": "thread"})],
    ids=["8", "8-late", "1", "8-thread-sanitizer"],
)
def test_c_computes_what_llvm_does(cores: int, options: dict) -> None:
    cases, expected = [], []
    for at, (build, draw) in enumerate(FUNCTIONS.values()):
        func = build(cores)
        c, under_llvm = printed(func, cores), compiled(func)
        for seed in range(12 if build.__name__ == "scalars" else 2):
            arguments = draw(np.random.default_rng([seed, at]))
            cases.append(LayerCase(INCLUDES + c.text, c.name, tuple(arguments), output_index(func), c.l1_bytes))
            expected.append(under_llvm(arguments))
    results = run_layers(cases, cores=cores, **options)
    for case, result, values in zip(cases, results, expected, strict=True):
        np.testing.assert_array_equal(result.output, values, err_msg=case.function)
        assert values.any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_core_meets_the_same_barriers(name: str) -> None:
    """No barrier within what depends on ``core``, and none right after another."""
    lines = [line.strip() for line in printed(FUNCTIONS[name][0](GAP8.cores)).text.splitlines()]
    opened: list[str] = []
    for line, following in pairwise(lines):
        if line.startswith("}"):
            opened.pop()
        if line.endswith("{"):
            opened.append(line)
        if line == BARRIER:
            assert following != BARRIER
            assert not [head for head in opened[1:] if re.search(r"\bcore\b", head) or head == "{"]


def test_parameters_and_buffers() -> None:
    c = printed(FUNCTIONS["pointwise_rows"][0](GAP8.cores))
    assert [str(parameter) for parameter in c.parameters] == [
        *("const uint8_t *x", "const int8_t *w0", "const int32_t *q0", "uint8_t *y", "int row_begin", "int row_end"),
    ]
    assert c.prototype.startswith("void pointwise_rows(int core, uint8_t *l1, const uint8_t *x,")
    assert c.l1_bytes == 192 + 120 + 40 + 40 + 4
    assert c.define == f"#define POINTWISE_ROWS_L1_BYTES {c.l1_bytes}"
    assert "(int32_t *)(l1 + 352)" in c.text


def body_of(build: Callable[[], None]) -> list[str]:
    """Lines of the printed body of a function of ``n``, ``x`` and an L1 buffer ``b``."""
    return [line.strip() for line in printed(function("f", build)).text.splitlines()]


def kernel(y: tirx.Buffer, count: object = 1) -> None:
    numbers = {"multiplier_a": 1, "multiplier_b": 1, "offset": 0, "shift": 1}
    emit(intrinsics.add(a=(y, 0), b=(y, 0), count=count, **numbers, y=(y, 4)))


def test_transfers_between_scalars_share_a_section() -> None:
    def body() -> None:
        x, n, b = pointer("x"), scalar("n"), l1("b", "uint8", 8)
        fetch(0, (b, 0), (x, 0), 4)
        twice = let("twice", n * 2)
        with when(n > 2):
            fetch(1, (b, 4), (x, twice), 4)
        wait(0)

    lines = body_of(body)
    assert lines.count("if (core == 0) {") == lines.count(BARRIER) == 1
    assert lines.index("const int twice = n * 2;") < lines.index("if (core == 0) {")


def test_equal_names_do_not_hide_each_other() -> None:
    def body() -> None:
        x, n, b = pointer("x"), scalar("n"), l1("b", "uint8", 64)
        i = let("i", n + 1)
        for _ in range(2):
            with loop("i", 0, 3) as inner:
                fetch(0, (b, inner), (x, i), 1)
        let("unused", n + 2)
        let_c = let("int", n + 3)
        fetch(0, (b, 0), (x, let_c), 1)

    lines = body_of(body)
    assert lines.count("for (int i_1 = 0; i_1 < 3; i_1++) {") == 2
    assert lines.count("dwfuse_dma_in(0, 0, b + i_1, x + i, 1, 1, 0);") == 2
    assert "const int int_1 = n + 3;" in lines
    assert not any("unused" in line for line in lines)


def test_division_is_plain_only_where_nothing_is_negative() -> None:
    def body() -> None:
        x, n, m, b = pointer("x"), scalar("n"), scalar("m"), l1("b", "uint8", 64)
        with loop("i", n, m) as i:
            fetch(i // 2, (b, (i - n) % 3), (x, (n - m) // 2), 1)
        with when(n >= 4):
            fetch((n - 4) // 2, (b, 0), (x, n // (m - 1)), 1)

    lines = body_of(body)
    assert "dwfuse_dma_in(i / 2, 0, b + (i - n) % 3, x + dwfuse_floordiv(n - m, 2), 1, 1, 0);" in lines
    assert "dwfuse_dma_in((n - 4) / 2, 0, b, x + dwfuse_floordiv(n, m - 1), 1, 1, 0);" in lines


def load_in_scalar() -> None:
    b = l1("b", "uint8", 8)
    wait(let("n", b[0].astype("int32")))


def wide_scalar() -> None:
    x, n = pointer("x"), scalar("n")
    with when(n.astype("int64") > 3):
        fetch(0, (l1("b", "uint8", 8), 0), (x, 0), 4)


def unknown_function() -> None:
    T.evaluate(tirx.call_extern("void", "memcpy", 1))


def pure_call() -> None:
    wait(tirx.popcount(scalar("n")))


def store_to_buffer() -> None:
    T.buffer_store(l1("b", "uint8", 8), 1, [0])


def loop_of_another_kind() -> None:
    with T.unroll(4) as i:
        wait(i)


def buffer_elsewhere() -> None:
    T.alloc_buffer((8,), "uint8", scope="global", layout=None)
    wait(0)


def buffer_of_floats() -> None:
    l1("b", "float32", 8)
    wait(0)


def buffer_of_unknown_size() -> None:
    l1("b", "uint8", scalar("n"))
    wait(0)


def float_parameter() -> None:
    T.arg("n", tirx.Var("n", "float32"))
    wait(0)


def kernel_outside() -> None:
    kernel(l1("b", "uint8", 8))


def transfer_inside() -> None:
    with each_core(8) as core:
        wait(core)


def wrong_number_of_cores() -> None:
    b = l1("b", "uint8", 8)
    with each_core(4):
        kernel(b)


def nested_cores() -> None:
    b = l1("b", "uint8", 8)
    with each_core(8), each_core(8):
        kernel(b)


def buffer_inside() -> None:
    with each_core(8):
        kernel(l1("b", "uint8", 8))


def out_of_scope() -> None:
    n = scalar("n")
    with when(n > 1):
        inside = let("inside", n + 1)
        wait(inside)
    wait(inside)


REFUSED = {
    load_in_scalar: "no rule for TensorLoad",
    wide_scalar: "no scalars of type .*int64",
    unknown_function: "memcpy is not among the intrinsics",
    pure_call: "no rule for a call of tirx.popcount",
    store_to_buffer: "no rule for BufferStore",
    loop_of_another_kind: "no rule for loops like that over",
    buffer_elsewhere: "allocated in global, not in global.l1",
    buffer_of_floats: "no buffers of type float32",
    buffer_of_unknown_size: "must be flat and of a constant size",
    float_parameter: "no parameters of type .*float32",
    kernel_outside: "dwfuse_add must be called inside of a parallel loop",
    transfer_inside: "dwfuse_dma_wait must be called outside of a parallel loop",
    wrong_number_of_cores: "must be over the target's 8 cores",
    nested_cores: "is inside of another",
    buffer_inside: "b is allocated inside of a parallel loop",
    out_of_scope: "inside is used where it is not declared",
}


@pytest.mark.parametrize("build", REFUSED, ids=lambda build: build.__name__)
def test_refuses(build: Callable[[], None]) -> None:
    with pytest.raises(ValueError, match=REFUSED[build]):
        printed(function("f", build))
