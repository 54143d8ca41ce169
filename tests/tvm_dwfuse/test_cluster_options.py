"""Options of a compilation for a cluster: checked when made, and carried as JSON."""

from __future__ import annotations

import pytest

from tvm_dwfuse.cluster_options import ClusterOptions
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.targets import CLUSTER_TARGETS, get_cpu, get_target, target_names


def test_json_and_back() -> None:
    options = ClusterOptions("pulp-open", "traffic", "dwpw_hwc_hwc_hwc_rows", 8192, False)
    assert ClusterOptions.from_json(options.to_json()) == options
    assert ClusterOptions(**options.to_dict()) == options


def test_the_machine_has_the_l1_asked_for() -> None:
    assert ClusterOptions("pulp-open").machine() == CLUSTER_TARGETS["pulp-open"]
    assert ClusterOptions(l1_bytes=8192).machine().l1_bytes == 8192
    assert ClusterOptions(l1_bytes=8192).machine().l2_bytes == CLUSTER_TARGETS["gap8"].l2_bytes


@pytest.mark.parametrize("value", [0, -1, 10**6])
def test_l1_there_is_not(value: int) -> None:
    with pytest.raises(DwfuseError, match=f"L1 of {value} bytes"):
        ClusterOptions(l1_bytes=value)


def test_changes_are_checked() -> None:
    assert ClusterOptions().updated({"objective": "traffic"}).objective == "traffic"
    with pytest.raises(DwfuseError, match="unknown option 'objektive'; known: target, objective"):
        ClusterOptions().updated({"objektive": "traffic"})
    with pytest.raises(DwfuseError, match="unknown target 'host'"):
        ClusterOptions().updated({"target": "host"})


def test_clusters_are_targets_but_no_cpus() -> None:
    for name in CLUSTER_TARGETS:
        assert name in target_names()
        assert get_target(name).name == name
        with pytest.raises(DwfuseError, match=f"target '{name}': not a CPU"):
            get_cpu(name)
    assert get_cpu("host") is get_target("host")
