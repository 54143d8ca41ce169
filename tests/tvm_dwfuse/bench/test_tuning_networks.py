"""Tables of what tuning brings."""

from __future__ import annotations

import json

import pytest

from tvm_dwfuse.bench.report import Result, Row
from tvm_dwfuse.bench.tuning_networks import TuningReport, fusion_ratio, geometric_mean


def result(**times: float) -> Result:
    rows = tuple(Row(name.replace("_", "-"), ms, ms, 1e-6) for name, ms in times.items())
    return Result("net", "host", 1, rows)


def test_ratios_and_their_geometric_mean() -> None:
    times = {"dwfuse": 0.5, "dwfuse_default": 1.0, "dwfuse_unfused": 0.8, "dwfuse_default_unfused": 1.6}
    one = result(**times, onnxruntime=1.0, openvino=2.0)
    other = result(**{**times, "dwfuse": 2.0}, onnxruntime=4.0)
    text = TuningReport({"processor": "any"}, [one, other]).to_text(markdown=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[2][7:] == ["0.50x", "0.50x", "0.62x", "0.50x"]
    assert rows[3][6:8] == ["-", "2.00x"]
    assert rows[4][0] == "geometric mean"
    assert rows[4][7:9] == ["1.00x", "0.50x"]


def test_the_mean_leaves_out_what_is_missing() -> None:
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([None]) is None


def test_the_choice_is_held_against_the_better_of_all_and_nothing() -> None:
    good = result(dwfuse=1.0, dwfuse_everything=1.25, dwfuse_unfused=1.0)
    bad = result(dwfuse=1.1, dwfuse_everything=1.25, dwfuse_unfused=1.0)
    assert fusion_ratio(good) == 1.0
    assert fusion_ratio(bad) == pytest.approx(1.1)
    report = TuningReport({}, fusion=[good, bad])
    assert [line.split()[-1] for line in report.to_text().splitlines() if line.startswith("net ")] == ["yes", "no"]
    assert len(json.loads(report.to_json())["fusion"]) == 2
