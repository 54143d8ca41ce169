"""From a quantized ONNX network to the folder of an application for a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx
import tvm

import relay_passes

from .. import __version__, artifact
from ..artifact import TensorInfo
from ..cluster_artifact import ClusterManifest, Port
from ..cluster_options import ClusterOptions
from ..cluster_report import group_reports
from ..errors import DwfuseError
from ..frontend.load import load_model
from ..frontend.quantized import import_quantized
from ..integer_network import Activation, Network
from ..quantization import run_network
from ..tiling.tuned import TunedPlans
from .plan import ClusterPlan, plan_network
from .project import write_project
from .reader import read_network

if TYPE_CHECKING:
    from ..api import OnPhase

Model: TypeAlias = "str | Path | onnx.ModelProto"
Shapes = Mapping[str, tuple[int, ...]]

PHASES = ("import", "choose variants and tiles", "compute golden outputs", "generate code")


def build_application(
    model: Model,
    folder: Path,
    options: ClusterOptions,
    shapes: Shapes | None = None,
    on_phase: OnPhase | None = None,
    seed: int = 0,
    tuned: TunedPlans | None = None,
) -> ClusterManifest:
    """Compile a quantized network and write its application.

    The folder has an example input, seeded, and the golden output of every layer for it.

    Args:
        model: path of an ONNX file, or a model; see :func:`tvm_dwfuse.frontend.quantized.import_quantized`.
        folder: to write; an artifact that is there is replaced, by one rename when all went well.
        options: target, objective, variant, memory.
        shapes: shapes by input name, for inputs with dimensions left open.
        on_phase: called with each name of :data:`PHASES` as that phase begins.
        seed: of the example input.
        tuned: plans on record, taken where latency is the objective.

    Raises:
        DwfuseError: the network is not quantized or has an operator without an integer form, a layer does not fit, the
            variant is legal nowhere, or the folder cannot be written.
    """
    report = on_phase or (lambda phase: None)
    report(PHASES[0])
    network = import_network(model, shapes)
    ports = _ports(model, network)
    report(PHASES[1])
    plan = plan_network(network, options, tuned=tuned)
    report(PHASES[2])
    example = example_input(network, seed)
    golden = run_network(network, {network.inputs[0]: example})
    report(PHASES[3])
    manifest = _manifest(_model_name(model, network), plan, options, ports)
    with artifact.replacing(folder) as staging:
        write_project(plan.grouped, plan.memory, plan.machine, staging, golden=golden)
        manifest.write(staging)
    return manifest


def import_network(model: Model, shapes: Shapes | None = None) -> Network:
    """The integer network of a quantized ONNX model, by way of Relax: imported, partitioned and read back.

    Raises:
        DwfuseError: see :func:`build_application`.
    """
    module = import_quantized(model, shapes)
    partition = tvm.transform.Sequential([relay_passes.PartitionForCluster()])
    return read_network(partition(module))


def example_input(network: Network, seed: int = 0) -> np.ndarray:
    """A seeded uint8 HWC image whose neighbouring pixels are alike, as those of photographs."""
    a = network.activations[network.inputs[0]]
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 48, (-(-a.height // 8), -(-a.width // 8), a.channels))
    image = coarse.repeat(8, axis=0).repeat(8, axis=1)[: a.height, : a.width]
    image = a.zero_point + image + random.normal(0, 16, (a.height, a.width, a.channels))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _ports(model: Model, network: Network) -> tuple[Port, Port]:
    """Input and output, as the ONNX model has them."""
    proto = model if isinstance(model, onnx.ModelProto) else load_model(model, str(model))
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    for what, values in (("input", inputs), ("output", proto.graph.output)):
        if len(values) != 1:
            raise DwfuseError(
                f"{network.name}: {len(values)} {what}s; an application has one input and one output, cut the network"
            )
    return (
        _port(inputs[0], network.activations[network.inputs[0]]),
        _port(proto.graph.output[0], network.activations[network.outputs[0]]),
    )


def _port(value: onnx.ValueInfoProto, activation: Activation) -> Port:
    kind = value.type.tensor_type
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    dims = [dim.dim_value or 1 for dim in kind.shape.dim]
    if int(np.prod(dims)) != activation.bytes:  # dimensions left open
        dims = [1, activation.channels, activation.height, activation.width]
    return Port(TensorInfo(value.name, tuple(dims), dtype), activation)


def _manifest(name: str, plan: ClusterPlan, options: ClusterOptions, ports: tuple[Port, Port]) -> ClusterManifest:
    return ClusterManifest(
        model=name,
        options=options.to_dict(),
        input=ports[0],
        output=ports[1],
        groups=group_reports(plan),
        l1_bytes=plan.l1_bytes,
        l2_bytes=plan.l2_bytes,
        l3_bytes=plan.memory.l3_bytes,
        counters=plan.counters(),
        tvm_dwfuse=__version__,
    )


def _model_name(model: Model, network: Network) -> str:
    return network.name if isinstance(model, onnx.ModelProto) else Path(model).stem
