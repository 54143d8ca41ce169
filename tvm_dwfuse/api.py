"""The typed calls of the package: compile a network, load an artifact, explain what was fused."""

from __future__ import annotations

import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from . import __version__, artifact, linker
from .artifact import Manifest, TargetInfo, TensorInfo
from .choice import Objective
from .chosen import Choice, Step
from .cross_network import CrossNetwork
from .errors import DwfuseError
from .network import CompiledNetwork, OperatorTime
from .threads import check as check_threads
from .threads import check_elsewhere
from .variants import VARIANTS, Variant

if TYPE_CHECKING:
    import onnx
    import tvm

    from relay_passes import BlockReport

    from .targets import CpuTarget
    from .tuning.records import Records

Model: TypeAlias = "str | Path | onnx.ModelProto | tvm.IRModule"
Shapes = Mapping[str, tuple[int, ...]]

#: Inputs and outputs.
Signature = tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]

#: Called with the name of each phase of a compilation as it begins.
OnPhase = Callable[[str], None]

PHASES = ("import", "fuse and schedule", "generate code", "link", "load")

#: The same for a target other than the host.
CROSS_PHASES = (*PHASES[:-1], "C library")

# LLVM's feature lists also name tuning hints and privileged instructions; only these extensions appear in our code.
# 64-bit Arm always has neon; of its others, such as dotprod, LLVM does not tell whether the host has them.
_CODE_FEATURES = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "lzcnt", "popcnt", "sve")


def compile(
    model: Model,
    target: str = "host",
    threads: int | None = None,
    shapes: Shapes | None = None,
    fuse: bool = True,
    variant: str | None = None,
    c_library: bool = True,
    on_phase: OnPhase | None = None,
    db: str | Path | None = None,
    objective: str | None = None,
    tuned: bool = True,
    memory_limit: int | None = None,
) -> CompiledNetwork:
    """Compile a network for a target.

    Args:
        model: path of an ONNX file, an ``onnx.ModelProto``, or a Relax ``IRModule`` with a ``main``.
        target: a name from ``tvm_dwfuse.targets.target_names()``.
        threads: threads that a run uses; None for every core this process may run on, or 1 for another machine.
        shapes: shapes by input name, for inputs with dimensions left open.
        fuse: whether separable blocks are fused; False compiles every convolution alone.
        variant: use this variant for every block it supports, instead of choosing block by block.
        c_library: whether a target other than the host also gets a plain C library; without it qemu cannot run it.
        on_phase: called with each name of :data:`PHASES`, or :data:`CROSS_PHASES`, as that phase begins.
        db: folder with the records of ``dwfuse tune``, which go before those that the package ships.
        objective: what to minimise by choosing what is fused and how: "latency", "traffic", "energy", "memory", or
            weights such as "latency=1,traffic=0.2". None is the latency, or without ``tuned`` no choice by costs: the
            longest blocks are fused in the order of the program.
        tuned: whether kernels are built by the records of tuning that there are; else all by default knobs.
        memory_limit: bytes of activations that may be alive at once.

    Returns:
        The network, loaded; for a target other than the host a :class:`~tvm_dwfuse.cross_network.CrossNetwork`, which
        runs under qemu and cannot be timed.

    Raises:
        DwfuseError: the model cannot be read or supported, a shape is left open, the target, the variant, the
            objective, the database or the number of threads does not exist, nothing fits the limit of memory, or there
            is no compiler to link with.
    """
    report = on_phase or (lambda phase: None)
    machine = _target(target)
    _check_runs_here(machine)
    if variant is not None:
        _check_variant(variant)
    count = check_elsewhere(threads) if machine.triple else check_threads(threads)
    choosing = _Choosing(fuse, variant, _records(db, tuned), _objective(objective), memory_limit)
    _check_compilers(machine, c_library)

    report("import")
    module = import_model(model, shapes)
    report("fuse and schedule")
    lowered, choice = _lower(module, machine, count, choosing)
    fused = _count_fused(lowered)
    if variant is not None and variant not in fused:
        warnings.warn(
            f"variant {variant} applies to no block of {_model_name(model)}; networks run in NHWC", stacklevel=2
        )
    manifest = _manifest(model, module, machine, count, fused, choice)
    report("generate code")
    executable = _build(lowered, machine)
    report("link")
    scratch = tempfile.TemporaryDirectory(prefix="dwfuse-")
    library = Path(scratch.name) / artifact.LIBRARY
    executable.export_library(str(library), fcompile=linker.link, arch=machine.arch)
    if not machine.triple:
        report("load")
        return CompiledNetwork(library, manifest, scratch)
    network = CrossNetwork(library, manifest, scratch)
    if c_library:
        report("C library")
        _write_c_library(lowered, manifest, machine, network.c_library)
    return network


def load(folder: str | Path) -> CompiledNetwork:
    """Load the artifact ``folder`` that ``CompiledNetwork.save`` or ``dwfuse compile`` wrote.

    Raises:
        DwfuseError: not an artifact, or one of another version, for another CPU, or for more threads than there are.
    """
    folder = Path(folder)
    manifest = artifact.read(folder)
    artifact.check_host(folder, manifest, platform.machine(), _host_features())
    check_threads(manifest.threads)
    return CompiledNetwork(folder / artifact.LIBRARY, manifest)


@dataclass(frozen=True)
class ExplainedBlock:
    """What becomes of one depthwise convolution.

    ``variant`` names the kernel that computes it, None if not fused; ``step`` is all about that kernel, None where the
    convolution has a form that none of ours computes. ``objective`` says which costs to tell.
    """

    report: BlockReport
    variant: str | None
    step: Step | None = None
    objective: str = "latency"

    def __str__(self) -> str:
        text = f"{self.report}, as {self.variant}" if self.variant else str(self.report)
        return f"{text}\n    {self.step.describe(Objective.parse(self.objective))}" if self.step else text


@dataclass(frozen=True)
class Explanation:
    """What :func:`explain` found.

    ``blocks`` are the depthwise convolutions, ``choice`` is all that was chosen; ``profile`` has the time by operator,
    and ``front`` the Pareto front as a table, where they were asked for.
    """

    model: str
    blocks: tuple[ExplainedBlock, ...]
    profile: tuple[OperatorTime, ...] = ()
    choice: Choice | None = None
    front: str = ""


def explain(
    model: Model,
    target: str = "host",
    threads: int | None = None,
    shapes: Shapes | None = None,
    profile: bool = False,
    on_phase: OnPhase | None = None,
    db: str | Path | None = None,
    objective: str | None = None,
    tuned: bool = True,
    memory_limit: int | None = None,
    pareto: bool = False,
) -> Explanation:
    """Tell which separable blocks a network has, how each is fused, and why not where it is not.

    Args:
        model, target, threads, shapes, on_phase, db, objective, tuned, memory_limit: see :func:`compile`.
        profile: also compile the network and time its operators.
        pareto: also find all choices none of which is as good as another in latency, traffic, energy and memory.

    Raises:
        DwfuseError: see :func:`compile`.
    """
    machine = _target(target)
    if machine.triple and profile:
        raise DwfuseError(f"target {target!r}: only a network for this machine can be profiled; leave --profile out")
    count = check_elsewhere(threads) if machine.triple else check_threads(threads)
    choosing = _Choosing(True, None, _records(db, tuned), _objective(objective), memory_limit)
    explanation = _explain(model, import_model(model, shapes), machine, count, choosing, pareto)
    if not profile:
        return explanation
    network = compile(
        model,
        target,
        threads,
        shapes,
        on_phase=on_phase,
        db=db,
        objective=objective,
        tuned=tuned,
        memory_limit=memory_limit,
    )
    return replace(explanation, profile=tuple(network.profile()))


def signature(model: Model, shapes: Shapes | None = None) -> Signature:
    """The inputs and outputs that ``model`` will have when compiled.

    Raises:
        DwfuseError: see :func:`compile`.
    """
    return _signature(model, import_model(model, shapes))


def _check_runs_here(machine: CpuTarget) -> None:
    """Refuse a target of this machine's architecture whose instructions its CPU does not have."""
    missing = sorted(set(_target_info(machine).features) - _host_features())
    if missing and not machine.triple:
        raise DwfuseError(f"target {machine.name!r}: this CPU lacks {', '.join(missing)}; leave --target out")


def _target(name: str) -> CpuTarget:
    from .targets import get_cpu

    return get_cpu(name)


def _check_variant(name: str) -> None:
    try:
        Variant.parse(name)
    except ValueError as error:
        raise DwfuseError(str(error)) from error


def import_model(model: Model, shapes: Shapes | None) -> tvm.IRModule:
    """The Relax module of a network; a module is taken as it is.

    Raises:
        DwfuseError: the model cannot be read or supported, or a shape is left open.
    """
    import tvm

    if isinstance(model, tvm.IRModule):
        return model
    from .frontend import import_onnx

    return import_onnx(model, shapes=dict(shapes) if shapes else None)


@dataclass(frozen=True)
class _Choosing:
    """How kernels are chosen, see :func:`compile`; ``records`` is None where none are wanted."""

    fuse: bool
    variant: str | None
    records: Records | None
    objective: str | None
    memory_limit: int | None


def _records(db: str | Path | None, tuned: bool) -> Records | None:
    if db is not None and not tuned:
        raise DwfuseError(f"{db}: records are not wanted without tuning; leave --db or --no-tuned out")
    from .pipeline import open_records

    return open_records(db, tuned)


def _objective(text: str | None) -> str | None:
    return None if text is None else str(Objective.parse(text))


def _lower(module: tvm.IRModule, machine: CpuTarget, threads: int, choosing: _Choosing) -> tuple[tvm.IRModule, Choice]:
    from .pipeline import fusion_planner, planned_pipeline
    from .plan_choice import choice_of

    planner = fusion_planner(machine, threads, **vars(choosing))
    with machine.tvm_target():
        canonical = _canonical(module)
        plan = planner.plan(canonical)  # here and not in a pass, out of which errors come as other ones
        lowered = planned_pipeline(machine, threads, planner.prices, lambda _: plan)(canonical)
    return lowered, choice_of(plan, machine, lowered)


def _canonical(module: tvm.IRModule) -> tvm.IRModule:
    import tvm

    import relay_passes

    return tvm.transform.Sequential(relay_passes.canonicalize_passes())(module)


def _build(lowered: tvm.IRModule, machine: CpuTarget) -> Any:
    import tvm

    from .pipeline import code_settings

    with code_settings():
        return tvm.compile(lowered, machine.tvm_target(), relax_pipeline=tvm.relax.pipeline.default_build_pipeline())


def _check_compilers(machine: CpuTarget, c_library: bool) -> None:
    """Find out early, before minutes of compiling, that there is nothing to link with."""
    linker.command(machine.arch)
    if machine.triple and c_library:
        from .codegen_c import tools

        tools.compiler(machine.arch)


def _write_c_library(lowered: tvm.IRModule, manifest: Manifest, machine: CpuTarget, folder: Path) -> None:
    from .codegen_c import write_c_library
    from .pipeline import code_settings

    folder.mkdir()
    with code_settings():
        write_c_library(lowered, manifest, machine, folder)


def _explain(
    model: Model, module: tvm.IRModule, machine: CpuTarget, threads: int, choosing: _Choosing, pareto: bool
) -> Explanation:
    import relay_passes

    from .pipeline import fusion_planner
    from .plan_choice import choice_of, front_text

    canonical = _canonical(module)
    planner = fusion_planner(machine, threads, **vars(choosing))
    plan = planner.plan(canonical)
    choice = choice_of(plan, machine)
    steps = {layer: step for step in choice.steps for layer in step.layers}
    blocks = []
    left_out = "cheaper apart than as" if plan.rule == "cheapest" else "no kernel of ours computes"
    for report in relay_passes.explain_blocks(canonical, plan.resolve, left_out):
        step = steps.get(report.conv)
        blocks.append(ExplainedBlock(report, step.variant if step else None, step, choice.objective))
    name = _model_name(model)
    front = front_text(name, planner.pareto(canonical)) if pareto else ""
    return Explanation(name, tuple(blocks), choice=choice, front=front)


def _manifest(
    model: Model, module: tvm.IRModule, machine: CpuTarget, threads: int, fused: dict[str, int], choice: Choice
) -> Manifest:
    inputs, outputs = _signature(model, module)
    return Manifest(
        model=_model_name(model),
        target=_target_info(machine),
        threads=threads,
        inputs=inputs,
        outputs=outputs,
        tvm=version("apache-tvm"),
        tvm_dwfuse=__version__,
        fused=fused,
        choice=choice,
    )


def _signature(model: Model, module: tvm.IRModule) -> Signature:
    """Inputs and outputs of ``main``, by the names that an ONNX model gives them."""
    main = module["main"]
    results = main.ret_ty.fields if hasattr(main.ret_ty, "fields") else [main.ret_ty]
    input_names, output_names = _onnx_names(model)
    inputs = tuple(_tensor_info(param.name, param.ty) for param in main.params)
    outputs = tuple(_tensor_info(f"output_{i}", result) for i, result in enumerate(results))
    return _renamed(inputs, input_names), _renamed(outputs, output_names)


def _tensor_info(name: str, kind: Any) -> TensorInfo:
    import tvm

    if not isinstance(kind, tvm.relax.TensorType):
        raise DwfuseError(f"{name!r} of main: is {kind}, not a tensor")
    dims = kind.shape.values if hasattr(kind.shape, "values") else []
    if len(dims) != kind.ndim or not all(isinstance(dim, tvm.tirx.IntImm) for dim in dims):
        raise DwfuseError(f"{name!r} of main: shape {kind.shape} has open dimensions; give every dimension a number")
    return TensorInfo(name, tuple(int(dim) for dim in dims), str(kind.dtype))


def _onnx_names(model: Model) -> tuple[list[str], list[str]]:
    """Input and output names as the ONNX graph has them: Relax replaces what is no identifier, and names no outputs."""
    import onnx

    if isinstance(model, (str, Path)):
        model = onnx.load(model, load_external_data=False)
    if not isinstance(model, onnx.ModelProto):
        return [], []
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    return inputs, [value.name for value in model.graph.output]


def _renamed(tensors: tuple[TensorInfo, ...], names: list[str]) -> tuple[TensorInfo, ...]:
    if len(names) != len(tensors):
        return tensors
    return tuple(replace(info, name=name) for info, name in zip(tensors, names, strict=True))


def _model_name(model: Model) -> str:
    import onnx

    if isinstance(model, (str, Path)):
        return Path(model).stem
    return (model.graph.name if isinstance(model, onnx.ModelProto) else "") or "network"


def _target_info(machine: CpuTarget) -> TargetInfo:
    from tvm.target import codegen

    features = sorted(str(feature) for feature in codegen.llvm_get_cpu_features(machine.tvm_target()))
    in_code = tuple(feature for feature in features if feature.startswith(_CODE_FEATURES))
    return TargetInfo(machine.name, machine.arch, machine.mcpu, in_code, machine.triple)


def _host_features() -> frozenset[str]:
    import tvm

    features = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    return frozenset(str(feature) for feature, present in features.items() if present)


def _count_fused(lowered: tvm.IRModule) -> dict[str, int]:
    """Calls of fused kernels in a lowered module by variant; kernels are called ``<variant>_<size and channels>``."""
    import tvm

    callees: list[str] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, tvm.relax.Call) and expr.op == tvm.ir.Op.get("relax.call_tir"):
            callees.append(expr.args[0].name_hint)

    tvm.relax.analysis.post_order_visit(lowered["main"].body, visit)
    counts = {name: sum(callee.startswith(f"{name}_") for callee in callees) for name in VARIANTS}
    return {name: count for name, count in counts.items() if count}
