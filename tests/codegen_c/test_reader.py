"""Reading a lowered module: what is a call, what is the same memory, what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm import te, topi
from tvm.script import ir as I
from tvm.script import relax as R

from tests.codegen_c.libraries import Network, Ports, kernel_module, zoo_network
from tvm_dwfuse.codegen_c.library import write_parts
from tvm_dwfuse.codegen_c.reader import Tensor, read_calls
from tvm_dwfuse.errors import DwfuseError


def test_outputs_of_every_kind() -> None:
    calls = read_calls(Network("ports", Ports).lowered)
    total, flat, negative, upper, x, one = calls.outputs
    assert total.kind == negative.kind == upper.kind == "activation"
    assert x == Tensor("input", 0)
    assert one.kind == "constant"
    assert calls.constants[one.index].tolist() == [0, 1, 2, 3, 4]
    assert len({total, negative, upper}) == 3
    assert flat == total or any(call.inputs == (total,) and call.outputs == (flat,) for call in calls.calls)


def test_calls_come_in_order_and_read_what_is_there() -> None:
    calls = read_calls(zoo_network("ds_cnn_s").lowered)
    written: set[Tensor] = set()
    for call in calls.calls:
        assert all(tensor in written for tensor in call.inputs if tensor.kind == "activation")
        written |= set(call.outputs)
    assert calls.outputs[0] in written
    assert len(written) == len(calls.activations)


def test_equal_constants_are_one() -> None:
    value = np.arange(6, dtype="float32").reshape(2, 3)

    @I.ir_module
    class Twice:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            with R.dataflow():
                a = R.add(x, R.const(value))
                b = R.exp(a)
                c = R.subtract(b, R.const(value.copy()))
                R.output(c)
            return c

    calls = read_calls(Network("twice", Twice).lowered)
    assert [array.tolist() for array in calls.constants] == [value.tolist()]


def test_operators_of_the_runtime_are_refused() -> None:
    @I.ir_module
    class Foreign:
        @R.function
        def main(x: R.Tensor((4,), "float32")):
            with R.dataflow():
                y = R.call_dps_packed("somebody.function", (x,), out_ty=R.Tensor((4,), "float32"))
                R.output(y)
            return y

    refusal = r"^operator relax\.call_dps_packed in the network: has no plain C form, .*; compile with --no-c-library$"
    with pytest.raises(DwfuseError, match=refusal):
        read_calls(Network("foreign", Foreign).lowered)


def test_kernels_that_call_the_runtime_are_refused(tmp_path: Path) -> None:
    x = te.placeholder((4,), name="x")
    network = Network("places", kernel_module(te.create_prim_func([x, topi.argsort(x)])))
    with pytest.raises(
        DwfuseError, match=r"^kernel, which calls .*tvm\.contrib\.sort\.argsort.*: has no plain C form, "
    ):
        write_parts(network.lowered, network.manifest, network.machine, tmp_path)
