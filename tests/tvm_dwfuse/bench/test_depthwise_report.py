from __future__ import annotations

import json

import pytest

from tvm_dwfuse.bench.depthwise_report import DepthwiseReport, LayerTime, Setting

TIMES = {
    "dwfuse": {"a": 1.0, "b": 2.0},
    "dwfuse-nhwc": {"a": 1.0, "b": 2.0},
    "dwfuse-nchw": {"a": 2.0, "b": 1.0},
    "torch": {"a": 16.0, "b": 8.0},
    "torch-channels-last": {"a": 9.0, "b": 1.5},
}
FORWARD = Setting("forward", 1, 8)


def row(layer: str, engine: str, median_ms: float) -> LayerTime:
    layout = "NCHW" if engine in ("torch", "dwfuse-nchw") else "NHWC"
    return LayerTime(layer, "forward", 1, 8, engine, median_ms, layout, runs=5, error=0.0, least_ms=0.5)


@pytest.fixture
def report() -> DepthwiseReport:
    rows = [row(layer, engine, time) for engine, times in TIMES.items() for layer, time in times.items()]
    return DepthwiseReport({"processor": "one"}, {}, rows)


def test_json_has_the_documented_keys(report: DepthwiseReport) -> None:
    content = json.loads(report.to_json())
    assert list(content) == ["machine", "missing", "rows"]
    assert content["rows"][0] == {
        "layer": "a",
        "pass": "forward",
        "threads": 1,
        "batch": 8,
        "engine": "dwfuse",
        "median_ms": 1.0,
        "layout": "NHWC",
        "runs": 5,
        "error": 0.0,
        "least_ms": 0.5,
    }


def test_ratios_are_against_the_best(report: DepthwiseReport) -> None:
    assert report.settings() == [FORWARD]
    assert report.ratios(FORWARD, "dwfuse", ["torch"]) == {"a": 16.0, "b": 4.0}
    assert report.ratios(FORWARD, "dwfuse", ["torch", "torch-channels-last"]) == {"a": 9.0, "b": 0.75}
    assert report.ratios(FORWARD, "dwfuse", ["openvino"]) == {}


def test_tables(report: DepthwiseReport) -> None:
    _, _, summary, same_layout, layers, _ = (part.splitlines() for part in report.to_text().split("\n\n"))
    # Geometric means: of 16 and 4, of 9 and 0.75, of 9 and 0.75; of 1/2 and 1/4.
    assert summary[2].split() == ["forward", "1", "8", "3x", "8.00x", "2.60x", "2.60x", "0.75x", "b", "35%"]
    # 16 / 2 and 8 / 1; 9 / 1 and 1.5 / 2.
    assert same_layout[2].split() == ["forward", "1", "8", "8.00x", "8.00x", "a", "2.60x", "0.75x", "b"]
    assert layers[2].split() == ["a", "forward", "1000.0", "(9.00x)"]


def test_aims_are_met_or_missed(report: DepthwiseReport) -> None:
    assert report.verdicts() == [
        "forward vs torch: 3x met (1 of 1 settings), slower on 0 of 2 layers",
        "forward vs channels_last: 3x missed (0 of 1 settings), slower on 1 of 2 layers",
        "forward vs the better: 3x missed (0 of 1 settings), slower on 1 of 2 layers",
    ]


def test_markdown(report: DepthwiseReport) -> None:
    text = report.to_text(markdown=True)
    assert "| forward | 1 | 8 | 3x | 8.00x |" in text
    assert "\n- forward vs torch: 3x met" in text


def test_without_pytorch(report: DepthwiseReport) -> None:
    ours = [row for row in report.rows if row.engine.startswith("dwfuse")]
    text = DepthwiseReport({"processor": "one"}, {"torch": "not installed: pip install torch"}, ours).to_text()
    assert text.endswith("missing: torch (not installed: pip install torch)")
    assert "vs torch: 3x" not in text
    assert "35%" in text
