"""Arrays as a model takes and gives them, and the uint8 HWC that a network on a cluster stores."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_dwfuse.artifact import TensorInfo
from tvm_dwfuse.cluster_artifact import Port
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.integer_network import Activation

IMAGE = Activation("x", 2, 3, 4, 0.5, 10)
CLASSES = Activation("y", 1, 1, 4, 0.25, 128)


def port(dtype: str, shape: tuple[int, ...] = (1, 4, 2, 3), activation: Activation = IMAGE) -> Port:
    return Port(TensorInfo("x", shape, dtype), activation)


def test_real_values_are_rounded_to_even_and_clipped() -> None:
    real = np.zeros((1, 4, 2, 3), np.float32)
    real[0, :, 0, 0] = [0.25, 0.75, -100, 1000]
    stored = port("float32").to_stored(real)
    assert (stored.dtype, stored.shape) == (np.uint8, (2, 3, 4))
    assert stored[0, 0].tolist() == [10, 12, 0, 255]
    assert (stored[1:] == 10).all()
    assert stored.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 4, 2, 3), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_stored_values_pass_in_either_layout(shape: tuple[int, ...], dtype: str) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(shape)
    expected = values[0].transpose(1, 2, 0) if shape[1] == 4 else values.reshape(2, 3, 4)
    np.testing.assert_array_equal(port(dtype).to_stored(values), expected)


def test_int8_is_uint8_less_128() -> None:
    values = np.arange(-12, 12, dtype=np.int8).reshape(1, 4, 2, 3)
    stored = port("int8").to_stored(values)
    assert stored.min() == 116
    np.testing.assert_array_equal(port("int8").from_stored(stored.tobytes()), values)


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1), (4,)])
def test_outputs_have_the_shape_and_dtype_of_the_model(shape: tuple[int, ...]) -> None:
    data = bytes([0, 128, 129, 255])
    real = port("float32", shape, CLASSES).from_stored(data)
    assert (real.dtype, real.shape) == (np.float32, shape)
    assert real.reshape(-1).tolist() == [-32, 0, 0.25, 31.75]
    assert port("float32", shape, CLASSES).from_stored(data, dequantize=False).dtype == np.uint8
    assert port("uint8", shape, CLASSES).from_stored(data).reshape(-1).tolist() == list(data)


def test_an_image_comes_back_channels_first() -> None:
    stored = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(port("uint8").from_stored(stored.tobytes())[0], stored.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("dtype", "array", "words"),
    [
        ("float32", np.zeros((1, 4, 3, 2), np.float32), r"shape \[1, 4, 3, 2\] given, \[1, 4, 2, 3\] expected"),
        ("float32", np.zeros((1, 4, 2, 3)), "dtype float64 given, float32, or uint8 as the network stores it expected"),
        ("float32", np.zeros((1, 4, 2, 3), np.int8), "dtype int8 given"),
        ("uint8", np.zeros((1, 4, 2, 3), np.float32), "dtype float32 given, uint8 expected"),
        ("int8", np.zeros((1, 4, 2, 3), np.uint8), "dtype uint8 given, int8 expected"),
        ("float32", np.full((1, 4, 2, 3), np.inf, np.float32), "not finite"),
    ],
)
def test_arrays_that_do_not_fit(dtype: str, array: np.ndarray, words: str) -> None:
    with pytest.raises(DwfuseError, match=words):
        port(dtype).to_stored(array)
