"""Quantization of float networks: what comes out agrees with ONNX Runtime, and bad input is told in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.tvm_dwfuse.conftest import INPUT_SHAPE, separable_model
from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet
from tests.tvm_dwfuse.frontend.quantized_net import assert_layers_agree, saturates, stored_by_onnxruntime
from tvm_dwfuse import zoo
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.exact_scales import ExactScales
from tvm_dwfuse.frontend import read_quantized
from tvm_dwfuse.quantization import run_network
from tvm_dwfuse.quantize import quantize

judged = pytest.mark.skipif(saturates(), reason="ONNX Runtime's int8 products saturate on this CPU")


def noise(count: int, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A float network, calibration data for it, and a place for the result."""
    onnx.save(separable_model(), tmp_path / "float.onnx")
    np.savez(tmp_path / "data.npz", x=noise(8, INPUT_SHAPE[1:]))
    return tmp_path / "float.onnx", tmp_path / "data.npz", tmp_path / "quantized.onnx"


def real_outputs(model: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@judged
@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128", "ds_cnn_s"])
def test_zoo_network_is_identical_to_onnxruntime(name: str, tmp_path: Path) -> None:
    """Bit for bit, in every layer and end to end."""
    onnx.save(zoo.build(name, batch=None), tmp_path / "float.onnx")
    shape = zoo.describe(name).input_shape
    np.savez(tmp_path / "data.npz", input=noise(8, shape))
    exact = quantize(tmp_path / "float.onnx", tmp_path / "data.npz", tmp_path / "quantized.onnx")
    assert exact.exact == exact.layers > 9
    model = onnx.load(tmp_path / "quantized.onnx")
    network = read_quantized(model)
    winners = set()
    for x in noise(12, shape, seed=2):
        stored = stored_by_onnxruntime(model, network, {"input": x[None]})
        actual = run_network(network, {network.inputs[0]: stored[network.inputs[0]]})
        for layer in network.layers:
            np.testing.assert_array_equal(actual[layer.output], stored[layer.output], err_msg=layer.name)
        winners.add(int(actual[network.outputs[0]].argmax()))
    assert len(winners) > 1, "outputs that are all alike would prove nothing"


@judged
@pytest.mark.parametrize("per_channel", [True, False])
def test_layers_agree_with_onnxruntime(files: tuple[Path, Path, Path], per_channel: bool) -> None:
    model, data, output = files
    assert quantize(model, data, output, per_channel) == ExactScales(3, 3)
    quantized = onnx.load(output)
    assert_layers_agree(quantized, read_quantized(quantized), {"x": noise(1, INPUT_SHAPE[1:], seed=3)}, most=0)


@judged
def test_quantized_network_is_close_to_the_float_one(files: tuple[Path, Path, Path]) -> None:
    model, data, output = files
    quantize(model, data, output)
    x = noise(1, INPUT_SHAPE[1:])
    expected, actual = real_outputs(model, x), real_outputs(output, x)
    assert np.abs(actual - expected).max() < 0.05 * np.ptp(expected)


def test_exact_scales_cost_little_resolution(files: tuple[Path, Path, Path]) -> None:
    model, data, output = files
    quantize(model, data, output)
    scales = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(output).graph.initializer}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(model).graph.initializer}
    for name in ("w0", "w1", "w2"):
        finest = np.abs(weights[name]).max(axis=(1, 2, 3)) / 127
        assert np.allclose(scales[f"{name}_scale"], finest, rtol=0.02)
        assert (scales[f"{name}_scale"] >= finest * 0.999).all()
        assert np.abs(scales[f"{name}_quantized"]).max() >= 124


def test_npy_serves_a_single_input_and_progress_is_told(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, _, output = files
    np.save(tmp_path / "data.npy", noise(3, INPUT_SHAPE[1:]).astype("float64"))
    told: list[tuple[str, int, int]] = []
    quantize(model, tmp_path / "data.npy", output, on_progress=lambda *step: told.append(step))
    assert [step for step in told if step[0] == "calibrating"] == [("calibrating", i, 3) for i in range(3)]
    assert [text for text, _, _ in told if text != "calibrating"] == ["reading", "simplifying", "choosing scales"]


def test_old_opset_is_converted(tmp_path: Path) -> None:
    net = OnnxNet(11)
    model = net.model(net.node("Relu", net.conv(net.input(1, 3, 6, 6), (4, 3, 3, 3))))
    onnx.save(model, tmp_path / "float.onnx")
    np.save(tmp_path / "data.npy", noise(2, (3, 6, 6)))
    quantize(tmp_path / "float.onnx", tmp_path / "data.npy", tmp_path / "quantized.onnx")
    assert len(read_quantized(tmp_path / "quantized.onnx").layers) == 1


def error_of(model: Path, data: Path, output: Path) -> str:
    with pytest.raises(DwfuseError) as caught:
        quantize(model, data, output)
    assert not output.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": noise(2, INPUT_SHAPE[1:])}, "no array for input 'x' of"),
        (
            {"x": noise(2, (8, 12, 9))},
            "input 'x' needs numbers of shape (examples, 8, 12, 10); got float32 of (2, 8, 12, 9)",
        ),
        ({"x": noise(1, INPUT_SHAPE[1:])[0]}, "got float32 of (8, 12, 10)"),
        ({"x": np.full((2, *INPUT_SHAPE[1:]), "a")}, "input 'x' needs numbers"),
        ({"x": np.full((2, *INPUT_SHAPE[1:]), np.nan)}, "input 'x' holds NaN or infinity"),
        ({"x": noise(0, INPUT_SHAPE[1:])}, "holds no examples"),
    ],
)
def test_calibration_data_that_do_not_fit(
    files: tuple[Path, Path, Path], arrays: dict[str, np.ndarray], words: str
) -> None:
    model, data, output = files
    np.savez(data, **arrays)
    message = error_of(model, data, output)
    assert message.startswith(f"{data}: ")
    assert words in message


@pytest.mark.parametrize("content", [None, b"", b"no numbers\n" * 9, b"PK\x03\x04 truncated"])
def test_calibration_file_that_cannot_be_read(files: tuple[Path, Path, Path], content: bytes | None) -> None:
    model, data, output = files
    data.unlink() if content is None else data.write_bytes(content)
    words = "calibration data cannot be read (No such file" if content is None else "not a .npz or .npy file of numbers"
    assert error_of(model, data, output).startswith(f"{data}: {words}")


def test_several_inputs_need_npz_with_as_many_examples(tmp_path: Path) -> None:
    net = OnnxNet(17)
    onnx.save(net.model(net.node("Add", net.input(1, 4), net.input(1, 4))), tmp_path / "float.onnx")
    paths = tmp_path / "float.onnx", tmp_path / "data.npy", tmp_path / "quantized.onnx"
    np.save(paths[1], noise(2, (4,)))
    assert "one array for 2 inputs; give a .npz with input.1, input.2" in error_of(*paths)
    with paths[1].open("wb") as file:
        np.savez(file, **{"input.1": noise(2, (4,)), "input.2": noise(3, (4,))})
    assert "arrays of different numbers of examples (input.1: 2, input.2: 3)" in error_of(*paths)


def test_quantized_network_is_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, output = files
    quantize(model, data, output)
    message = error_of(output, data, tmp_path / "again.onnx")
    assert message == f"{output}: is quantized already (it has a DequantizeLinear); give the float network"


def test_model_and_output_are_checked(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, data, output = files
    assert "cannot read the model: No such file" in error_of(tmp_path / "none.onnx", data, output)
    assert "cannot be written" in error_of(model, data, tmp_path / "none" / "quantized.onnx")
    model.write_bytes(b"\x08\x07")
    assert "not an ONNX model, or a truncated one" in error_of(model, data, output)


def test_model_that_onnxruntime_refuses(files: tuple[Path, Path, Path]) -> None:
    path, data, output = files
    model = separable_model()
    model.graph.node[0].op_type = "Convolution"
    onnx.save(model, path)
    assert "ONNX Runtime cannot quantize it: " in error_of(path, data, output)


def test_missing_onnxruntime_names_the_extra(files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    assert error_of(*files) == "quantizing needs onnxruntime: pip install 'tvm-dwfuse[quantize]'"
