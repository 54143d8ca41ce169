"""The phases from an imported network to a module that TVM builds. The order stands here and nowhere else.

Importing this module registers them: ``relax.get_pipeline("dwfuse", target=..., threads=...)`` for CPUs and
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
    """All phases for a CPU, as one pass over a Relax module with ``main``.

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
        # 4. The rest of the network, by TVM's own operators and our schedules.
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        relay_passes.ScheduleRemaining(machine, threads),
        # 5. To the virtual machine.
        relax.pipeline.default_build_pipeline(),
    ]
    return tvm.transform.Sequential(phases, name="dwfuse")


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


def register() -> None:
    """Make the pipelines known by name, with the options of the functions above; harmless twice."""
    for name, build in (("dwfuse", build_pipeline), ("dwfuse_cluster", build_cluster_pipeline)):
        if name not in relax.pipeline.PIPELINE_MAP:
            relax.register_pipeline(name)(build)


register()
