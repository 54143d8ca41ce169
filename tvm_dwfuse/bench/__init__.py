"""Timing a network on several engines, interleaved in one run.

:mod:`.engines` starts each engine, :mod:`.worker` runs one of them in a process of its own, :mod:`.interleave` takes
turns between them, :mod:`.report` prints and writes what came out.
"""

from __future__ import annotations

from .engines import ENGINES, OURS, PEERS
from .interleave import Plan, benchmark
from .report import Result, Row

__all__ = ["ENGINES", "OURS", "PEERS", "Plan", "Result", "Row", "benchmark"]
