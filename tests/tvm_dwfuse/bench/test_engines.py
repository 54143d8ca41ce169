"""Each engine computes what ONNX Runtime computes; torch on every network of the zoo, for its converter is ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.bench.engines import ENGINES, Job

NETWORKS = ("ds_cnn_s", "mcunet_vww", "mobilenet_v2_0.35_96", "mobilenet_v3_small_1.0_224", "shufflenet_v2_0.5_224")


def outputs(engine: str, path: Path, x: np.ndarray) -> list[np.ndarray]:
    (name,) = (value.name for value in onnx.load(path).graph.input)
    running = ENGINES[engine].start(Job(str(path), "host", 1, {name: x}))
    running.call()
    return running.outputs()


def assert_close(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs) > 0
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-4 * np.ptp(reference))


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"onnxruntime"}))
def test_agrees_with_onnxruntime(engine: str, make_onnx: Callable[..., Path], x: np.ndarray) -> None:
    if not ENGINES[engine].is_installed():
        pytest.skip(f"{engine} is not installed")
    path = make_onnx()
    assert_close(outputs(engine, path, x), outputs("onnxruntime", path, x))


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("name", NETWORKS)
def test_torch_runs_the_zoo(name: str, opset: int, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tvm_dwfuse import zoo

    path = tmp_path / "net.onnx"
    onnx.save(zoo.build(name, opset=opset), path)
    shape = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert_close(outputs("torch", path, x), outputs("onnxruntime", path, x))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_torch_pads_like_onnx(auto_pad: str, tmp_path: Path, x: np.ndarray) -> None:
    pytest.importorskip("torch")
    weight = np.random.default_rng(0).standard_normal((4, 8, 3, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 3], auto_pad=auto_pad)],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    assert_close(outputs("torch", path, x), outputs("onnxruntime", path, x))


def test_torch_names_an_operator_it_does_not_know(tmp_path: Path, x: np.ndarray) -> None:
    pytest.importorskip("torch")
    graph = helper.make_graph(
        [helper.make_node("Erf", ["x"], ["y"])],
        "erf",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    path = tmp_path / "erf.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(DwfuseError, match="operator Erf has no PyTorch form"):
        outputs("torch", path, x)
