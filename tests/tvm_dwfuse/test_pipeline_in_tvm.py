"""The pipeline in the hands of a TVM user: registered by an import, given to ``tvm.compile`` or a ``Sequential``."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tvm
from tvm import relax

import tvm_dwfuse.pipeline
from tvm_dwfuse import threads
from tvm_dwfuse.frontend import import_onnx
from tvm_dwfuse.targets import host_target

MakeOnnx = Callable[..., Path]


def kernels(module: tvm.IRModule) -> list[str]:
    return [var.name_hint for var, func in module.functions_items() if isinstance(func, tvm.tirx.PrimFunc)]


def run(executable: object, x: np.ndarray) -> np.ndarray:
    return relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()


@pytest.mark.parametrize("first", ["import tvm_dwfuse.pipeline", "from tvm import relax"])
def test_importing_the_module_registers_it(first: str) -> None:
    code = f'{first}; import tvm_dwfuse.pipeline; from tvm import relax; print(relax.get_pipeline("dwfuse").info.name)'
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "dwfuse\n", result.stderr


def test_reloading_the_module_is_harmless() -> None:
    importlib.reload(tvm_dwfuse.pipeline)
    assert relax.get_pipeline("dwfuse").info.name == "dwfuse"


@pytest.mark.parametrize(
    "pipeline",
    [
        "dwfuse",
        {"target": "host", "threads": threads.available()},
        {"target": host_target(), "fuse": False},
    ],
    ids=["name", "threads", "unfused"],
)
def test_tvm_compile_takes_the_pipeline(pipeline: str | dict[str, object], make_onnx: MakeOnnx, x: np.ndarray) -> None:
    path = make_onnx()
    chosen = pipeline if isinstance(pipeline, str) else relax.get_pipeline("dwfuse", **pipeline)
    executable = tvm.compile(import_onnx(path), host_target().tvm_target(), relax_pipeline=chosen)
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(run(executable, x), expected, atol=1e-5)


def test_pipeline_runs_as_a_pass_outside_of_a_target(make_onnx: MakeOnnx) -> None:
    module = import_onnx(make_onnx())
    before = module.script()
    fused = kernels(relax.get_pipeline("dwfuse")(module))
    unfused = kernels(tvm.transform.Sequential([relax.get_pipeline("dwfuse", fuse=False)])(module))
    assert any(name.startswith("pwdwpw_hwc_hwc_hwc_rows") for name in fused)
    assert not any(name.startswith("pwdwpw") for name in unfused)
    assert module.script() == before
