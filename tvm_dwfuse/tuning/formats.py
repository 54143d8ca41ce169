"""The lines of a tuning database: MetaSchedule's two kinds, and that of candidates that failed.

Lines are read as plain JSON, without TVM objects: a database of 50,000 records opens in about a second.
MetaSchedule writes a workload as ``[hash, module]``, the module being base64 of its length and TVM's JSON graph of it,
and a record as ``[workload, [[instructions, decisions], costs, target, arguments]]``.
"""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from tvm_dwfuse.space import Point

from .template import KEY_ATTR, point_in, workload

if TYPE_CHECKING:
    from tvm.s_tir.meta_schedule.database import Workload
    from tvm.s_tir.schedule import Trace
    from tvm.target import Target

#: The cost that MetaSchedule gives to what could not be measured, in seconds.
_FAILED = 1e10

#: Bytes before the JSON graph of a module: its length, little-endian.
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A point that was tried: its cost in the task's unit, or None and why it failed."""

    point: Point
    cost: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class FailureLine:
    """A failed candidate of the task ``key``, tried when the file of records had ``after`` lines."""

    key: str
    trial: Trial
    after: int


def workload_line(key: str) -> str:
    """The line of MetaSchedule's workload file for a task.

    MetaSchedule indents the JSON in it; without the spaces a line has half the length, and is read all the same.
    """
    checksum, module = _workload(key).as_json()
    graph = json.loads(base64.b64decode(module)[_LENGTH_BYTES:])
    data = _compact(graph).encode()
    return _compact([checksum, base64.b64encode(len(data).to_bytes(_LENGTH_BYTES, "little") + data).decode()])


def read_workload(line: bytes) -> str | None:
    """The key of a workload, or None if it is not one of ours.

    Raises:
        ValueError: not a line of a workload file.
    """
    try:
        _, module = _decode(line)
        nodes = _decode(base64.b64decode(module, validate=True)[_LENGTH_BYTES:])["nodes"]
        values = [node.get("data") for node in nodes]
        maps = [node["data"] for node in nodes if node["type"] == "ffi.Map"]
        items = (item for each in maps for item in zip(each[::2], each[1::2], strict=True))
        key = next((values[value] for name, value in items if values[name] == KEY_ATTR), None)
        return None if key is None else _key(key)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("not a workload of MetaSchedule") from error


def record_line(index: int, key: str, trace: Trace, cost: float, target: Target | None) -> str:
    """The line of MetaSchedule's record file for a candidate of the task ``key``, the workload of that index.

    It holds one cost, the one that counts: MetaSchedule would rank records by the mean of several.

    Raises:
        ValueError: the cost is not a positive number, or the trace is not one of knobs.
    """
    _check_cost(cost)
    record = _record(key, trace, cost, target)
    point_in(record[0])
    return pruned_line(index, record)


def pruned_line(index: int, record: list[Any]) -> str:
    """The line for a record that was read, of the workload that has now that index."""
    instructions, costs, target, arguments = record
    # TVM's order of a target's fields differs from one process to the next.
    return _compact([index, [instructions, costs, target and dict(sorted(target.items())), arguments]])


def record_in(line: bytes) -> list[Any]:
    """The record in a line that :class:`RecordReader` takes, as :func:`pruned_line` wants it."""
    record = _decode(line)[1]
    return [*record, *[None] * (4 - len(record))]


class RecordReader:
    """Reads the lines of a record file, the instructions that they share only once."""

    _HEAD = re.compile(rb"\[(0|[1-9]\d*),\[\[")
    _DECISIONS = b"]],[["

    def __init__(self) -> None:
        self._instructions: dict[bytes, list[Any]] = {}

    def read(self, line: bytes) -> tuple[int, Trial]:
        """The index of the workload, and the trial.

        Raises:
            ValueError: not the line of a record, or not one of knobs; the message says which.
        """
        try:
            index, instructions, decisions, costs = self._split(line)
        except (ValueError, TypeError):
            index, instructions, decisions, costs = _parse_record(line)
        cost = _mean(costs)
        point = point_in((instructions, decisions))
        return index, Trial(point, None, "not measured") if cost >= _FAILED else Trial(point, cost)

    def _split(self, line: bytes) -> tuple[int, Any, Any, Any]:
        """As :func:`_parse_record`, fast for compact JSON with decisions.

        Each part is whole JSON, and the line is these parts put together; so no other line is taken for a record.
        """
        head = self._HEAD.match(line)
        if not head:
            raise ValueError
        end = line.index(self._DECISIONS, head.end()) + 2
        text = line[head.end() : end]
        instructions = self._instructions.get(text)
        if instructions is None:
            instructions = self._instructions[text] = _decode(text)
        ((decisions,), costs, *_), *rest = _decode(b"[[[" + line[end + 1 :])
        if rest:
            raise ValueError
        return int(head[1]), instructions, decisions, costs


def failure_line(key: str, trace: Trace, error: str, after: int) -> str:
    """The line for a candidate that failed when the file of records had ``after`` lines."""
    point = point_in(_record(key, trace, _FAILED, None)[0])
    return _compact({"after": after, "error": error, "key": key, "point": point})


def read_failure(line: bytes) -> FailureLine:
    """What :func:`failure_line` wrote.

    Raises:
        ValueError: it did not write that.
    """
    try:
        fields = _decode(line)
        point = {str(name): int(value) for name, value in fields["point"].items()}
        return FailureLine(_key(fields["key"]), Trial(point, None, _text(fields["error"])), int(fields["after"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a failed candidate") from error


@lru_cache(maxsize=64)
def _workload(key: str) -> Workload:
    from tvm.s_tir.meta_schedule.database import Workload

    return Workload(workload(key))


def _record(key: str, trace: Trace, cost: float, target: Target | None) -> list[Any]:
    from tvm.s_tir.meta_schedule.database import TuningRecord

    return TuningRecord(trace, _workload(key), [cost], target, []).as_json()


def _parse_record(line: bytes) -> tuple[int, Any, Any, Any]:
    fields = _decode(line)
    try:
        index, ((instructions, decisions), costs, *_) = fields
        return int(index), instructions, decisions, costs
    except (TypeError, ValueError) as error:
        raise ValueError("not a tuning record") from error


def _mean(costs: Any) -> float:
    try:
        mean = sum(costs) / len(costs)
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError("no cost") from error
    _check_cost(mean)
    return float(mean)


def _check_cost(cost: float) -> None:
    if not 0 < cost < math.inf:
        raise ValueError("the cost is not a positive number")


def _key(value: Any) -> str:
    if not isinstance(_decode(_text(value).encode()), dict):
        raise ValueError("not the key of a task")
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _decode(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
