"""ScheduleRemaining: every loop nest that no kernel of ours stands for gets vectors, and cores where it is worth it."""

from __future__ import annotations

import tvm
from tvm import relax, tirx

from schedules import elementwise, fallback, moves, reduction
from schedules.transcendentals import inline_transcendentals
from tvm_dwfuse.targets import CpuTarget

#: Tried in this order; each returns a scheduled function, or None for one that is not its own.
RULES = (moves.apply, elementwise.apply, reduction.apply, fallback.apply)

_AS_VIEWS = tvm.transform.Sequential(
    [relax.transform.RewriteDataflowReshape(), relax.transform.DeadCodeElimination()], name="ReshapesAsViews"
)


@tvm.transform.module_pass(opt_level=0, name="ScheduleRemaining")
class ScheduleRemaining:
    """Schedules the functions that ``LegalizeOps`` and ``FuseTIR`` left as plain loops.

    Runs behind ``FuseTIR``. Reshapes inside dataflow blocks become views first. A function marked
    ``tirx.is_scheduled`` is left as it is, and what a rule has scheduled is marked so. What no rule knows (a sort, a
    scatter, a dynamic shape) stays as it is but for its calls to libm.
    """

    def __init__(self, target: CpuTarget, threads: int = 1) -> None:
        self._target = target
        self._threads = threads

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with its remaining functions scheduled; ``mod`` itself stays as it is."""
        result = _AS_VIEWS(mod).clone()
        for name, func in result.functions.items():
            if isinstance(func, tirx.PrimFunc) and not func.attrs.get("tirx.is_scheduled", False):
                result[name] = self._schedule(func)
        return result

    def _schedule(self, func: tirx.PrimFunc) -> tirx.PrimFunc:
        for rule in RULES:
            scheduled = rule(func, self._target, self._threads)
            if scheduled is not None:
                return inline_transcendentals(scheduled).with_attr("tirx.is_scheduled", True)
        return inline_transcendentals(func)
