from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from relay_passes import SimplifyInference, ToChannelsLast
from tests.relay_passes.modules import array, assert_left_alone, assert_rewritten, build, const

op = relax.op
NHWC = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
SHAPE = (2, 4, 5, 3)
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def weights(*shape: int, seed: int = 0) -> tuple[relax.Expr, relax.Expr]:
    """A weight as OIHW and as OHWI."""
    values = array(*shape, seed=seed)
    return relax.const(values), relax.const(values.transpose(TO_LAST).copy())


OIHW, OHWI = weights(6, 4, 1, 1)


def first(emit, x):
    """A convolution in NCHW."""
    return emit(op.nn.conv2d(x, OIHW))


def last(emit, x):
    """The same in NHWC, of an input in NCHW."""
    return emit(op.nn.conv2d(emit(op.permute_dims(x, TO_LAST)), OHWI, **NHWC))


def assert_moved(before, expected, **shapes: tuple[int, ...]) -> None:
    assert_rewritten(ToChannelsLast(), build(before, **shapes), build(expected, **shapes))


def test_convolution_keeps_its_attributes_and_the_output_its_order() -> None:
    oihw, ohwi = weights(8, 1, 3, 3)
    attributes = {"strides": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 2), "groups": 4}

    def before(emit, x):
        return emit(op.nn.conv2d(x, oihw, **attributes))

    def expected(emit, x):
        y = emit(op.nn.conv2d(emit(op.permute_dims(x, TO_LAST)), ohwi, **attributes, **NHWC))
        return emit(op.permute_dims(y, TO_FIRST))

    assert_moved(before, expected, x=(1, 4, 9, 7))


def test_chain_with_bias_activation_pool_and_residual() -> None:
    square, square_last = weights(6, 6, 1, 1, seed=1)
    bias = array(1, 6, 1, 1)

    def before(emit, x):
        y = emit(op.clip(emit(op.add(first(emit, x), relax.const(bias))), 0, 6))
        z = emit(op.add(emit(op.nn.conv2d(y, square)), y))
        z = emit(op.nn.max_pool2d(z, (3, 3), strides=2, padding=1))
        return op.mean(z, [2, 3], keepdims=True)

    def expected(emit, x):
        y = emit(op.add(last(emit, x), relax.const(bias.reshape(1, 1, 1, 6))))
        y = emit(op.clip(y, 0, 6))
        z = emit(op.add(emit(op.nn.conv2d(y, square_last, **NHWC)), y))
        z = emit(op.nn.max_pool2d(z, (3, 3), strides=2, padding=1, layout="NHWC"))
        return emit(op.reshape(emit(op.mean(z, [1, 2], keepdims=True)), (2, 6, 1, 1)))

    assert_moved(before, expected, x=SHAPE)


def test_input_of_one_channel_is_reshaped() -> None:
    oihw, ohwi = weights(6, 1, 3, 3)

    def before(emit, x):
        return emit(op.mean(emit(op.nn.conv2d(x, oihw)), [2, 3]))

    def expected(emit, x):
        y = emit(op.nn.conv2d(emit(op.reshape(x, (2, 8, 7, 1))), ohwi, **NHWC))
        return emit(op.mean(y, [1, 2]))

    assert_moved(before, expected, x=(2, 1, 8, 7))


def test_channel_shuffle() -> None:
    def before(emit, x):
        y = emit(op.reshape(first(emit, x), (2, 3, 2, 5, 3)))
        y = emit(op.reshape(emit(op.permute_dims(y, [0, 2, 1, 3, 4])), (2, 6, 5, 3)))
        return emit(op.mean(emit(op.nn.relu(y)), [2, 3]))

    def expected(emit, x):
        y = emit(op.reshape(last(emit, x), (2, 5, 3, 3, 2)))
        y = emit(op.reshape(emit(op.permute_dims(y, [0, 1, 2, 4, 3])), (2, 5, 3, 6)))
        return emit(op.mean(emit(op.nn.relu(y)), [1, 2]))

    assert_moved(before, expected, x=SHAPE)


def test_squeeze_and_excite_by_convolutions() -> None:
    gate, gate_last = weights(6, 6, 1, 1, seed=1)

    def branch(emit, y, axes, weight, layout):
        s = emit(op.sigmoid(emit(op.nn.conv2d(emit(op.mean(y, axes, keepdims=True)), weight, **layout))))
        return emit(op.multiply(y, s))

    def before(emit, x):
        return emit(op.mean(branch(emit, first(emit, x), [2, 3], gate, {}), [2, 3]))

    def expected(emit, x):
        return emit(op.mean(branch(emit, last(emit, x), [1, 2], gate_last, NHWC), [1, 2]))

    assert_moved(before, expected, x=SHAPE)


def test_squeeze_and_excite_by_dense_layers() -> None:
    def before(emit, x):
        y = first(emit, x)
        s = emit(op.reshape(emit(op.mean(y, [2, 3], keepdims=True)), (2, 6)))
        s = emit(op.reshape(emit(op.sigmoid(emit(op.matmul(s, const(6, 6))))), (2, 6, 1, 1)))
        return emit(op.mean(emit(op.multiply(s, y)), [2, 3]))

    def expected(emit, x):
        y = last(emit, x)
        s = emit(op.reshape(emit(op.mean(y, [1, 2], keepdims=True)), (2, 6)))
        s = emit(op.reshape(emit(op.sigmoid(emit(op.matmul(s, const(6, 6))))), (2, 1, 1, 6)))
        return emit(op.mean(emit(op.multiply(s, y)), [1, 2]))

    passes = tvm.transform.Sequential([ToChannelsLast(), SimplifyInference()])
    assert_rewritten(passes, build(before, x=SHAPE), build(expected, x=SHAPE))


def test_concat_split_slice_and_take_along_channels() -> None:
    def network(emit, y, axis):
        parts = emit(op.split(y, [2, 3], axis))
        parts = [emit(relax.TupleGetItem(parts, i)) for i in range(3)]
        y = emit(op.concat([parts[2], parts[0], parts[1]], axis))
        y = emit(op.strided_slice(y, [axis], [1], [6], [2]))
        return emit(op.take(y, relax.const(np.array([2, 0])), axis))

    def before(emit, x):
        return emit(op.mean(network(emit, first(emit, x), 1), [2, 3]))

    def expected(emit, x):
        return emit(op.mean(network(emit, last(emit, x), 3), [1, 2]))

    assert_moved(before, expected, x=SHAPE)


def test_flatten_moves_the_rows_of_the_dense_weight() -> None:
    rows = array(90, 7)

    def before(emit, x):
        y = emit(op.nn.relu(emit(op.reshape(first(emit, x), (2, 90)))))
        return emit(op.matmul(y, relax.const(rows)))

    def expected(emit, x):
        y = emit(op.nn.relu(emit(op.reshape(last(emit, x), (2, 90)))))
        moved = rows.reshape(6, 5, 3, 7).transpose(1, 2, 0, 3).reshape(90, 7)
        return emit(op.matmul(y, relax.const(moved.copy())))

    assert_moved(before, expected, x=SHAPE)


def test_flatten_for_another_reader_is_in_the_order_it_had() -> None:
    def before(emit, x):
        return emit(op.reshape(first(emit, x), (2, 90)))

    def expected(emit, x):
        flat = emit(op.reshape(last(emit, x), (2, 90)))
        image = emit(op.permute_dims(emit(op.reshape(flat, (2, 5, 3, 6))), TO_FIRST))
        return emit(op.reshape(image, (2, 90)))

    assert_moved(before, expected, x=SHAPE)


def test_flatten_of_one_pixel_is_a_reshape() -> None:
    def before(emit, x):
        return emit(op.reshape(emit(op.mean(first(emit, x), [2, 3], keepdims=True)), (2, 6)))

    def expected(emit, x):
        return emit(op.reshape(emit(op.mean(last(emit, x), [1, 2], keepdims=True)), (2, 6)))

    assert_moved(before, expected, x=SHAPE)


def test_transposes_of_a_network_that_came_from_nhwc_vanish() -> None:
    def before(emit, x):
        y = first(emit, emit(op.permute_dims(x, TO_FIRST)))
        return emit(op.nn.relu(emit(op.permute_dims(y, TO_LAST))))

    def expected(emit, x):
        return emit(op.nn.relu(emit(op.nn.conv2d(x, OHWI, **NHWC))))

    assert_moved(before, expected, x=(2, 5, 3, 4))


def test_operands_of_lower_rank_broadcast_as_before() -> None:
    channels, columns = array(6, 1, 1), array(3)

    def before(emit, x, c):
        y = emit(op.add(first(emit, x), relax.const(channels)))
        y = emit(op.multiply(relax.const(columns), y))
        y = emit(op.add(y, relax.const(2.0, "float32")))
        return emit(op.mean(emit(op.add(y, c)), [2, 3]))

    def expected(emit, x, c):
        y = emit(op.add(last(emit, x), relax.const(channels.reshape(1, 1, 1, 6))))
        y = emit(op.multiply(relax.const(columns.reshape(1, 1, 3, 1)), y))
        y = emit(op.add(y, relax.const(2.0, "float32")))
        moved = emit(op.reshape(emit(op.reshape(c, (1, 6, 1, 1))), (1, 1, 1, 6)))
        return emit(op.mean(emit(op.add(y, moved)), [1, 2]))

    assert_moved(before, expected, x=SHAPE, c=(6, 1, 1))


def test_axis_of_softmax_and_prelu_and_widths_of_a_pad_move() -> None:
    slope = const(6)

    def before(emit, x):
        y = emit(op.nn.pad(emit(op.nn.prelu(first(emit, x), slope, axis=1)), [0, 0, 1, 2, 3, 0, 0, 0]))
        return emit(op.mean(emit(op.nn.softmax(y, 1)), [2, 3]))

    def expected(emit, x):
        y = emit(op.nn.pad(emit(op.nn.prelu(last(emit, x), slope, axis=3)), [0, 0, 3, 0, 0, 0, 1, 2]))
        return emit(op.mean(emit(op.nn.softmax(y, 3)), [1, 2]))

    assert_moved(before, expected, x=SHAPE)


def test_unknown_operator_gets_the_order_it_knows() -> None:
    def before(emit, x):
        y = emit(op.image.resize2d(first(emit, x), (10, 6), layout="NCHW"))
        return emit(op.mean(emit(op.nn.conv2d(y, const(2, 6, 1, 1))), [2, 3]))

    def expected(emit, x):
        y = emit(op.permute_dims(last(emit, x), TO_FIRST))
        y = emit(op.permute_dims(emit(op.image.resize2d(y, (10, 6), layout="NCHW")), TO_LAST))
        weight = relax.const(array(2, 6, 1, 1).transpose(TO_LAST).copy())
        return emit(op.mean(emit(op.nn.conv2d(y, weight, **NHWC)), [1, 2]))

    assert_moved(before, expected, x=SHAPE)


def test_outputs_in_the_middle_keep_their_order() -> None:
    def before(emit, x):
        y = first(emit, x)
        return [y, emit(op.mean(emit(op.nn.relu(y)), [2, 3]))]

    def expected(emit, x):
        y = last(emit, x)
        mean = emit(op.mean(emit(op.nn.relu(y)), [1, 2]))
        return [emit(op.permute_dims(y, TO_FIRST)), mean]

    assert_moved(before, expected, x=SHAPE)


@pytest.mark.parametrize("kernel_layout", ["HWIO", "OIHW"])
def test_weight_of_an_nhwc_convolution_becomes_ohwi(kernel_layout: str) -> None:
    weight = const(3, 3, 4, 6) if kernel_layout == "HWIO" else const(6, 4, 3, 3)
    axes = [3, 0, 1, 2] if kernel_layout == "HWIO" else TO_LAST

    def before(emit, x):
        return emit(op.nn.conv2d(x, weight, data_layout="NHWC", kernel_layout=kernel_layout))

    def expected(emit, x):
        return emit(op.nn.conv2d(x, relax.const(weight.value.numpy().transpose(axes).copy()), **NHWC))

    assert_moved(before, expected, x=(2, 5, 3, 4))


def test_network_without_images_is_left_alone() -> None:
    def body(emit, x):
        return op.nn.softmax(emit(op.permute_dims(emit(op.matmul(x, const(3, 6))), [0, 2, 1])), 1)

    assert_left_alone(ToChannelsLast(), build(body, x=(2, 5, 3)))
