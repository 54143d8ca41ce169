"""The phases from an imported network to a module that TVM builds. The order stands here and nowhere else.

Importing this module registers them: ``relax.get_pipeline("dwfuse", target=..., threads=...)`` for CPUs,
``relax.get_pipeline("dwfuse_training", target=..., threads=...)`` for training graphs on CPUs, and
``relax.get_pipeline("dwfuse_cluster", target="gap8", ...)`` for quantized networks on clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax
from tvm.relax import transform

import relay_passes
from relay_passes import FixedRule, FusionPlan, FusionPlanner, KernelPrices

from .choice import Objective
from .targets import CpuTarget, get_cpu

if TYPE_CHECKING:
    from .tuning.records import Records


def build_pipeline(
    target: CpuTarget | str = "host",
    threads: int = 1,
    fuse: bool = True,
    variant: str | None = None,
    db: str | Path | None = None,
    objective: str | None = None,
    tuned: bool = True,
) -> tvm.transform.Pass:
    """All phases for a CPU, as one pass over a Relax module with ``main``; options as of ``tvm_dwfuse.compile``."""
    records = open_records(db, tuned)
    # The last phase: to the virtual machine.
    phases = [
        lowering_pipeline(target, threads, fuse, variant, records, objective),
        relax.pipeline.default_build_pipeline(),
    ]
    return tvm.transform.Sequential(phases, name="dwfuse")


def open_records(db: str | Path | None = None, tuned: bool = True) -> Records | None:
    """The records of the database in the folder ``db``, if any, and of those shipped; None if ``tuned`` is False.

    Raises:
        DwfuseError: see :meth:`Records.open`.
    """
    if not tuned:
        return None
    from .tuning.records import Records

    return Records.open(Path(db) if db else None)


def lowering_pipeline(
    target: CpuTarget | str = "host",
    threads: int = 1,
    fuse: bool = True,
    variant: str | None = None,
    records: Records | None = None,
    objective: str | None = None,
    memory_limit: int | None = None,
) -> tvm.transform.Pass:
    """The phases to a module whose ``main`` is nothing but calls of scheduled TensorIR functions.

    TVM's own ``default_build_pipeline`` takes it from there to the virtual machine, ``codegen_c`` to a C library.

    Args:
        target: the machine, or a name from ``tvm_dwfuse.targets.target_names()``.
        threads: threads that each kernel uses.
        fuse: whether separable blocks are fused; else every convolution is computed alone.
        variant: the variant to use wherever it is legal, in the blocks that the default rule takes.
        records: of tuning; the kernels that have one are built with its knobs.
        objective: what is minimised, see :meth:`Objective.parse`. None is the latency where there are records, and
            else the default rule, which asks for no costs: the longest blocks in program order.
        memory_limit: bytes of activations that may be alive at once.

    Raises:
        DwfuseError: there is no such target or objective.
        RuntimeError: (when run) nothing fits the limit of memory.
        ValueError: there is no such variant.
    """
    machine = get_cpu(target) if isinstance(target, str) else target
    planner = fusion_planner(machine, threads, fuse, variant, records, objective, memory_limit)
    # One form for what can be written in many; activations NHWC from end to end.
    phases = [*relay_passes.canonicalize_passes(), planned_pipeline(machine, threads, planner.prices, planner.plan)]
    return tvm.transform.Sequential(phases, name="dwfuse_lowering")


def planned_pipeline(
    machine: CpuTarget, threads: int, prices: KernelPrices, plan_for: Callable[[tvm.IRModule], FusionPlan]
) -> tvm.transform.Pass:
    """The phases of :func:`lowering_pipeline` behind those to canonical form, by the plan for the module."""
    phases = [
        # 1. Blocks become composites, then what is left of the convolutions does.
        relay_passes.ChooseFusion(plan_for),
        relay_passes.FuseConvolutions(),
        # 2. Composites become scheduled kernels.
        relay_passes.LowerComposites(machine, threads, prices.tuned_knobs),
        # 3. The rest of the network.
        *_remaining_phases(machine, threads),
    ]
    return tvm.transform.Sequential(phases, name="dwfuse_planned")


def fusion_planner(
    machine: CpuTarget,
    threads: int = 1,
    fuse: bool = True,
    variant: str | None = None,
    records: Records | None = None,
    objective: str | None = None,
    memory_limit: int | None = None,
) -> FusionPlanner:
    """What chooses the kernels of a network; arguments and errors as of :func:`lowering_pipeline`."""
    rule = _fixed_rule(fuse, variant, by_cost=records is not None or objective is not None)
    wanted = Objective.parse(objective or "latency")
    return FusionPlanner(KernelPrices(machine, threads, records), wanted, rule, memory_limit)


def _fixed_rule(fuse: bool, variant: str | None, by_cost: bool) -> FixedRule | None:
    """The rule that is followed whatever it costs, if there is one."""
    if not fuse:
        return relay_passes.UNFUSED
    if variant:
        return FixedRule(f"variant {variant}", choose=relay_passes.prefer_variant(variant))
    return None if by_cost else relay_passes.FUSED


def build_training_pipeline(
    target: CpuTarget | str = "host", threads: int = 1, depthwise: bool = True
) -> tvm.transform.Pass:
    """All phases for a training graph, as one pass over what ``SetupTrainer(..., legalize=False)`` returns.

    Args:
        target: the machine, or a name from ``tvm_dwfuse.targets.target_names()``.
        threads: threads that each kernel uses.
        depthwise: whether depthwise convolutions and their gradients become our kernels; else they are left to TVM.

    Raises:
        DwfuseError: there is no such target.
    """
    machine = get_cpu(target) if isinstance(target, str) else target
    phases = [
        # 1. Depthwise convolutions and their gradients become scheduled kernels, pointwise ones matrix products.
        *([relay_passes.LowerDepthwiseTraining(machine, threads)] if depthwise else []),
        relay_passes.PointwiseToMatmul(),
        # 2. The rest of the graph.
        *_remaining_phases(machine, threads),
        # 3. To the virtual machine.
        relax.pipeline.default_build_pipeline(),
    ]
    return tvm.transform.Sequential(phases, name="dwfuse_training")


def _remaining_phases(machine: CpuTarget, threads: int) -> list[tvm.transform.Pass]:
    """What no kernel of ours stands for: TVM's own operators, fused, in our schedules."""
    return [
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        relay_passes.ScheduleRemaining(machine, threads),
    ]


def build_cluster_pipeline(target: str = "gap8", **options: Any) -> tvm.transform.Pass:
    """All phases for a network of ``tvm_dwfuse.frontend.import_quantized``, as one pass over a Relax module.

    What a cluster computes becomes the code that it would run there, built for this machine, so that the network can be
    checked in TVM's virtual machine; the rest is TVM's. ``dwfuse compile --target gap8`` writes the application.

    Args:
        target: a name of ``tvm_dwfuse.targets.CLUSTER_TARGETS``.
        options: other fields of :class:`~tvm_dwfuse.cluster_options.ClusterOptions`.

    Raises:
        DwfuseError: there is no such target or option, or a value is not legal.
    """
    from .codegen_gap8 import byoc

    byoc.register()
    phases = [
        # 1. Integer layers become regions.
        relay_passes.PartitionForCluster(target, **options),
        # 2. Regions become C, and the C a library.
        transform.RunCodegen(),
        # 3. The rest, and to the virtual machine.
        relax.pipeline.default_build_pipeline(),
    ]
    return tvm.transform.Sequential(phases, name="dwfuse_cluster")


def code_settings(without: Sequence[str] = ()) -> tvm.transform.PassContext:
    """A context to generate code in, ``without`` the passes of these names. TVM's search for common subexpressions is
    off: LLVM makes another one, and on register tiles written out as straight lines TVM's took half of the time of
    compilation.
    """
    config = {"tirx.disable_cse_tir": True}
    return tvm.transform.PassContext(opt_level=3, config=config, disabled_pass=list(without))


def register() -> None:
    """Make the pipelines known by name, with the options of the functions above; harmless twice."""
    builders = {
        "dwfuse": build_pipeline,
        "dwfuse_training": build_training_pipeline,
        "dwfuse_cluster": build_cluster_pipeline,
    }
    for name, build in builders.items():
        if name not in relax.pipeline.PIPELINE_MAP:
            relax.register_pipeline(name)(build)


register()
