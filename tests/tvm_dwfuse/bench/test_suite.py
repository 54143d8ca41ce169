from __future__ import annotations

from tvm_dwfuse.bench import Plan, Result, Row
from tvm_dwfuse.bench.machine import describe_machine
from tvm_dwfuse.bench.suite import benchmark_zoo, suite_table

ROWS = (Row("dwfuse", 2.0, 1.9, 1.2e-5), Row("dwfuse-unfused", 3.0, 2.9, 1e-5), Row("onnxruntime", 4.0, 3.8, 0.0))


def test_table_has_a_column_for_every_engine_of_any_network() -> None:
    results = [Result("a", "host", 1, ROWS), Result("b", "host", 2, (*ROWS[:1], Row("openvino", 8.0, 8.0, None)))]
    header, _, first, second = (line.split() for line in suite_table(results).splitlines())
    assert " ".join(header) == (
        "network threads dwfuse unfused onnxruntime openvino vs unfused vs onnxruntime vs openvino error"
    )
    assert first == ["a", "1", "2.00", "3.00", "4.00", "-", "0.67x", "0.50x", "-", "1.2e-05"]
    assert second == ["b", "2", "2.00", "-", "-", "8.00", "-", "-", "0.25x", "1.2e-05"]
    assert suite_table(results, markdown=True).splitlines()[2].startswith("| a | 1 | 2.00 | 3.00 |")


def test_zoo_network_is_timed() -> None:
    result = benchmark_zoo("ds_cnn_s", ["dwfuse", "onnxruntime"], threads=1, plan=Plan(rounds=1, burst_seconds=0.001))
    assert result.model == "ds_cnn_s"
    assert [row.engine for row in result.rows] == ["dwfuse", "onnxruntime"]
    assert result.row("dwfuse").max_abs_err < 1e-4


def test_machine_is_described() -> None:
    facts = describe_machine(["numpy", "no-such-package"])
    assert {"processor", "cores", "system", "python", "numpy", "date"} == set(facts)
    assert all(facts.values())
