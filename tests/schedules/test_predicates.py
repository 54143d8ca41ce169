"""Predicates of tails are tested where they first can be, and nowhere further in."""

from __future__ import annotations

import tvm
from tvm.script import tirx as T

from schedules.predicates import drop_unit_loops, hoist_predicates

# fmt: off


def test_a_condition_on_rows_moves_out_of_the_row() -> None:
    @T.prim_func(private=True, s_tir=True)
    def before(a: T.Buffer((10, 4), "float32"), b: T.Buffer((10, 4), "float32")):
        for i_0 in range(3):
            for i_1 in range(4):
                for j in T.vectorized(4):
                    with T.sblock("b"):
                        v_i = T.axis.spatial(10, i_0 * 4 + i_1)
                        v_j = T.axis.spatial(4, j)
                        T.where(i_0 * 4 + i_1 < 10)
                        b[v_i, v_j] = a[v_i, v_j]

    @T.prim_func(private=True, s_tir=True)
    def expected(a: T.Buffer((10, 4), "float32"), b: T.Buffer((10, 4), "float32")):
        for i_0 in range(3):
            for i_1 in range(4):
                if i_0 * 4 + i_1 < 10:
                    for j in T.vectorized(4):
                        with T.sblock("b"):
                            v_i = T.axis.spatial(10, i_0 * 4 + i_1)
                            v_j = T.axis.spatial(4, j)
                            b[v_i, v_j] = a[v_i, v_j]

    tvm.ir.assert_structural_equal(hoist_predicates(before), expected)


def test_of_two_conditions_only_that_on_rows_moves() -> None:
    @T.prim_func(private=True, s_tir=True)
    def before(a: T.Buffer((10, 6), "float32"), b: T.Buffer((10, 6), "float32")):
        for i_0 in range(3):
            for i_1 in range(4):
                for j in T.vectorized(8):
                    with T.sblock("b"):
                        v_i = T.axis.spatial(10, i_0 * 4 + i_1)
                        v_j = T.axis.spatial(6, j)
                        T.where(i_0 * 4 + i_1 < 10 and j < 6)
                        b[v_i, v_j] = a[v_i, v_j]

    @T.prim_func(private=True, s_tir=True)
    def expected(a: T.Buffer((10, 6), "float32"), b: T.Buffer((10, 6), "float32")):
        for i_0 in range(3):
            for i_1 in range(4):
                if i_0 * 4 + i_1 < 10:
                    for j in T.vectorized(8):
                        with T.sblock("b"):
                            v_i = T.axis.spatial(10, i_0 * 4 + i_1)
                            v_j = T.axis.spatial(6, j)
                            T.where(j < 6)
                            b[v_i, v_j] = a[v_i, v_j]

    tvm.ir.assert_structural_equal(hoist_predicates(before), expected)


def test_a_condition_of_one_of_two_blocks_stays_with_it() -> None:
    @T.prim_func(private=True, s_tir=True)
    def before(a: T.Buffer((4,), "float32"), b: T.Buffer((3,), "float32")):
        for i in range(4):
            with T.sblock("a"):
                v_a = T.axis.spatial(4, i)
                a[v_a] = T.float32(0)
            for j in range(4):
                with T.sblock("b"):
                    v_b = T.axis.spatial(3, i)
                    v_j = T.axis.reduce(4, j)
                    T.where(i < 3)
                    b[v_b] = a[v_j]

    @T.prim_func(private=True, s_tir=True)
    def expected(a: T.Buffer((4,), "float32"), b: T.Buffer((3,), "float32")):
        for i in range(4):
            with T.sblock("a"):
                v_a = T.axis.spatial(4, i)
                a[v_a] = T.float32(0)
            for j in range(4):
                if i < 3:
                    with T.sblock("b"):
                        v_b = T.axis.spatial(3, i)
                        v_j = T.axis.reduce(4, j)
                        b[v_b] = a[v_j]

    tvm.ir.assert_structural_equal(hoist_predicates(before), expected)


def test_loops_of_one_iteration_go_unless_parallel() -> None:
    @T.prim_func(private=True, s_tir=True)
    def before(a: T.Buffer((4,), "float32")):
        for p in T.parallel(1):
            for i in range(1):
                for j in T.unroll(4):
                    with T.sblock("a"):
                        v_a = T.axis.spatial(4, p + i + j)
                        a[v_a] = T.float32(0)

    @T.prim_func(private=True, s_tir=True)
    def expected(a: T.Buffer((4,), "float32")):
        for p in T.parallel(1):
            for j in T.unroll(4):
                with T.sblock("a"):
                    v_a = T.axis.spatial(4, p + 0 + j)
                    a[v_a] = T.float32(0)

    after = drop_unit_loops(before)
    tvm.ir.assert_structural_equal(simplified(after), simplified(expected))
    assert "range(1)" in before.script()
    assert "range(1)" not in after.script()


def simplified(func: tvm.tirx.PrimFunc) -> tvm.IRModule:
    return tvm.tirx.transform.StmtSimplify()(tvm.IRModule({"main": func}))
