"""How each engine loads an ONNX file and runs it: inputs placed beforehand, so that a call is inference and no more."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tvm_dwfuse.network import CompiledNetwork


@dataclass(frozen=True)
class Job:
    """What an engine is asked to run: an ONNX file on a target, with that many threads, on those inputs.

    ``db`` is a tuning database for dwfuse, None for the records that the package ships.
    """

    model: str
    target: str
    threads: int
    inputs: Mapping[str, np.ndarray]
    db: str | None = None


@dataclass(frozen=True)
class Running:
    """A loaded engine: ``call`` runs it once, ``outputs`` runs it and returns the arrays in graph order."""

    call: Callable[[], Any]
    outputs: Callable[[], list[np.ndarray]]


@dataclass(frozen=True)
class Engine:
    """An engine by name; ``packages`` are the Python modules it needs, and ``install`` how to get them."""

    name: str
    start: Callable[[Job], Running]
    packages: tuple[str, ...] = ()
    install: str = ""

    def is_installed(self) -> bool:
        """Whether its modules can be found, without importing them."""
        return all(importlib.util.find_spec(package) for package in self.packages)


def start_dwfuse(job: Job, fuse: bool = True, tuned: bool = True, variant: str | None = None) -> Running:
    """This project, through its public calls."""
    import tvm_dwfuse

    shapes = {name: array.shape for name, array in job.inputs.items()}
    network: CompiledNetwork = tvm_dwfuse.compile(
        job.model,
        job.target,
        job.threads,
        shapes=shapes,
        fuse=fuse,
        variant=variant,
        db=job.db if tuned else None,
        tuned=tuned,
    )
    return Running(network.bind(job.inputs), lambda: network.run(job.inputs))


def start_onnxruntime(job: Job) -> Running:
    """ONNX Runtime with I/O binding, which is never slower here than ``session.run``: it takes no copy of the input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in job.inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return Running(partial(session.run_with_iobinding, binding), lambda: session.run(None, dict(job.inputs)))


def start_openvino(job: Job) -> Running:
    """OpenVINO, tuned for latency, in float32 (it would otherwise pick bfloat16 where the CPU has it)."""
    import openvino

    core = openvino.Core()
    model = core.read_model(job.model)
    model.reshape({name: list(array.shape) for name, array in job.inputs.items()})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": job.threads,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    for name, array in job.inputs.items():
        request.get_tensor(name).data[...] = array

    def outputs() -> list[np.ndarray]:
        request.infer()
        return [request.get_output_tensor(i).data.copy() for i in range(len(model.outputs))]

    return Running(request.infer, outputs)


def start_torch(job: Job) -> Running:
    """PyTorch eager operators in channels_last, traced and frozen; see :mod:`.torch_graph`."""
    from .torch_graph import start

    return start(job.model, job.threads, job.inputs)


def start_tvm(job: Job) -> Running:
    """TVM out of the box: its ONNX importer and its default pipeline, for this CPU."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    from tvm_dwfuse import threads
    from tvm_dwfuse.targets import get_cpu

    shapes = {name: list(array.shape) for name, array in job.inputs.items()}
    module = from_onnx(onnx.load(job.model), shape_dict=shapes, keep_params_in_input=False)
    machine = relax.VirtualMachine(tvm.compile(module, get_cpu(job.target).tvm_target()), tvm.cpu())
    tensors = [tvm.runtime.tensor(array) for array in job.inputs.values()]
    threads.configure(job.threads)
    main = machine["main"]

    def outputs() -> list[np.ndarray]:
        result = main(*tensors)
        return [field.numpy() for field in ([result] if hasattr(result, "numpy") else result)]

    return Running(lambda: main(*tensors), outputs)


OURS = ("dwfuse", "dwfuse-unfused")
#: Without records of tuning, and with all blocks fused whatever records say.
DEFAULTS = ("dwfuse-default", "dwfuse-default-unfused")
EVERYTHING = "dwfuse-everything"
PEERS = ("onnxruntime", "openvino", "torch", "tvm")

_ALL = (
    Engine("dwfuse", start_dwfuse),
    Engine("dwfuse-unfused", partial(start_dwfuse, fuse=False)),
    Engine("dwfuse-default", partial(start_dwfuse, tuned=False)),
    Engine("dwfuse-default-unfused", partial(start_dwfuse, fuse=False, tuned=False)),
    # A variant that is asked for leaves no choice by costs; this one is the rule's own for its blocks.
    Engine(EVERYTHING, partial(start_dwfuse, variant="dwpw_hwc_hwc_hwc_rows")),
    Engine("onnxruntime", start_onnxruntime, ("onnxruntime",), "pip install onnxruntime"),
    Engine("openvino", start_openvino, ("openvino",), "pip install openvino"),
    Engine("torch", start_torch, ("torch",), "pip install torch"),
    Engine("tvm", start_tvm, ("tvm",), "pip install apache-tvm"),
)
ENGINES: dict[str, Engine] = {engine.name: engine for engine in _ALL}
