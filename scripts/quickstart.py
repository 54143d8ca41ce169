"""The main job, run by scripts/quickstart: MobileNetV1 and V2 from ONNX, compiled fused, checked and timed."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import tvm_dwfuse
from tvm_dwfuse import zoo
from tvm_dwfuse.bench import OURS
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.bench.suite import LEGEND, benchmark_zoo, suite_table
from tvm_dwfuse.network import random_inputs

NETWORKS = ("mobilenet_v1_1.0_224", "mobilenet_v2_1.0_224")
TOLERANCE = 1e-4  # of the output's range


def compile_and_check(name: str, folder: Path) -> None:
    """Compile the zoo network to an artifact, load it again, and compare its output with ONNX Runtime's."""
    path = folder / f"{name}.onnx"
    path.write_bytes(zoo.build(name).SerializeToString())
    start = time.perf_counter()
    compiled = tvm_dwfuse.compile(path, threads=1)
    compiled.save(folder / name)
    print(f"{name}: compiled in {time.perf_counter() - start:.1f} s, fused blocks: {compiled.fused}")

    network = tvm_dwfuse.load(folder / name)
    inputs = random_inputs(network.inputs)
    (ours,) = network.run(inputs)
    (theirs,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    error = float(np.max(np.abs(ours - theirs)) / np.ptp(theirs))
    print(f"{name}: differs from ONNX Runtime by {error:.1e} of the output's range")
    if not error <= TOLERANCE:
        sys.exit(f"error: {name}: that is more than {TOLERANCE:.0e}")


def main() -> None:
    """Check both networks, then time them."""
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as folder:
        for name in NETWORKS:
            compile_and_check(name, Path(folder))
    print("timing, engines interleaved, one thread ...", flush=True)
    results = [benchmark_zoo(name, [*OURS, "onnxruntime", "openvino"], threads=1) for name in NETWORKS]
    print(", ".join(f"{key} {value}" for key, value in describe_machine().items()))
    print(f"{LEGEND}\n\n{suite_table(results)}")


if __name__ == "__main__":
    main()
