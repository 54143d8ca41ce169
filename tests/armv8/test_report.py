from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.armv8.tools import needs_all
from tvm_dwfuse.armv8 import aims
from tvm_dwfuse.armv8.measure import Step, all_steps, run_step
from tvm_dwfuse.armv8.peers import layers_of, peer_layers, peer_networks
from tvm_dwfuse.armv8.report import Armv8Report, CycleRow, LayerRow, NetworkRow
from tvm_dwfuse.bench.depthwise_layers import all_layers
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import PROCEDURES

CYCLES = CycleRow("128@56", "forward", "NHWC", "cortex-a72", 9.9, 9.0, 9.0, 2.0, 2.0, "X", 0.6, 0.0, 0)


def report(*rows: LayerRow) -> Armv8Report:
    return Armv8Report("cortex-a72", {"date": "today"}, list(rows))


def ours(layer: str, procedure: str, layout: str, instructions: float) -> LayerRow:
    return LayerRow(layer, procedure, layout, "dwfuse", instructions, 0.1, 0.05)


def verdict(of: Armv8Report, *words: str) -> aims.Verdict:
    (found,) = [verdict for verdict in of.verdicts() if all(word in verdict.aim for word in words)]
    return found


def test_peers_were_measured_on_layers_of_the_table() -> None:
    for procedure in PROCEDURES:
        assert set(layers_of(procedure)) <= set(all_layers())
    assert peer_layers()["forward", "64@112 s2", "onnxruntime"] == 7.93
    assert peer_layers()["backward_weight", "672@14 5x5", "torch-best"] == 12.1
    assert {network for network, _ in peer_networks()} == set(aims.NETWORKS)


def test_no_more_than_ncnn_on_any_layer() -> None:
    peers = [LayerRow(layer, "forward", "", "ncnn", 0.5) for layer in ("32@112", "1024@7")]
    rows = [ours("32@112", "forward", "NHWC", 0.3), ours("32@112", "forward", "NCHW", 0.3)]
    rows += [ours("1024@7", "forward", "NHWC", 0.6), ours("1024@7", "forward", "NCHW", 0.4)]
    found = report(*peers, *rows)
    assert not verdict(found, "forward, NHWC", "ncnn").met
    assert verdict(found, "forward, NHWC", "ncnn").found == "1.20 times as many, 1024@7 (1 of 2 miss it)"
    assert verdict(found, "forward, NCHW", "ncnn").met
    assert verdict(found, "forward, the better layout", "ncnn").found == "0.80 times as many, 1024@7"


def test_large_layers_alone_have_the_limit_of_large_layers() -> None:
    found = report(ours("32@112", "forward", "NHWC", 0.36), ours("1024@7", "forward", "NHWC", 0.9))
    assert verdict(found, "forward, NHWC", "at most 0.36").met
    worse = report(*found.rows, ours("256@28", "forward", "NHWC", 0.361))
    assert str(verdict(worse, "forward, NHWC", "at most 0.36")).startswith("missed  ")


def test_gradients_are_judged_by_geometric_means() -> None:
    peers = [LayerRow(layer, "backward_data", "", "torch", 20.0) for layer in ("32@112", "1024@7")]
    found = report(*peers, ours("32@112", "backward_data", "NHWC", 0.5), ours("1024@7", "backward_data", "NHWC", 2.0))
    assert verdict(found, "backward_data, NHWC", "torch").found == "20.00 times over 2 layers"
    assert verdict(found, "backward_data, NHWC", "torch").met
    worse = report(*peers, ours("32@112", "backward_data", "NHWC", 0.5), ours("1024@7", "backward_data", "NHWC", 2.1))
    assert not verdict(worse, "backward_data, NHWC", "torch").met


def test_networks_pointwise_layers_and_cycles_have_limits() -> None:
    found = report(ours("128@56 -> 128", "pointwise", "NHWC", 0.291))
    found.networks = [NetworkRow("mobilenet_v1_1.0_224", "dwfuse", 165.0), NetworkRow("ds_cnn_s", "dwfuse", 1.0)]
    found.cycles = [CYCLES, replace(CYCLES, procedure="backward_data", cycles=9.91)]
    assert not verdict(found, "pointwise").met
    assert verdict(found, "mobilenet_v1_1.0_224").met
    assert verdict(found, "forward, NHWC", "within 10%").met
    missed = verdict(found, "backward_data, NHWC", "within 10%")
    assert not missed.met
    assert missed.found == "1.10, cortex-a72, 128@56 (1 of 1 miss it); 1 of them if its stores count as well"
    assert len(found.verdicts()) == 4


def test_json_has_a_row_for_each_engine() -> None:
    content = json.loads(report(ours("32@112", "forward", "NHWC", 0.3)).to_json())
    row = {"layer": "32@112", "pass": "forward", "layout": "NHWC", "engine": "dwfuse", "instructions_per_mac": 0.3}
    assert content["rows"] == [{**row, "loads_per_mac": 0.1, "stores_per_mac": 0.05}]


@pytest.mark.parametrize("markdown", [False, True])
def test_tables(markdown: bool) -> None:
    found = report(ours("32@112", "forward", "NHWC", 0.3), LayerRow("32@112", "forward", "", "ncnn", 0.405))
    found.networks = [NetworkRow("mobilenet_v1_1.0_224", "dwfuse", 165.0)]
    found.cycles, found.failures = [CYCLES], ["it broke"]
    text = found.to_text(markdown)
    for words in ("0.300, 0.100, 0.050", "0.405", "165.0", "1.10", "failed: it broke", "  forward, NHWC: no more"):
        assert words in text
    assert ("| 32@112 |" in text) == markdown


def test_a_failure_is_noted_and_the_rest_goes_on() -> None:
    def fail(_: Armv8Report) -> None:
        raise DwfuseError("no good")

    found = report()
    run_step(found, Step("forward, 32@112", fail))
    assert found.failures == ["forward, 32@112: no good"]


def test_quick_leaves_networks_out() -> None:
    quick, whole = ([step.name for step in all_steps(quick)] for quick in (True, False))
    assert set(quick) < set(whole)
    assert len(quick) < len(whole) / 3
    assert set(aims.NETWORKS) <= set(whole) - set(quick)


@needs_all
@pytest.mark.parametrize("name", ["forward, 1024@7", "cycles of backward_data, 128@56, NHWC, cortex-a72"])
def test_a_step_adds_to_the_report(name: str) -> None:
    found = report()
    (step,) = [step for step in all_steps(quick=True) if step.name == name]
    run_step(found, step)
    assert not found.failures
    if found.cycles:
        assert found.cycles[0].over_floor >= 0.99
        return
    assert {row.layout for row in found.rows if row.engine == "dwfuse"} == {"NHWC", "NCHW"}
    assert verdict(found, "forward, NHWC", "ncnn")
