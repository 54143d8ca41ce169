"""Schedules for clusters with scratchpad memory: layer groups as loops over tiles, transfers and kernels of cores."""

from __future__ import annotations

from .build import build_group

__all__ = ["build_group"]
