"""ScheduleRemaining on whole modules: what it changes, what it leaves, and that results stay."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.ir import assert_structural_equal
from tvm.relax import op
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from relay_passes.schedule_remaining import RULES, ScheduleRemaining
from tests.schedules.legalized import TARGETS, fused, network, values

TARGET = TARGETS[0]


@I.ir_module
class Before:
    @T.prim_func(private=True, s_tir=True)
    def relu(
        x: T.Buffer((T.int64(2), T.int64(20)), "float32"),
        y: T.Buffer((T.int64(2), T.int64(20)), "float32"),
    ):
        for i, j in T.grid(T.int64(2), T.int64(20)):
            with T.sblock("compute"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = T.max(x[vi, vj], T.float32(0.0))

    @R.function
    def main(x: R.Tensor((2, 20), "float32")) -> R.Tensor((2, 20), "float32"):
        cls = Before
        with R.dataflow():
            y = R.call_tir(cls.relu, (x,), out_ty=R.Tensor((2, 20), "float32"))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @T.prim_func(private=True, s_tir=True)
    def relu(
        x: T.Buffer((T.int64(2), T.int64(20)), "float32"),
        y: T.Buffer((T.int64(2), T.int64(20)), "float32"),
    ):
        T.func_attr({"tirx.is_scheduled": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            x_flat = T.decl_buffer((T.int64(40),), data=x.data)
            y_flat = T.decl_buffer((T.int64(40),), data=y.data)
            for v in range(T.int64(2)):
                for lane in T.vectorized(T.int64(16)):
                    y_flat[v * T.int64(16) + lane] = T.max(x_flat[v * T.int64(16) + lane], T.float32(0.0))
            for lane in T.vectorized(T.int64(8)):
                y_flat[T.int64(32) + lane] = T.max(x_flat[T.int64(32) + lane], T.float32(0.0))

    @R.function
    def main(x: R.Tensor((2, 20), "float32")) -> R.Tensor((2, 20), "float32"):
        cls = Expected
        with R.dataflow():
            y = R.call_tir(cls.relu, (x,), out_ty=R.Tensor((2, 20), "float32"))
            R.output(y)
        return y


def test_one_axis_whole_vectors_and_a_shorter_one():
    assert_structural_equal(ScheduleRemaining(TARGET)(Before), Expected)


def squeeze_excite_and_shuffle(a, b):
    """What stands between the convolutions of a network: most kinds of function that the rules know."""
    scale = op.sigmoid(op.mean(a, axis=[1, 2], keepdims=True))
    wide = op.concat([op.multiply(a, scale), op.nn.silu(b)], axis=-1)
    n, h, w, c = 1, 9, 9, 40
    shuffled = op.permute_dims(op.reshape(wide, (n, h, w, 2, c // 2)), [0, 1, 2, 4, 3])
    pooled = op.nn.max_pool2d(op.reshape(shuffled, (n, h, w, c)), [3, 3], [2, 2], [1, 1, 1, 1], layout="NHWC")
    return op.nn.softmax(op.reshape(op.mean(pooled, axis=[1, 2]), (1, c)))


def functions(module: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    return {name.name_hint: func for name, func in module.functions.items() if isinstance(func, tirx.PrimFunc)}


def compute(module: tvm.IRModule, *inputs: np.ndarray) -> np.ndarray:
    executable = tvm.compile(module, TARGET.tvm_target())
    vm = relax.VirtualMachine(executable, tvm.cpu())
    return vm["main"](*map(tvm.runtime.tensor, inputs)).numpy()


@pytest.mark.parametrize("threads", [1, 2])
def test_results_stay(threads):
    module = fused(network(squeeze_excite_and_shuffle, (1, 9, 9, 20), (1, 9, 9, 20)))
    a, b = values(1, 9, 9, 20, seed=0), values(1, 9, 9, 20, seed=1)
    scheduled = ScheduleRemaining(TARGET, threads)(module)
    assert all(func.attrs.get("tirx.is_scheduled") for func in functions(scheduled).values())
    np.testing.assert_allclose(compute(scheduled, a, b), compute(module, a, b), rtol=1e-5)


def test_input_module_stays():
    module = fused(network(op.nn.relu, (4, 33)))
    before = tvm.IRModule(dict(module.functions))
    ScheduleRemaining(TARGET)(module)
    assert_structural_equal(module, before)


def test_scheduled_functions_are_left_alone():
    module = fused(network(op.nn.relu, (4, 33)))
    once = ScheduleRemaining(TARGET)(module)
    assert not tvm_ffi.structural_equal(once, module)
    assert_structural_equal(ScheduleRemaining(TARGETS[2])(once), once)


def test_reshape_inside_a_network_becomes_a_view():
    module = fused(
        network(lambda x: op.nn.softmax(op.reshape(op.mean(x, axis=[1, 2], keepdims=True), (1, 8))), (1, 5, 5, 8))
    )
    assert "reshape" in functions(module)
    scheduled = ScheduleRemaining(TARGET)(module)
    assert "reshape" not in functions(scheduled)
    assert "R.reshape" in scheduled.script()


def test_reshape_as_output_is_a_scheduled_copy():
    scheduled = ScheduleRemaining(TARGET)(fused(network(lambda x: op.reshape(x, (20, 33)), (4, 5, 33))))
    assert functions(scheduled)["reshape"].attrs["tirx.is_scheduled"]
    x = values(4, 5, 33)
    np.testing.assert_array_equal(compute(scheduled, x), x.reshape(20, 33))


def test_what_no_rule_knows_still_compiles():
    module = fused(network(lambda x: op.argmax(x, axis=1), (4, 33)))
    (func,) = functions(module).values()
    assert [rule(func, TARGET, 1) for rule in RULES] == [None] * len(RULES)
    x = values(4, 33)
    np.testing.assert_array_equal(compute(ScheduleRemaining(TARGET)(module), x), x.argmax(axis=1))
