from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.bench import depthwise_run
from tvm_dwfuse.bench.client import Remote
from tvm_dwfuse.bench.depthwise_engines import preferred_layout
from tvm_dwfuse.bench.depthwise_layers import Layer
from tvm_dwfuse.bench.depthwise_limits import Limits
from tvm_dwfuse.bench.depthwise_run import Effort, list_cases, measure
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise

LAYER = Layer(Depthwise(8, 6, 6, padding=(1, 1, 1, 1)), ("a network",))
EFFORT = Effort(rounds=2, burst_seconds=0.001, burst_runs=3, pause_seconds=0.0)


def test_every_case_is_listed() -> None:
    cases = list_cases([LAYER], threads=[1, 2], batches=[1, 8], both_layouts=False)
    assert len(cases) == len(set(cases)) == 12
    assert {(case.procedure, case.threads, case.conv.batch) for case in cases} == {
        (procedure, threads, batch) for procedure in PROCEDURES for threads in (1, 2) for batch in (1, 8)
    }
    assert not any(case.both_layouts for case in cases)


def test_rows_of_all_engines() -> None:
    pytest.importorskip("torch")
    steps: list[tuple[str, int, int]] = []
    cases = list_cases([LAYER], threads=[1], batches=[2])
    found = list(measure(cases, EFFORT, lambda *step: steps.append(step)))
    for case, rows in zip(cases, found, strict=True):
        assert {row.engine for row in rows} == {"dwfuse", "dwfuse-nchw", "dwfuse-nhwc", "torch", "torch-channels-last"}
        for row in rows:
            assert (row.layer, row.procedure, row.threads, row.batch) == ("8@6", case.procedure, 1, 2)
            assert row.error < 1e-5
            assert 0 < row.least_ms < row.median_ms
            assert 2 <= row.runs <= 6
        layout = preferred_layout(case.procedure, case.conv)
        twin = next(row for row in rows if row.engine == f"dwfuse-{layout.lower()}")
        assert rows[0] == replace(twin, engine="dwfuse")
    assert steps[0] == ("compiling", 0, 3)
    assert steps[-1] == ("done", 3, 3)


class FakeRemote:
    """Answers at once; every burst takes a second."""

    names: ClassVar[list[str]] = []
    bursts: ClassVar[list[str]] = []

    def __init__(self, name: str, server: str, cores: list[int], environment: Mapping[str, str]) -> None:
        self.names.append(name)

    def ask(self, method: str, *args: object) -> object:
        if method == "limits":
            return Limits(1, 1e9, ((1, 1e9), (2, 1e9)))
        if method == "samples":
            return np.ones(3)
        assert method == "burst"
        self.bursts.append(str(args[0]))
        return [1.0]

    def send(self, method: str, *args: object) -> None:
        assert method in ("compile", "start")

    def receive(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeRemote]:
    monkeypatch.setattr(depthwise_run, "Remote", FakeRemote)
    monkeypatch.setattr(depthwise_run, "missing_peers", dict)
    FakeRemote.names.clear()
    FakeRemote.bursts.clear()
    return FakeRemote


def test_without_pytorch_ours_alone(fake: type[FakeRemote], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise_run, "missing_peers", lambda: {"torch": "not installed: pip install torch"})
    cases = list_cases([LAYER], threads=[1], batches=[1], both_layouts=False)[:1]
    ((row, twin),) = measure(cases, EFFORT, lambda *step: None)
    assert [row.engine, twin.engine] == ["dwfuse", f"dwfuse-{row.layout.lower()}"]
    assert row.error == 0
    assert fake.names == ["dwfuse"]


def test_engines_take_turns_until_they_had_their_time(fake: type[FakeRemote]) -> None:
    cases = list_cases([LAYER], threads=[1], batches=[1], both_layouts=False)[:1]
    (rows,) = measure(cases, Effort(rounds=9, engine_seconds=2.5), lambda *step: None)
    first, ours, last = "torch-channels-last", rows[1].engine, "torch"
    assert fake.bursts == [first, last, ours, ours, last, first, first, last, ours]
    assert all(row.runs == 3 for row in rows)


def test_a_server_that_fails_is_named() -> None:
    remote = Remote("dwfuse", "tvm_dwfuse.bench.depthwise_engines:DwfuseServer", [0])
    try:
        with pytest.raises(DwfuseError, match="engine dwfuse: no case is started"):
            remote.ask("samples", "dwfuse-nchw")
    finally:
        remote.close()
