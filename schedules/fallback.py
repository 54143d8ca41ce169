"""Loop nests that no other rule knows, such as sums of two things at once: their outer loops are shared among cores."""

from __future__ import annotations

import math
from itertools import takewhile

from tvm import s_tir, tirx
from tvm.s_tir.schedule import ScheduleError
from tvm.tirx import IterVar

from tvm_dwfuse.targets import CpuTarget

from .analysis import has_root, is_worth_threads, leaf_blocks


def apply(func: tirx.PrimFunc, target: CpuTarget, threads: int) -> tirx.PrimFunc | None:
    """``func`` with the leading spatial loops of each large block in parallel; None if it has no such block."""
    del target
    if not has_root(func):
        return None
    sch = s_tir.Schedule(func)
    done = [_parallelize(sch, block, threads) for block in leaf_blocks(sch)]
    return sch.mod["main"] if any(done) else None


def _parallelize(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, threads: int) -> bool:
    extents = [sch.get(loop).extent for loop in sch.get_loops(block)]
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return False
    if not is_worth_threads(math.prod(map(int, extents)), threads):
        return False
    spatial = list(takewhile(lambda var: var.iter_type == IterVar.DataPar, sch.get(block).iter_vars))
    if not spatial:
        return False
    try:
        sch.parallel(sch.fuse(*sch.get_loops(block)[: len(spatial)]))
    except ScheduleError:  # the loops do not stand for those iterators one by one
        return False
    return True
