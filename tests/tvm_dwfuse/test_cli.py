"""The command line: each command once, and every kind of bad input as one line and exit status 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_dwfuse import artifact

from .commands import dwfuse, fail, succeed

MakeOnnx = Callable[..., Path]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def build(make_onnx: MakeOnnx, here: Path) -> Path:
    """An artifact, with an input for it in x.npy."""
    succeed("compile", make_onnx(), "-o", "build", "--threads", 1)
    return Path("build")


@pytest.fixture
def x_file(here: Path, x: np.ndarray) -> Path:
    np.save("x.npy", x)
    return Path("x.npy")


def test_zoo(here: Path) -> None:
    assert "mobilenet_v1_0.25_128" in succeed("zoo", "list").split()
    assert succeed("zoo", "export", "ds_cnn_s", "-o", "m.onnx") == "wrote m.onnx\n"
    onnx.checker.check_model(onnx.load("m.onnx"))
    succeed("zoo", "export", "ds_cnn_s", "-o", "open.onnx", "--open-batch", "--opset", 11)
    assert onnx.load("open.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_compile_then_run(make_onnx: MakeOnnx, here: Path, x_file: Path) -> None:
    import onnxruntime

    path = make_onnx()
    output = succeed("compile", path, "--target", "host", "--threads", 1, "-o", "build/")
    assert output.splitlines()[0].startswith("fused blocks: 1 ")
    assert succeed("run", "build/", "--input", x_file, "--output", "y.npy") == (
        "y:0 float32[1, 12, 12, 10] -> y.npy\nran on this machine\n"
    )
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": np.load(x_file)})
    np.testing.assert_allclose(np.load("y.npy"), expected, atol=1e-5)


def test_compile_says_when_nothing_was_fused(make_onnx: MakeOnnx, here: Path) -> None:
    path = make_onnx(pointwise_only=True)
    assert "no separable block found: nothing was fused" in succeed("compile", path, "-o", "build", "--threads", 1)
    assert "nothing is fused" in succeed("explain", path)
    assert "fusing was switched off" in succeed("compile", path, "-o", "build", "--threads", 1, "--no-fuse")


def test_bench(make_onnx: MakeOnnx, here: Path, x_file: Path) -> None:
    output = succeed(
        "bench", make_onnx(), "--threads", 1, "--against", "onnxruntime", "--json", "out.json", "--rounds", 1,
        "--input", x_file,
    )  # fmt: skip
    content = json.loads(Path("out.json").read_text())
    assert [row["engine"] for row in content["rows"]] == ["dwfuse", "dwfuse-unfused", "onnxruntime"]
    assert all(row["max_abs_err"] < 1e-5 for row in content["rows"])
    assert all(row["engine"] in output for row in content["rows"])


def test_explain(make_onnx: MakeOnnx) -> None:
    output = succeed("explain", make_onnx(), "--profile", "--threads", 1)
    assert "(3x3 16->16): dwfuse." in output
    assert "operator" in output
    assert "total" in output


def test_version() -> None:
    assert succeed("--version").startswith("dwfuse ")


# Models that cannot be compiled.


def not_onnx(path: Path) -> None:
    path.write_text("a letter to a friend")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def without_external_weights(path: Path) -> None:
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def unknown_operator(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Frobnicate", ["x"], ["y"], name="node_7", domain="com.example")],
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def open_shape(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, ["net.onnx"]),
        (not_onnx, ["net.onnx"]),
        (truncated, ["net.onnx"]),
        (without_external_weights, ["net.onnx", "weights.bin"]),
        (unknown_operator, ["Frobnicate", "node_7"]),
        (open_shape, ["'x'", "--shape"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("command", ["compile", "bench", "explain"])
def test_bad_model(
    command: str, spoil: Callable[[Path], None], words: list[str], make_onnx: MakeOnnx, here: Path
) -> None:
    path = make_onnx()
    spoil(path)
    before = sorted(os.listdir())
    message = fail(command, path, *(["-o", "build"] if command == "compile" else []))
    assert all(word in message for word in words), message
    assert sorted(os.listdir()) == before


def test_nan_weight_is_a_warning(make_onnx: MakeOnnx, here: Path) -> None:
    path = make_onnx()
    model = onnx.load(path)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))
    onnx.save(model, path)
    result = dwfuse("compile", path, "-o", "build", "--threads", 1)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: ")
    assert "w0" in line
    assert "NaN" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "toaster"], "unknown target 'toaster'"),
        (["--variant", "dwpw_fast"], "unknown variant 'dwpw_fast'"),
        (["--threads", "4096"], "threads: 4096"),
        (["--shape", "x=1"], "--shape x=1"),
        (["--shape", "z:1,8,12,10"], "'z'"),
        (["-o", "/proc/nowhere/build"], "/proc/nowhere/build: cannot be written"),
        (["-o", "."], "not an artifact"),
    ],
)
def test_bad_compile_option(options: list[str], words: str, make_onnx: MakeOnnx, here: Path) -> None:
    path = make_onnx()
    before = sorted(os.listdir())
    assert words in fail("compile", path, "-o", "build", *options)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 8, 10, 12), np.float32), "input 'x': shape [1, 8, 10, 12] given, [1, 8, 12, 10] expected"),
        (np.zeros((1, 8, 12, 10)), "input 'x': dtype float64 given, float32 expected"),
    ],
)
def test_bad_run_input(array: np.ndarray, words: str, build: Path) -> None:
    np.save("x.npy", array)
    assert words in fail("run", build, "--input", "x.npy", "--output", "y.npy")
    assert not Path("y.npy").exists()


def test_bad_run_files(build: Path, x_file: Path) -> None:
    assert "nowhere.npy: cannot be read" in fail("run", build, "--input", "nowhere.npy", "--output", "y.npy")
    assert "no such input" in fail("run", build, "--input", f"z={x_file}", "--output", "y.npy")
    assert "no/y.npy: cannot be written" in fail("run", build, "--input", x_file, "--output", "no/y.npy")
    assert "no such folder" in fail("run", "nowhere", "--input", x_file, "--output", "y.npy")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format", 0, "artifact format 0"),
        ("tvm_dwfuse", "0.0.1", "made by tvm_dwfuse 0.0.1"),
        ("tvm", "0.7", "made by TVM 0.7"),
        ("target", {"name": "host", "arch": "riscv64", "mcpu": "u74", "features": []}, "compiled for riscv64"),
    ],
)
def test_artifact_of_another_version_or_target(key: str, value: object, words: str, build: Path, x_file: Path) -> None:
    path = build / artifact.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert words in fail("run", build, "--input", x_file, "--output", "y.npy")


def test_damaged_library(build: Path, x_file: Path) -> None:
    library = build / artifact.LIBRARY
    library.write_bytes(library.read_bytes()[:100])
    assert "network.so" in fail("run", build, "--input", x_file, "--output", "y.npy")


@pytest.mark.parametrize(
    "args",
    [
        ["zoo", "export", "mobilenet_v9", "-o", "m.onnx"],
        ["zoo", "export", "ds_cnn_s", "-o", "nowhere/m.onnx"],
        ["zoo", "export", "ds_cnn_s", "-o", "m.onnx", "--opset", "3"],
        ["bench", "net.onnx", "--against", "tensorrt"],
        ["bench", "net.onnx", "--json", "nowhere/out.json", "--rounds", "1"],
    ],
)
def test_other_bad_options(args: list[str], make_onnx: MakeOnnx, here: Path) -> None:
    make_onnx()
    message = fail(*args)
    assert any(word in message for word in args[1:])
    assert os.listdir() == ["net.onnx"]


@pytest.mark.parametrize("args", [["compile"], ["compile", "m.onnx", "-o", "b", "--frobnicate"], ["frobnicate"]])
def test_usage_errors(args: list[str]) -> None:
    assert dwfuse(*args).exit_code == 2


def test_verbose_shows_the_traceback() -> None:
    result = dwfuse("--verbose", "zoo", "export", "mobilenet_v9", "-o", "m.onnx")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_as_a_process(here: Path) -> None:
    command = [sys.executable, "-m", "tvm_dwfuse", "compile", "nowhere.onnx", "-o", "build"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: nowhere.onnx")
    assert result.stderr.count("\n") == 1


def test_a_killed_compile_leaves_no_half_artifact(make_onnx: MakeOnnx, here: Path) -> None:
    make_onnx()
    process = subprocess.Popen([sys.executable, "-m", "tvm_dwfuse", "compile", "net.onnx", "-o", "build"])
    time.sleep(2.5)  # somewhere between importing TVM and linking
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("build").exists() or artifact.read(Path("build"))
