"""Tuned plans of clusters, from the databases that records are in."""

from __future__ import annotations

import warnings
from pathlib import Path

from tvm_dwfuse.blocks import Conv
from tvm_dwfuse.targets import ClusterTarget
from tvm_dwfuse.tiling.tuned import TunedPlan

from .cluster_task import GVSOC_UNIT, MODEL_UNIT, ClusterTask
from .records import Record, Records

#: Of two records of a chain the simulated one counts, as the model is what it was judged by.
_UNITS = (GVSOC_UNIT, MODEL_UNIT)


class ClusterRecords:
    """The tuned plans in ``records``; a :class:`~tvm_dwfuse.tiling.tuned.TunedPlans`."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._found: dict[ClusterTask, TunedPlan | None] = {}

    @staticmethod
    def open(db: Path | None = None) -> ClusterRecords:
        """Those of the user's database, if there is one, and then those shipped.

        Raises:
            DwfuseError: ``db`` is no tuning database, or cannot be read.
        """
        return ClusterRecords(Records.open(db))

    def find(
        self,
        stages: tuple[Conv, ...],
        height: int,
        width: int,
        layouts: tuple[str, ...],
        target: ClusterTarget,
        variant: str,
    ) -> TunedPlan | None:
        """See :meth:`tvm_dwfuse.tiling.tuned.TunedPlans.find`."""
        task = ClusterTask(stages, height, width, layouts, variant, target)
        if task not in self._found:
            self._found[task] = self._find(task)
        return self._found[task]

    def _find(self, task: ClusterTask) -> TunedPlan | None:
        for unit in _UNITS:
            record = self._records.best(task.in_unit(unit).key)
            if record is None:
                continue
            if not task.makes_plan(record.point):
                warnings.warn(
                    f"{record.origin}: the record of {task.describe()} is of another version of dwfuse, and is left "
                    "out; tune it again",
                    stacklevel=2,
                )
            elif unit != MODEL_UNIT or task.gain(record.point) > 0:
                return _tuned(task, record)
        return None


def _tuned(task: ClusterTask, record: Record) -> TunedPlan:
    measured = round(record.cost) if record.unit == GVSOC_UNIT else None
    how = f"{record.origin}, by GVSOC" if measured else record.origin
    return TunedPlan(task.plan(record.point), how, measured)
