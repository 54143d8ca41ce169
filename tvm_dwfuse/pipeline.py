"""The phases from an imported network to a module that TVM builds. The order stands here and nowhere else.

Importing this module registers them: ``relax.get_pipeline("dwfuse", target=..., threads=...)`` for CPUs,
``relax.get_pipeline("dwfuse_training", target=..., threads=...)`` for training graphs on CPUs, and
``relax.get_pipeline("dwfuse_cluster", target="gap8", ...)`` for quantized networks on clusters.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax import transform

import relay_passes

from .targets import CpuTarget, get_cpu


def build_pipeline(
    target: CpuTarget | str = "host", threads: int = 1, fuse: bool = True, variant: str | None = None
) -> tvm.transform.Pass:
    """All phases for a CPU, as one pass over a Relax module with ``main``; see :func:`lowering_pipeline`."""
    # The last phase: to the virtual machine.
    phases = [lowering_pipeline(target, threads, fuse, variant), relax.pipeline.default_build_pipeline()]
    return tvm.transform.Sequential(phases, name="dwfuse")


def lowering_pipeline(
    target: CpuTarget | str = "host", threads: int = 1, fuse: bool = True, variant: str | None = None
) -> tvm.transform.Pass:
    """The phases to a module whose ``main`` is nothing but calls of scheduled TensorIR functions.

    TVM's own ``default_build_pipeline`` takes it from there to the virtual machine, ``codegen_c`` to a C library.

    Args:
        target: the machine, or a name from ``tvm_dwfuse.targets.target_names()``.
        threads: threads that each kernel uses.
        fuse: whether separable blocks are fused; else every convolution is computed alone.
        variant: the variant to use wherever it is legal, instead of the default choice.

    Raises:
        DwfuseError: there is no such target.
        ValueError: there is no such variant.
    """
    machine = get_cpu(target) if isinstance(target, str) else target
    choose = relay_passes.prefer_variant(variant) if variant else relay_passes.same_layout_first
    phases = [
        # 1. One form for what can be written in many; activations NHWC from end to end.
        *relay_passes.canonicalize_passes(),
        # 2. Blocks become composites, then what is left of the convolutions does.
        *([relay_passes.FuseSeparableBlocks()] if fuse else []),
        relay_passes.FuseConvolutions(),
        # 3. Composites become scheduled kernels.
        relay_passes.ChooseVariants(choose),
        relay_passes.LowerComposites(machine, threads),
        # 4. The rest of the network.
        *_remaining_phases(machine, threads),
    ]
    return tvm.transform.Sequential(phases, name="dwfuse_lowering")


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


def code_settings() -> tvm.transform.PassContext:
    """A context to generate code in. TVM's search for common subexpressions is off: LLVM makes another one, and on
    register tiles written out as straight lines TVM's took half of the time of compilation.
    """
    return tvm.transform.PassContext(opt_level=3, config={"tirx.disable_cse_tir": True})


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
