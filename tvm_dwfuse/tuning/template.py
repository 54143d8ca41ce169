"""Tasks as MetaSchedule sees them: a workload that is nothing but a key, and a trace that is nothing but decisions.

A kernel's knobs also decide how its weights are packed, and so its very definition; some kernels are written out as
statements. A trace therefore holds one ``sample_categorical`` a knob, and an annotation that names it; the kernel
itself is written by ``schedules.build_kernel`` from the decisions, as the default is from its knobs. The workload
carries the key in an attribute, so that records survive every renaming in a network and every change of a schedule.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx

from tvm_dwfuse.space import Point, Space

#: Attribute of a workload's ``main`` that holds the task's key.
KEY_ATTR = "dwfuse.task"

#: What the names of annotations begin with; the knob's name follows.
KNOB_PREFIX = "dwfuse."

_ROOT = "root"


def workload(key: str) -> tvm.IRModule:
    """The module that stands for the task with that key: a ``main`` without parameters that computes nothing."""
    body = s_tir.SBlock([], [], [], _ROOT, tirx.Evaluate(tirx.IntImm("int32", 0)))
    main = tirx.PrimFunc([], s_tir.SBlockRealize([], True, body))
    return tvm.IRModule({"main": main.with_attr("global_symbol", "main").with_attr(KEY_ATTR, key)})


def sample_knobs(sch: s_tir.Schedule, space: Space, point: Point | None = None) -> None:
    """The schedule function of a task: sample each knob of ``space``, or take its value from ``point``."""
    root = sch.get_sblock(_ROOT)
    for name, values in space.choices.items():
        decision = None if point is None else values.index(point[name])
        chosen = sch.sample_categorical(list(values), [1.0 / len(values)] * len(values), decision)
        sch.annotate(root, KNOB_PREFIX + name, chosen)


def schedule_at(space: Space, key: str, point: Point) -> s_tir.Schedule:
    """The workload of ``key``, its knobs decided as ``point`` says.

    Raises:
        ValueError: a value of ``point`` is none of the knob's choices.
    """
    sch = s_tir.Schedule(workload(key))
    sample_knobs(sch, space, point)
    return sch


def trace_at(space: Space, key: str, point: Point) -> s_tir.schedule.Trace:
    """The trace of :func:`schedule_at`, which is what a database keeps."""
    return schedule_at(space, key, point).trace


def point_of(sch: s_tir.Schedule) -> Point:
    """The point that a schedule of a workload stands for."""
    root = sch.mod["main"].body.block  # sch.get_sblock would add an instruction to the trace
    named = ((str(name), value) for name, value in root.annotations.items())
    return {name.removeprefix(KNOB_PREFIX): int(value) for name, value in named if name.startswith(KNOB_PREFIX)}


def point_in(trace: Any) -> Point:
    """The point in a trace as its JSON form has it: a list of instructions, and one of decisions.

    Raises:
        ValueError: not a trace of :func:`sample_knobs`.
    """
    try:
        instructions, decisions = trace
        chosen = {instructions[index][3][0]: int(instructions[index][2][0][decision]) for index, decision in decisions}
        return {
            attrs[0].removeprefix(KNOB_PREFIX): chosen[inputs[1]]
            for name, inputs, attrs, _ in instructions
            if name == "Annotate"
        }
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("the trace does not consist of knobs") from error
