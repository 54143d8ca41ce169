"""The command line for clusters: quantize, compile, run, explain, and every kind of bad input in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from .commands import fail, succeed
from .conftest import INPUT_SHAPE

MakeOnnx = Callable[..., Path]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network, quantized by the command line."""
    from .conftest import separable_model

    folder = tmp_path_factory.mktemp("quantized")
    onnx.save(separable_model(), folder / "net.onnx")
    np.savez(folder / "data.npz", x=examples(8))
    output = succeed("quantize", folder / "net.onnx", "--calibration", folder / "data.npz", "-o", folder / "int8.onnx")
    assert output.splitlines() == [
        "3 of 3 layers with weights agree with ONNX Runtime exactly",
        f"wrote {folder / 'int8.onnx'}",
    ]
    return folder / "int8.onnx"


@pytest.fixture(scope="module")
def built(quantized: Path) -> Path:
    """The application of that network."""
    folder = quantized.parent / "build"
    succeed("compile", quantized, "--target", "gap8", "-o", folder)
    return folder


def examples(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *INPUT_SHAPE[1:])).astype(np.float32)


def of_onnxruntime(model: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("seed", range(3))
def test_run_gives_what_onnxruntime_gives(seed: int, quantized: Path, built: Path, here: Path) -> None:
    x = examples(1, seed)
    np.save("x.npy", x)
    output = succeed("run", built, "--input", "x.npy", "--output", "y.npy")
    assert output.splitlines()[0] == "y:0 float32[1, 12, 12, 10] -> y.npy"
    expected = of_onnxruntime(quantized, x)
    step = json.loads((built / "manifest.json").read_text())["output"]["activation"]["scale"]
    np.testing.assert_allclose(np.load("y.npy"), expected, atol=1.01 * step)
    assert expected.std() > 20 * step


def test_stored_values_in_and_out(built: Path, here: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    grids = [manifest[port]["activation"] for port in ("input", "output")]
    x = examples(1)
    stored = np.clip(np.rint(x / np.float32(grids[0]["scale"])) + grids[0]["zero_point"], 0, 255).astype(np.uint8)
    np.save("x.npy", x)
    np.save("stored.npy", stored)
    np.save("hwc.npy", stored[0].transpose(1, 2, 0))
    results = []
    for name in ("x", "stored", "hwc"):
        succeed("run", built, "--input", f"x={name}.npy", "--output", "y.npy", "--no-dequantize")
        results.append(np.load("y.npy"))
        assert (results[-1].dtype, results[-1].shape) == (np.uint8, (1, 12, 12, 10))
        np.testing.assert_array_equal(results[-1], results[0])
    succeed("run", built, "--input", "stored.npy", "--output", "y.npy")
    real = (results[0].astype(np.float32) - grids[1]["zero_point"]) * np.float32(grids[1]["scale"])
    np.testing.assert_array_equal(np.load("y.npy"), real)


@pytest.mark.skipif(not shutil.which("qemu-system-riscv32"), reason="needs QEMU")
@pytest.mark.skipif(not shutil.which("riscv64-unknown-elf-gcc"), reason="needs a RISC-V compiler")
def test_run_on_rv32(built: Path, here: Path) -> None:
    np.save("x.npy", examples(1))
    output = succeed("run", built, "--input", "x.npy", "--output", "y.npy", "--runner", "rv32")
    assert "instructions on rv32" in output
    succeed("run", built, "--input", "x.npy", "--output", "z.npy")
    np.testing.assert_array_equal(np.load("y.npy"), np.load("z.npy"))


def test_golden_outputs_and_planned_bytes(quantized: Path, built: Path, here: Path) -> None:
    from tvm_dwfuse import load_application

    network = load_application(built)
    assert network.check().counters["checked"] == len(network.manifest.groups)
    golden = sorted((built / "golden").iterdir())
    golden[-1].write_bytes(bytes(golden[-1].stat().st_size))
    with pytest.raises(Exception, match=golden[-1].stem):
        network.check()
    shutil.rmtree(built)
    succeed("compile", quantized, "--target", "gap8", "-o", built)


@pytest.mark.parametrize(
    ("options", "fused"),
    [
        ([], None),
        (["--objective", "traffic", "--l1", 6000], None),
        (["--objective", "energy"], None),
        (["--objective", "memory"], None),
        (["--objective", "latency=1,energy=0.5"], None),
        (["--variant", "none", "--no-double-buffer"], 0),
        (["--variant", "pwdw_hwc_chw_hwc_rows"], 1),
        (["--target", "pulp-open"], None),
    ],
)
def test_compile_options(options: list, fused: int | None, quantized: Path, here: Path) -> None:
    from tvm_dwfuse import load_application

    output = succeed(
        "compile", quantized, "-o", "build", *(options if "--target" in options else ["--target", "gap8", *options])
    )
    network = load_application("build")
    assert "cycles by the model" in output
    assert output.splitlines()[-1] == "wrote build"
    assert fused is None or sum(network.fused.values()) == fused
    assert network.manifest.l1_bytes <= (6000 if "--l1" in options else 64000)
    assert not ("--no-double-buffer" in options and "double" in str(network.manifest.groups))
    network.check()


def test_explain(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    output = succeed("explain", built)
    lines = output.splitlines()
    assert lines[0] == "int8 for gap8, objective latency"
    for group in manifest["groups"]:
        row = next(line for line in lines if line.startswith(f"{group['name']} "))
        assert group["variant"] in row
        assert f"{group['activation_bytes']:,}" in row
        assert f"  tile {group['tile']}: default" in lines
        for name, address in group["l2"].items():
            assert f"{name} at {address:,}" in output
    total = next(line for line in lines if line.startswith("total"))
    assert f"{sum(group['cycles'] for group in manifest['groups']):,}" in total
    counters = manifest["counters"]
    assert f"{counters['activation_in'] + counters['activation_out']:,}" in total
    energy = sum(group["energy"] for group in manifest["groups"])
    peak = max(group["memory"] for group in manifest["groups"])
    assert f"energy by the model {energy / 1e6:,.1f} uJ, peak of activations alive {peak:,} bytes" in lines


def test_the_manifest_tells_what_else_could_have_been(built: Path) -> None:
    from tvm_dwfuse import load_application

    manifest = json.loads((built / "manifest.json").read_text())
    assert load_application(built).manifest.groups[0].alternatives[0].cycles > 0
    output = succeed("explain", built)
    for group in manifest["groups"]:
        ways = {way["variant"]: way for way in group["alternatives"]}
        assert {"unfused", group["variant"]} <= ways.keys()
        assert ways[group["variant"]]["cycles"] == min(way["cycles"] for way in ways.values())
        assert ways[group["variant"]]["cycles"] <= group["cycles"]
        other = group["runner_up"]
        if other:
            assert set(group["layers"]) <= set(other["layers"])
            assert other["instead"]["cycles"] >= other["chosen"]["cycles"]
            assert f"runner-up {other['instead']['variant']} of {' + '.join(other['layers'])}: " in output
    assert any(group["runner_up"] for group in manifest["groups"])


def test_a_manifest_of_before_there_were_alternatives(built: Path, here: Path) -> None:
    shutil.copytree(built, "build")
    manifest = json.loads((here / "build" / "manifest.json").read_text())
    for group in manifest["groups"]:
        for name in ("alternatives", "runner_up", "energy", "memory"):
            del group[name]
    (here / "build" / "manifest.json").write_text(json.dumps(manifest))
    assert "cycles by the model" in succeed("explain", "build")


def test_the_pareto_front(quantized: Path, built: Path) -> None:
    lines = succeed("explain", quantized, "--target", "gap8", "--pareto").splitlines()
    assert lines[0].startswith("int8: ")
    rows = [line for line in lines if line[:1].isdigit()]
    assert len(rows) == int(lines[0].split()[1])
    fastest = sum(
        way["cycles"]
        for group in json.loads((built / "manifest.json").read_text())["groups"]
        for way in group["alternatives"]
        if way["variant"] == group["variant"]
    )
    assert int(rows[0].split()[0].replace(",", "")) <= fastest
    assert "--pareto: no option of a build" in fail("explain", built, "--pareto")
    assert "--profile: no option of gap8" in fail("explain", quantized, "--target", "gap8", "--pareto", "--profile")


def test_the_application_replaces_another(built: Path, quantized: Path, here: Path) -> None:
    shutil.copytree(built, "build")
    succeed("compile", quantized, "--target", "gap8", "-o", "build", "--variant", "none")
    assert "unfused" in succeed("explain", "build")
    (here / "build" / "manifest.json").unlink()
    assert "not an artifact" in fail("compile", quantized, "--target", "gap8", "-o", "build")


# Bad input.


def test_a_float_model_is_told_how_to_be_quantized(make_onnx: MakeOnnx, here: Path) -> None:
    message = fail("compile", make_onnx(), "--target", "gap8", "-o", "build")
    assert "a float network; quantize it first: dwfuse quantize" in message
    assert "--calibration" in message
    assert not Path("build").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "gap9"], "unknown target 'gap9'; known targets: host, "),
        (["--target", "gap8", "--objective", "beauty"], "unknown objective 'beauty'; known: latency, traffic"),
        (["--target", "gap8", "--objective", "latency=0"], "weight '0' of latency is no number above 0"),
        (["--target", "gap8", "--variant", "dwpw_fast"], "unknown variant 'dwpw_fast'"),
        (["--target", "gap8", "--variant", "pwdwpw_hwc_hwc_hwc_rows", "--l1", "1500"], "L1"),
        (["--target", "gap8", "--l1", "100"], "bytes of L1"),
        (["--target", "gap8", "--l1", "100000"], "L1 of 100000 bytes: gap8 has up to"),
        (["--target", "gap8", "--threads", "2"], "--threads: no option of gap8"),
        (["--target", "gap8", "--no-fuse"], "--no-fuse: no option of gap8"),
        (["--l1", "4096"], "--l1: no option of host"),
        (["--no-double-buffer"], "--no-double-buffer: no option of host"),
        (["--target", "gap8", "-o", "/proc/nowhere/build"], "/proc/nowhere/build: cannot be written"),
    ],
)
def test_bad_compile_option(options: list[str], words: str, quantized: Path, here: Path) -> None:
    assert words in fail("compile", quantized, "-o", "build", *options)
    assert not Path("build").exists()


def test_a_variant_that_is_legal_nowhere(quantized: Path, here: Path) -> None:
    message = fail(
        "compile", quantized, "--target", "gap8", "-o", "build", "--variant", "dwpw_chw_hwc_chw_rows", "--l1", 2000
    )
    assert "dwpw_chw_hwc_chw_rows is legal for no block" in message


def test_an_operator_without_an_integer_form(quantized: Path, here: Path) -> None:
    model = onnx.load(quantized)
    model.graph.node.append(helper.make_node("Sigmoid", [model.graph.output[0].name], ["s"], name="gate"))
    shape = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("s", TensorProto.FLOAT, shape))
    onnx.save(model, "odd.onnx")
    message = fail("compile", "odd.onnx", "--target", "gap8", "-o", "build")
    assert "odd.onnx" in message
    assert "gate" in message


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 8, 10, 12), np.float32), "input 'x': shape [1, 8, 10, 12] given, [1, 8, 12, 10] expected"),
        (np.zeros(INPUT_SHAPE), "input 'x': dtype float64 given, float32, or uint8"),
        (np.full(INPUT_SHAPE, np.nan, np.float32), "input 'x': holds values that are not finite"),
    ],
)
def test_bad_run_input(array: np.ndarray, words: str, built: Path, here: Path) -> None:
    np.save("x.npy", array)
    assert words in fail("run", built, "--input", "x.npy", "--output", "y.npy")
    assert not Path("y.npy").exists()


def test_bad_runners(built: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("x.npy", examples(1))
    run = ("run", built, "--input", "x.npy", "--output", "y.npy", "--runner")
    assert "unknown runner 'moon'; known: host, rv32, gvsoc" in fail(*run, "moon")
    monkeypatch.delenv("GAP_SDK_HOME", raising=False)
    assert "GAP_SDK_HOME is not set" in fail(*run, "gvsoc")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install" in fail(*run, "rv32")


def test_options_of_the_other_kind_of_artifact(built: Path, here: Path, make_onnx: MakeOnnx) -> None:
    assert "--profile: no option of a build" in fail("explain", built, "--profile")
    np.save("x.npy", examples(1))
    succeed("compile", make_onnx(), "-o", "host", "--threads", 1)
    assert "--runner: no option of a CPU's artifact" in fail(
        "run", "host", "--input", "x.npy", "--output", "y.npy", "--runner", "host"
    )


@pytest.mark.parametrize("command", ["explain", "bench"])
def test_commands_that_clusters_do_not_have(command: str, quantized: Path) -> None:
    assert "target 'gap8': not a CPU; `dwfuse compile --target gap8`" in fail(command, quantized, "--target", "gap8")


def test_loading_the_other_kind_of_artifact(built: Path) -> None:
    import tvm_dwfuse

    with pytest.raises(tvm_dwfuse.DwfuseError, match="load_application"):
        tvm_dwfuse.load(built)
    with pytest.raises(tvm_dwfuse.DwfuseError, match="not an application"):
        tvm_dwfuse.load_application(built.parent)


def test_damaged_application(built: Path, here: Path) -> None:
    shutil.copytree(built, "build")
    np.save("x.npy", examples(1))
    run = ("run", "build", "--input", "x.npy", "--output", "y.npy")
    (here / "build" / "network.c").write_text("int 3;")
    assert "network.c" in fail(*run)
    manifest = json.loads((here / "build" / "manifest.json").read_text())
    (here / "build" / "manifest.json").write_text(json.dumps({**manifest, "tvm_dwfuse": "0.0.1"}))
    assert "made by tvm_dwfuse 0.0.1" in fail(*run)
    del manifest["groups"]
    (here / "build" / "manifest.json").write_text(json.dumps(manifest))
    assert "damaged manifest" in fail(*run)


def test_bad_calibration(make_onnx: MakeOnnx, here: Path) -> None:
    path = make_onnx()
    np.savez("data.npz", z=examples(2))
    assert "data.npz: no array for input 'x'" in fail("quantize", path, "--calibration", "data.npz", "-o", "out.onnx")
    assert "nowhere.npz" in fail("quantize", path, "--calibration", "nowhere.npz", "-o", "out.onnx")
    assert "no/out.onnx" in fail("quantize", path, "--calibration", "data.npz", "-o", "no/out.onnx")
    assert not Path("out.onnx").exists()
