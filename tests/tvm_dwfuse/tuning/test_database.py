"""Tuning databases: what is added is there, MetaSchedule reads it and is read, broken lines are told and skipped."""

from __future__ import annotations

import json
import math
import random
import time
from itertools import permutations
from pathlib import Path

import pytest
import tvm
from tvm.s_tir import meta_schedule as ms

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import host_target
from tvm_dwfuse.tuning import formats
from tvm_dwfuse.tuning.database import FAILURES, RECORDS, WORKLOADS, Trial, TuningDatabase, is_database
from tvm_dwfuse.tuning.measure import Measurement
from tvm_dwfuse.tuning.template import point_of, trace_at, workload

from .databases import KEY, OTHER, SPACE, Warnings, add, add_failed, point


def _opened_by_metaschedule(folder: Path) -> ms.database.JSONDatabase:
    return ms.database.JSONDatabase(work_dir=str(folder), module_equality="structural")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _point_of_best(database: ms.database.JSONDatabase, key: str) -> dict[str, int]:
    """That of MetaSchedule's best record, its trace replayed."""
    module = workload(key)
    sch = tvm.s_tir.Schedule(module)
    database.query_tuning_record(module, tvm.target.Target("llvm"), "main").trace.apply_to_schedule(sch, False)
    return point_of(sch)


def test_trials_come_back_in_the_order_of_trying(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path)
    add(database, 0, 3e-3)
    add_failed(database, 1, "crash: signal 11")
    add(database, 2, 1e-3)
    add_failed(database, 3, "timeout: 10 s", OTHER)
    add(database, 4, 2e-3)
    expected = [
        Trial(point(0), 3e-3),
        Trial(point(1), None, "crash: signal 11"),
        Trial(point(2), 1e-3),
        Trial(point(4), 2e-3),
    ]
    for opened in (database, TuningDatabase(tmp_path)):
        assert opened.trials(KEY) == expected
        assert opened.trials(OTHER) == [Trial(point(3), None, "timeout: 10 s")]
        assert opened.best(KEY) == Trial(point(2), 1e-3)
        assert opened.best(OTHER) is None
        assert sorted(opened.keys()) == [KEY, OTHER]
        assert opened.trials("{}") == []


def test_the_median_counts(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path)
    database.add(KEY, trace_at(SPACE, KEY, point(0)), Measurement((1.0, 2.0, 90.0)))
    database.add(KEY, trace_at(SPACE, KEY, point(1)), Measurement((3.0, 3.0, 3.0)))
    assert [trial.cost for trial in database.trials(KEY)] == [2.0, 3.0]
    assert _point_of_best(_opened_by_metaschedule(tmp_path), KEY) == point(0)


def test_metaschedule_reads_ours(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path)
    target = host_target().tvm_target()
    costs = {KEY: (3.0, 0.7, 5.0), OTHER: (1e-6, 2e-6, 0.3e-6)}
    for number in range(3):
        for key in costs:
            measured = Measurement((costs[key][number],))
            database.add(key, trace_at(SPACE, key, point(number)), measured, target)
    add_failed(database, 9, "build: no")
    theirs = _opened_by_metaschedule(tmp_path)
    assert len(theirs) == 6
    for key, number in ((KEY, 1), (OTHER, 2)):
        best = database.best(key)
        assert best is not None
        assert _point_of_best(theirs, key) == best.point == point(number)
        record = theirs.query_tuning_record(workload(key), target, "main")
        assert [float(cost) for cost in record.run_secs] == [best.cost]
        assert str(record.target) == str(target)


def test_of_equal_costs_the_first_is_best_as_in_metaschedule(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path)
    for number, cost in ((5, 2.0), (7, 1.0), (3, 1.0), (9, 1.0)):
        add(database, number, cost)
    best = database.best(KEY)
    assert best is not None
    assert best.point == point(7) == _point_of_best(_opened_by_metaschedule(tmp_path), KEY)


def test_metaschedule_is_read(tmp_path: Path) -> None:
    theirs = _opened_by_metaschedule(tmp_path)
    for key in (KEY, OTHER):
        committed = theirs.commit_workload(workload(key))
        for number, costs in ((1, [3e-3, 5e-3]), (2, [1e-3]), (3, [1e10])):
            trace = trace_at(SPACE, key, point(number))
            record = ms.database.TuningRecord(trace, committed, costs, tvm.target.Target("llvm"), [])
            theirs.commit_tuning_record(record)
    told = Warnings()
    database = told.open(tmp_path)
    for key in (KEY, OTHER):
        assert database.trials(key)[:2] == [Trial(point(1), pytest.approx(4e-3)), Trial(point(2), 1e-3)]
        assert database.trials(key)[2].cost is None
        best = database.best(key)
        assert best is not None
        assert best.point == _point_of_best(theirs, key)
    add(database, 4, 5e-4)
    assert _point_of_best(_opened_by_metaschedule(tmp_path), KEY) == point(4)
    assert len(_lines(tmp_path / WORKLOADS)) == 2
    assert told == []


def test_what_another_process_adds_is_seen(tmp_path: Path) -> None:
    first, second = TuningDatabase(tmp_path), TuningDatabase(tmp_path)
    add(first, 0, 2.0)
    add(second, 1, 1.0, OTHER)
    add(first, 2, 1.0)
    assert [trial.point for trial in second.trials(KEY)] == [point(0), point(2)]
    assert [trial.point for trial in first.trials(OTHER)] == [point(1)]
    assert first.best(KEY) == Trial(point(2), 1.0)


def test_files_that_are_replaced_are_read_again(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path)
    add(database, 0, 2.0)
    add(database, 1, 1.0)
    for name in (WORKLOADS, RECORDS):
        (tmp_path / name).unlink()
    assert database.keys() == []
    add(database, 2, 3.0, OTHER)
    assert database.keys() == [OTHER]
    assert TuningDatabase(tmp_path).best(OTHER) == Trial(point(2), 3.0)


_BROKEN_RECORDS = {
    "[0,[[[": "not JSON",
    "": "not JSON",
    "[" * 100_000: "not JSON",
    '{"a":1}': "not a tuning record",
    "[0,1]": "not a tuning record",
    '[0,[[[["GetSBlock",[],["root","main"],["b0"]]],[[5,1]]],[1.0],null,[]]]': "does not consist of knobs",
    '[0,[[[["Annotate",["b0","v9"],["dwfuse.depth"],[]]],[]],[1.0],null,[]]]': "does not consist of knobs",
    "[0,[[[],[]],[],null,[]]]": "no cost",
    "[0,[[[],[]],null,null,[]]]": "no cost",
    "[0,[[[],[]],[NaN],null,[]]]": "not JSON",
    "[0,[[[],[]],[-1.0],null,[]]]": "not a positive number",
    "[7,[[[],[]],[1.0],null,[]]]": "workload",
    "[-1,[[[],[]],[1.0],null,[]]]": "workload",
}


@pytest.mark.parametrize("line", _BROKEN_RECORDS)
def test_broken_records_are_told_and_skipped(tmp_path: Path, line: str) -> None:
    add(TuningDatabase(tmp_path), 0, 2.0)
    with (tmp_path / RECORDS).open("a") as file:
        file.write(line + "\n")
    told = Warnings()
    database = told.open(tmp_path)
    add(database, 1, 1.0)
    assert [trial.point for trial in database.trials(KEY)] == [point(0), point(1)]
    (message,) = told
    assert message.startswith(f"{tmp_path / RECORDS}:2: ")
    assert _BROKEN_RECORDS[line] in message
    assert _lines(tmp_path / RECORDS)[1] == line


def test_bytes_that_are_no_text_are_told_and_skipped(tmp_path: Path) -> None:
    add(TuningDatabase(tmp_path), 0, 2.0)
    for name in (WORKLOADS, RECORDS, FAILURES):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\xff\x00\n")
    told = Warnings()
    assert len(told.open(tmp_path).trials(KEY)) == 1
    assert told == [
        f"{tmp_path / WORKLOADS}:2: not a workload of MetaSchedule; skipped",
        f"{tmp_path / RECORDS}:2: not JSON; skipped",
        f"{tmp_path / FAILURES}:1: not JSON; skipped",
    ]


def test_quick_reading_agrees_with_whole_parsing() -> None:
    """A space behind the first bracket makes the reader parse the line as a whole."""
    choice = random.Random(3)
    line = formats.record_line(0, KEY, trace_at(SPACE, KEY, point(123)), 2.5, host_target().tvm_target()).encode()
    good = 0
    for _ in range(3000):
        place = choice.randrange(1, len(line))
        mutated = line[:place] + choice.choice((b"", b"1", b"]", b"[[", b"0,", b'"')) + line[place + 1 :]
        outcomes = [_outcome(mutated), _outcome(b"[ " + mutated[1:])]
        assert outcomes[0] == outcomes[1], mutated
        good += not isinstance(outcomes[0], str)
    assert _outcome(line) == (0, Trial(point(123), 2.5))
    assert _outcome(line[:-1] + b",3]") == _outcome(b"[ " + line[1:-1] + b",3]") == "not a tuning record"
    assert 10 < good < 2000


def _outcome(line: bytes) -> tuple[int, Trial] | str:
    try:
        return formats.RecordReader().read(line)
    except ValueError as error:
        return str(error)


def test_the_order_of_a_targets_fields_does_not_matter() -> None:
    """TVM's differs from one process to the next."""
    fields = {"mcpu": "znver4", "kind": "llvm", "num-cores": 1}
    lines = {formats.pruned_line(0, [[[], []], [1.0], dict(order), []]) for order in permutations(fields.items())}
    assert len(lines) == 1


_BROKEN_FAILURES = (
    "{",
    "[]",
    '{"key":"{}","point":{},"error":"no"}',
    '{"key":"{}","point":{"depth":"x"},"error":"no","after":0}',
    '{"key":"no JSON","point":{},"error":"no","after":0}',
    '{"key":3,"point":{},"error":"no","after":0}',
)


@pytest.mark.parametrize("line", _BROKEN_FAILURES)
def test_broken_failures_are_told_and_skipped(tmp_path: Path, line: str) -> None:
    add_failed(TuningDatabase(tmp_path), 0, "build: no")
    with (tmp_path / FAILURES).open("a") as file:
        file.write(line + "\n")
    told = Warnings()
    assert told.open(tmp_path).keys() == [KEY]
    assert len(told) == 1
    assert told[0].startswith(f"{tmp_path / FAILURES}:2: ")


def test_broken_and_foreign_workloads_count_as_lines(tmp_path: Path) -> None:
    foreign = tvm.IRModule({"main": tvm.tirx.PrimFunc([], tvm.tirx.Evaluate(0)).with_attr("global_symbol", "main")})
    theirs = _opened_by_metaschedule(tmp_path)
    committed = theirs.commit_workload(foreign)
    for _ in range(3):
        theirs.commit_tuning_record(ms.database.TuningRecord(tvm.s_tir.Trace([], {}), committed, [1.0], None, []))
    with (tmp_path / WORKLOADS).open("a") as file:
        file.write('broken\n["1","bm9uc2Vuc2U="]\n')
    told = Warnings()
    database = told.open(tmp_path)
    add(database, 0, 2.0)
    add(database, 1, 1.0, OTHER)
    assert [json.loads(line)[0] for line in _lines(tmp_path / RECORDS)] == [0, 0, 0, 3, 4]
    assert TuningDatabase(tmp_path, told.append).best(OTHER) == Trial(point(1), 1.0)
    assert told[:3] == [
        f"{tmp_path / WORKLOADS}:1: the workload of another program; skipped",
        f"{tmp_path / WORKLOADS}:2: not a workload of MetaSchedule; skipped, as are 1 more lines",
        f"{tmp_path / RECORDS}:1: the record of a workload that {WORKLOADS} has not, or that is not ours; "
        "skipped, as are 2 more lines",
    ]
    assert told[3:] == told[:3]


@pytest.mark.parametrize("cost", [0.0, -1.0, math.inf, math.nan])
def test_a_cost_that_is_none_is_refused(tmp_path: Path, cost: float) -> None:
    database = TuningDatabase(tmp_path)
    with pytest.raises(ValueError, match="positive"):
        add(database, 0, cost)
    assert not (tmp_path / RECORDS).exists()


def test_pruned_has_the_best_records_only_and_is_the_same_each_time(tmp_path: Path) -> None:
    costs = {KEY: (3.0, 1.0, 2.0, 1.5), OTHER: (2.0, 5.0, 4.0, 1.0)}
    for name, order in (("a", (KEY, OTHER)), ("b", (OTHER, KEY))):
        database = TuningDatabase(tmp_path / name)
        for key in order:
            for number, cost in enumerate(costs[key]):
                database.add(key, trace_at(SPACE, key, point(number)), Measurement((cost,)), host_target().tvm_target())
        add_failed(database, 9, "build: no", '{"task":"failed"}')
        database.pruned_to(tmp_path / f"{name}1")
        database.pruned_to(tmp_path / f"{name}2", [KEY, "{}"], keep=2)
    for pruned in ("1", "2"):
        for name in (WORKLOADS, RECORDS):
            assert (tmp_path / f"a{pruned}" / name).read_bytes() == (tmp_path / f"b{pruned}" / name).read_bytes()
    best = TuningDatabase(tmp_path / "a1")
    assert {key: best.trials(key) for key in best.keys()} == {  # noqa: SIM118
        KEY: [Trial(point(1), 1.0)],
        OTHER: [Trial(point(3), 1.0)],
    }
    assert TuningDatabase(tmp_path / "a2").trials(KEY) == [Trial(point(1), 1.0), Trial(point(3), 1.5)]
    assert _point_of_best(_opened_by_metaschedule(tmp_path / "a1"), OTHER) == point(3)
    assert not (tmp_path / "a1" / FAILURES).exists()


def test_of_a_point_that_is_repeated_the_last_cost_counts(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path / "db")
    for number, cost in ((1, 1.0), (2, 1.5), (3, 2.0), (1, 1.7)):
        add(database, number, cost)
    add_failed(database, 2, "timeout: 10 s")
    assert database.best(KEY) == Trial(point(2), 1.5)
    database.pruned_to(tmp_path / "pruned", keep=2)
    assert TuningDatabase(tmp_path / "pruned").trials(KEY) == [Trial(point(2), 1.5), Trial(point(1), 1.7)]
    assert _point_of_best(_opened_by_metaschedule(tmp_path / "pruned"), KEY) == point(2)


def test_pruned_takes_a_point_once_and_replaces_what_was_there(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path / "db")
    for number, cost in ((1, 1.0), (1, 1.0), (2, 3.0)):
        add(database, number, cost)
    add(database, 3, 1.0, OTHER)
    database.pruned_to(tmp_path / "pruned")
    database.pruned_to(tmp_path / "pruned", [KEY], keep=2)
    pruned = TuningDatabase(tmp_path / "pruned")
    assert pruned.keys() == [KEY]
    assert pruned.trials(KEY) == [Trial(point(1), 1.0), Trial(point(2), 3.0)]


def test_pruned_of_nothing_is_an_empty_database(tmp_path: Path) -> None:
    TuningDatabase(tmp_path / "none").pruned_to(tmp_path / "pruned")
    assert is_database(tmp_path / "pruned")
    assert TuningDatabase(tmp_path / "pruned").keys() == []


def test_a_database_is_not_pruned_to_itself(tmp_path: Path) -> None:
    database = TuningDatabase(tmp_path)
    add(database, 1, 1.0)
    with pytest.raises(DwfuseError, match="itself"):
        database.pruned_to(tmp_path / "x" / "..")
    assert database.best(KEY) == Trial(point(1), 1.0)


def test_fifty_thousand_records_open_quickly(tmp_path: Path) -> None:
    add(TuningDatabase(tmp_path), 0, 1.0)
    (line,) = _lines(tmp_path / RECORDS)
    with (tmp_path / RECORDS).open("a") as file:
        file.writelines(line.replace("[1.0]", f"[{number}.5]") + "\n" for number in range(1, 50_000))
    started = time.process_time()
    opened = TuningDatabase(tmp_path)
    seconds = time.process_time() - started
    assert len(opened.trials(KEY)) == 50_000
    assert seconds < 4  # about half a second; ten times as long if it built TVM's objects
