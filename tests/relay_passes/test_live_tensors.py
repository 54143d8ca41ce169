from __future__ import annotations

from tvm import relax

from relay_passes.dataflow import Dataflow
from relay_passes.live_tensors import LiveTensors
from tests.relay_passes.networks import Net

#: Bytes of an activation of 4 channels in the networks below.
ONE = 4 * 4 * 8 * 8


def flow_of(body) -> tuple[Dataflow, LiveTensors]:
    func = Net().build((1, 4, 8, 8), body)["main"]
    flow = Dataflow(func)
    return flow, LiveTensors(flow, func.params)


def test_a_chain_keeps_the_input_and_output_of_each_operator() -> None:
    _flow, live = flow_of(lambda net, x: net.relu(net.relu(net.relu(x))))
    assert [live.during(at, ()) for at in range(3)] == [2 * ONE] * 3
    assert live.peak() == 2 * ONE


def test_a_tensor_that_is_read_later_stays_alive() -> None:
    _flow, live = flow_of(lambda net, x: net.add(x, net.relu(net.silu(x))))
    assert [live.during(at, ()) for at in range(3)] == [2 * ONE, 3 * ONE, 3 * ONE]


def test_what_a_kernel_keeps_inside_is_no_tensor() -> None:
    flow, live = flow_of(lambda net, x: net.add(x, net.relu(net.silu(x))))
    assert live.during(2, [flow.call(0).args[0]], inside=frozenset({0, 1, 2})) == 2 * ONE


def test_another_name_is_no_other_tensor() -> None:
    _flow, live = flow_of(lambda net, x: net.relu(net.emit(relax.op.reshape(net.silu(x), (1, 8, 4, 8)))))
    assert live.peak() == 2 * ONE
    assert live.during(2, ()) == 2 * ONE


def test_parts_of_a_tuple_keep_all_of_it() -> None:
    def body(net, x):
        parts = net.emit(relax.op.split(x, 2, axis=1))
        first, second = (net.emit(relax.TupleGetItem(parts, i)) for i in range(2))
        return net.add(net.relu(first), second)

    flow, live = flow_of(body)
    split, *_, last = range(len(flow.bindings))
    assert live.during(split, ()) == 2 * ONE
    assert live.during(last - 1, ()) >= ONE + ONE // 2


def test_outputs_live_to_the_end() -> None:
    def body(net, x):
        first = net.relu(x)
        return [first, net.relu(net.silu(net.silu(x)))]

    _flow, live = flow_of(body)
    assert live.during(3, ()) == 3 * ONE
