"""Descriptions of the machines that code is generated for: one frozen object each, every number with its source."""

from __future__ import annotations

from .cpu import CpuTarget, host_target

__all__ = ["CpuTarget", "get_target", "host_target", "target_names"]


def target_names() -> list[str]:
    """Names that :func:`get_target` knows."""
    return ["host"]


def get_target(name: str = "host") -> CpuTarget:
    """The description of the target called ``name``.

    Raises:
        DwfuseError: there is no such target; the message lists those there are.
    """
    from tvm_dwfuse.errors import DwfuseError

    if name != "host":
        raise DwfuseError(f"unknown target {name!r}; known targets: {', '.join(target_names())}")
    return host_target()
