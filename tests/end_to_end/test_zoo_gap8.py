"""A zoo network for GAP8, quantized, compiled in every way with little L1, and run against its golden outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tvm_dwfuse import compile_application
from tvm_dwfuse.bench.cluster import quantized_zoo
from tvm_dwfuse.runners import host
from tvm_dwfuse.zoo.probe import probe_images

NAME = "ds_cnn_s"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as ONNX in QDQ form."""
    return quantized_zoo(NAME, tmp_path_factory.mktemp("zoo"))


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "latency"},
        {"objective": "traffic"},
        {"variant": "none"},
        {"variant": "dwpw_chw_hwc_chw_rows"},
        {"variant": "dwpw_hwc_hwc_hwc_rows"},
        {"variant": "pwdw_chw_chw_chw_channels"},
        {"variant": "pwdw_hwc_chw_hwc_channels"},
        {"variant": "pwdw_hwc_hwc_hwc_channels", "l1_bytes": 12000},
        {"variant": "pwdw_hwc_chw_hwc_rows"},
        {"variant": "pwdw_hwc_hwc_hwc_rows"},
        {"variant": "pwdwpw_hwc_hwc_hwc_rows"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_layer_bit_for_bit_and_every_byte(options: dict, model: Path, tmp_path: Path) -> None:
    network = compile_application(model, tmp_path / "build", **{"l1_bytes": 9000, **options})
    variants = {group.variant for group in network.manifest.groups}
    assert options.get("variant", "unfused") in variants | {"none"}
    result = network.check()
    assert result.counters["checked"] == len(network.manifest.groups)
    # Bytes that move as late as they may show a wait that is missing.
    example = (network.folder / "input.bin").read_bytes()
    late = host.run(network.folder, example, dma_late=True, check=True, build_folder=tmp_path / "late")
    assert late.counters["checked"] == len(network.manifest.groups)


def test_outputs_are_those_of_onnxruntime(model: Path, tmp_path: Path) -> None:
    network = compile_application(model, tmp_path / "build")
    session = onnxruntime.InferenceSession(model)
    (value,) = session.get_inputs()
    step = network.manifest.output.activation.scale
    for x in probe_images(tuple(value.shape[1:]), seed=9, count=4):
        (expected,) = session.run(None, {value.name: x[None]})
        actual = network.run(x[None]).output
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, atol=2.01 * step)
        assert actual.argmax() == expected.argmax()
