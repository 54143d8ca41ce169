from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.bench import ENGINES, Plan, benchmark
from tvm_dwfuse.bench.client import Client
from tvm_dwfuse.bench.engines import Engine, Job

QUICK = Plan(rounds=2, burst_seconds=0.001, pause_seconds=0.0)
MakeOnnx = Callable[..., Path]


def test_rows_against_onnxruntime(make_onnx: MakeOnnx, x: np.ndarray) -> None:
    steps: list[tuple[str, int, int]] = []
    result = benchmark(
        make_onnx(), ["onnxruntime", "tvm"], {"x": x}, plan=QUICK, progress=lambda *step: steps.append(step)
    )
    assert [row.engine for row in result.rows] == ["onnxruntime", "tvm"]
    assert result.row("onnxruntime").max_abs_err == 0
    assert 0 < result.row("tvm").max_abs_err < 1e-5
    assert all(0 < row.min_ms <= row.median_ms for row in result.rows)
    assert result.missing == ()
    assert steps[0] == ("loading onnxruntime", 0, 2)
    assert steps[-1] == ("measuring", 2, 2)


def test_json_has_the_documented_keys(make_onnx: MakeOnnx, x: np.ndarray) -> None:
    content = json.loads(benchmark(make_onnx(), ["onnxruntime"], {"x": x}, plan=QUICK).to_json())
    assert list(content) == ["model", "target", "threads", "rows", "missing"]
    assert (content["model"], content["target"], content["threads"]) == ("net", "host", 1)
    assert list(content["rows"][0]) == ["engine", "median_ms", "min_ms", "max_abs_err"]


def test_reference_is_not_timed_when_not_asked_for(make_onnx: MakeOnnx, x: np.ndarray) -> None:
    result = benchmark(make_onnx(), ["tvm"], {"x": x}, plan=QUICK)
    assert [row.engine for row in result.rows] == ["tvm"]
    assert result.rows[0].max_abs_err < 1e-5


def test_what_is_not_installed_is_named(make_onnx: MakeOnnx, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Engine("openvino", lambda job: pytest.fail("started"), ("no_such_module",), "pip install openvino")
    monkeypatch.setitem(ENGINES, "openvino", absent)
    result = benchmark(make_onnx(), ["openvino", "onnxruntime"], {"x": x}, plan=QUICK)
    assert [row.engine for row in result.rows] == ["onnxruntime"]
    assert json.loads(result.to_json())["missing"] == [
        {"engine": "openvino", "reason": "not installed: pip install openvino"}
    ]
    assert result.to_text().endswith("missing: openvino (not installed: pip install openvino)")


def test_without_the_reference_errors_are_unknown(
    make_onnx: MakeOnnx, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Engine("onnxruntime", lambda job: pytest.fail("started"), ("no_such_module",), "pip install onnxruntime")
    monkeypatch.setitem(ENGINES, "onnxruntime", absent)
    result = benchmark(make_onnx(), ["tvm"], {"x": x}, plan=QUICK)
    assert result.rows[0].max_abs_err is None
    assert [missing.engine for missing in result.missing] == ["onnxruntime"]


def test_a_peer_that_fails_is_named_with_the_reason(tmp_path: Path, x: np.ndarray) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    result = benchmark(tmp_path / "broken.onnx", ["onnxruntime"], {"x": x}, plan=QUICK)
    assert result.rows == ()
    assert result.missing[0].reason.startswith("engine onnxruntime: ")


def test_unknown_engine() -> None:
    with pytest.raises(DwfuseError, match="unknown engine 'tensorrt'; known: dwfuse, "):
        benchmark("net.onnx", ["tensorrt"], {})


def test_slow_engines_stop_when_they_had_their_time(
    make_onnx: MakeOnnx, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts: list[str] = []

    def burst(client: Client, seconds: float, most: int) -> list[float]:
        bursts.append(client.engine)
        return [1.0 if client.engine == "tvm" else 0.001] * 2

    monkeypatch.setattr(Client, "burst", burst)
    plan = Plan(rounds=6, pause_seconds=0.0, engine_seconds=3.0, least_runs=4)
    benchmark(make_onnx(), ["onnxruntime", "tvm"], {"x": x}, plan=plan)
    assert bursts.count("onnxruntime") == 6
    assert bursts.count("tvm") == 2
    assert bursts[:4] == ["onnxruntime", "tvm", "tvm", "onnxruntime"]


@pytest.fixture
def job(make_onnx: MakeOnnx, x: np.ndarray) -> Job:
    return Job(str(make_onnx()), "host", 1, {"x": x})


def test_bursts_are_bounded(job: Job) -> None:
    client = Client("onnxruntime", [0], job)
    try:
        client.load()
        assert len(client.burst(seconds=0.0, most=50)) == 1
        assert len(client.burst(seconds=60.0, most=3)) == 3
    finally:
        client.close()


def test_no_answer_in_time_is_an_error(job: Job) -> None:
    client = Client("onnxruntime", [0], job, time_limit=0.0)
    with pytest.raises(DwfuseError, match="engine onnxruntime: no answer within 0 s"):
        client.load()
    client.close()


def test_a_worker_that_dies_is_an_error(job: Job) -> None:
    client = Client("onnxruntime", [0], job)
    client.load()
    client._process.kill()
    with pytest.raises(DwfuseError, match="engine onnxruntime: its process ended"):
        client.burst(0.1, 1)
    client.close()
