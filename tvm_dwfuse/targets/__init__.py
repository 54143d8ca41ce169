"""Descriptions of the machines that code is generated for: one frozen object each, every number with its source."""

from __future__ import annotations

from .armv8 import ARMV8_TARGETS
from .cpu import CpuTarget, host_target
from .gap8 import CLUSTER_TARGETS, ClusterTarget
from .x86 import X86_TARGETS, check_compiles_here

__all__ = [
    "ARMV8_TARGETS",
    "CLUSTER_TARGETS",
    "X86_TARGETS",
    "ClusterTarget",
    "CpuTarget",
    "get_cpu",
    "get_target",
    "host_target",
    "target_names",
]


def target_names() -> list[str]:
    """Names that :func:`get_target` knows."""
    return ["host", *X86_TARGETS, *ARMV8_TARGETS, *CLUSTER_TARGETS]


def get_target(name: str = "host") -> CpuTarget | ClusterTarget:
    """The description of the target called ``name``.

    Raises:
        DwfuseError: there is no such target; the message lists those there are.
    """
    from tvm_dwfuse.errors import DwfuseError

    if name in CLUSTER_TARGETS:
        return CLUSTER_TARGETS[name]
    if name in X86_TARGETS:
        return X86_TARGETS[name]
    if name in ARMV8_TARGETS:
        return ARMV8_TARGETS[name]
    if name != "host":
        raise DwfuseError(f"unknown target {name!r}; known targets: {', '.join(target_names())}")
    return host_target()


def get_cpu(name: str = "host") -> CpuTarget:
    """The description of the CPU called ``name``, for what does not exist on clusters.

    Raises:
        DwfuseError: there is no such target, it is a cluster, or it is for x86-64 and this machine is not.
    """
    from tvm_dwfuse.errors import DwfuseError

    target = get_target(name)
    if isinstance(target, ClusterTarget):
        raise DwfuseError(
            f"target {name!r}: not a CPU; `dwfuse compile --target {name}` builds an application for it, and "
            "`dwfuse run` and `dwfuse explain` take that"
        )
    check_compiles_here(target)
    return target
