from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm

import tvm_dwfuse
from tvm_dwfuse import CompiledNetwork, DwfuseError, artifact, threads, zoo
from tvm_dwfuse.frontend import import_onnx

MakeOnnx = Callable[..., Path]


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def network(make_onnx: MakeOnnx) -> CompiledNetwork:
    return tvm_dwfuse.compile(make_onnx(), threads=1)


@pytest.mark.parametrize(
    "as_model", [lambda path: path, str, onnx.load, import_onnx], ids=["path", "str", "onnx", "ir"]
)
def test_every_kind_of_model_compiles(as_model: Callable[[Path], object], make_onnx: MakeOnnx, x: np.ndarray) -> None:
    path = make_onnx()
    network = tvm_dwfuse.compile(as_model(path), threads=1)
    (y,) = network.run(x)
    np.testing.assert_allclose(y, reference(path, x), atol=1e-5)


def test_saved_network_is_loaded_and_runs_the_same(network: CompiledNetwork, tmp_path: Path, x: np.ndarray) -> None:
    network.save(tmp_path / "build")
    start = time.perf_counter()
    loaded = tvm_dwfuse.load(tmp_path / "build")
    assert time.perf_counter() - start < 1
    assert loaded.manifest == network.manifest
    np.testing.assert_array_equal(loaded.run(x)[0], network.run({"x": x})[0])


def test_manifest_tells_what_was_built(network: CompiledNetwork) -> None:
    assert network.manifest.model == "net"
    assert network.manifest.threads == 1
    assert [str(info) for info in network.inputs] == ["x float32[1, 8, 12, 10]"]
    assert [str(info) for info in network.outputs] == ["y:0 float32[1, 12, 12, 10]"]
    assert network.manifest.target.arch == platform.machine()
    assert sum(network.fused.values()) == 1


def test_unfused_and_threads_agree_with_fused(make_onnx: MakeOnnx, x: np.ndarray, network: CompiledNetwork) -> None:
    (y,) = network.run(x)
    unfused = tvm_dwfuse.compile(make_onnx(), threads=threads.available(), fuse=False)
    assert unfused.fused == {}
    assert unfused.manifest.threads == threads.available()
    np.testing.assert_allclose(unfused.run(x)[0], y, atol=1e-5)


def test_open_batch_is_fixed_by_shapes(make_onnx: MakeOnnx, x: np.ndarray) -> None:
    path = make_onnx(batch="N")
    network = tvm_dwfuse.compile(path, threads=1, shapes={"x": (2, *x.shape[1:])})
    batch = np.concatenate([x, -x])
    np.testing.assert_allclose(network.run(batch)[0], reference(path, batch), atol=1e-5)


def test_outputs_of_two_runs_do_not_share_memory(network: CompiledNetwork, x: np.ndarray) -> None:
    (first,) = network.run(x)
    kept = first.copy()
    network.run(-x)
    np.testing.assert_array_equal(first, kept)


def test_network_without_blocks_compiles_and_fuses_nothing(make_onnx: MakeOnnx, x: np.ndarray) -> None:
    path = make_onnx(pointwise_only=True)
    network = tvm_dwfuse.compile(path, threads=1)
    assert network.fused == {}
    np.testing.assert_allclose(network.run(x)[0], reference(path, x), atol=1e-5)


def test_phases_are_told_in_order(make_onnx: MakeOnnx) -> None:
    from tvm_dwfuse.api import PHASES

    phases: list[str] = []
    tvm_dwfuse.compile(make_onnx(), threads=1, on_phase=phases.append)
    assert tuple(phases) == PHASES


def test_time_and_profile(network: CompiledNetwork) -> None:
    timing = network.time(runs=3, warmup=1)
    assert len(timing.seconds) == 3
    assert 0 < timing.min_ms <= timing.median_ms
    rows = network.profile(runs=2)
    assert any(row.name.startswith("pwdw") or row.name.startswith("dwpw") for row in rows)
    assert [row.median_ms for row in rows] == sorted((row.median_ms for row in rows), reverse=True)
    network.run(np.zeros(network.inputs[0].shape, np.float32))
    assert len(network.profile(runs=1)) == len(rows)


def test_explain(make_onnx: MakeOnnx) -> None:
    found = tvm_dwfuse.explain(make_onnx(), threads=1, profile=True)
    assert [block.report.composite is None for block in found.blocks] == [False]
    assert found.profile
    assert tvm_dwfuse.explain(make_onnx(pointwise_only=True)).blocks == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "toaster"}, "unknown target 'toaster'"),
        ({"variant": "dwpw"}, "unknown variant 'dwpw'"),
        ({"threads": 0}, "threads: 0 asked for"),
    ],
)
def test_bad_options(options: dict[str, object], message: str, make_onnx: MakeOnnx) -> None:
    with pytest.raises(DwfuseError, match=message):
        tvm_dwfuse.compile(make_onnx(), **options)


def test_relax_module_with_open_shape_is_refused() -> None:
    n = tvm.tirx.Var("n", "int64")
    builder = tvm.relax.BlockBuilder()
    x = tvm.relax.Var("x", tvm.relax.TensorType((n, 4), "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(tvm.relax.op.nn.relu(x)))
    with pytest.raises(DwfuseError, match=r"'x' of main: shape .* has open dimensions"):
        tvm_dwfuse.compile(builder.get(), threads=1)


def test_artifact_for_another_cpu_is_refused(network: CompiledNetwork, tmp_path: Path) -> None:
    network.save(tmp_path / "build")
    path = tmp_path / "build" / artifact.MANIFEST
    path.write_text(path.read_text().replace('"features": [', '"features": [\n"quantum",'))
    with pytest.raises(DwfuseError, match="this CPU lacks quantum; compile the model again here"):
        tvm_dwfuse.load(tmp_path / "build")


def test_artifact_for_more_threads_than_there_are_is_refused(network: CompiledNetwork, tmp_path: Path) -> None:
    network.save(tmp_path / "build")
    path = tmp_path / "build" / artifact.MANIFEST
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 4096'))
    with pytest.raises(DwfuseError, match="threads: 4096 asked for"):
        tvm_dwfuse.load(tmp_path / "build")


def test_a_variant_that_applies_to_no_block_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="variant dwpw_chw_hwc_chw_rows applies to no block"):
        tvm_dwfuse.compile(zoo.build("ds_cnn_s"), threads=1, variant="dwpw_chw_hwc_chw_rows")
