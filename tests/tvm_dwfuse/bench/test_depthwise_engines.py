from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.depthwise_reference import reference
from tvm_dwfuse.bench import depthwise_engines
from tvm_dwfuse.bench.depthwise_engines import OURS, PEERS, Case, DwfuseServer, TorchServer, preferred_layout
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure

CONV = Depthwise(12, 9, 11, (3, 5), (2, 1), (1, 2, 1, 2), batch=2)


def case(procedure: Procedure) -> Case:
    return Case("a layer", procedure, CONV, threads=1)


def expected(procedure: Procedure) -> np.ndarray:
    """The result in NCHW; there are fewer values than samples, which are then all of them."""
    operands = depthwise_engines._operands(case(procedure))
    name = {"forward": "y", "backward_data": "dx", "backward_weight": "dw"}[procedure]
    values = reference(procedure, CONV, operands)[name].ravel()
    assert values.size > 1009 or procedure == "backward_weight"
    return values[np.linspace(0, values.size - 1, min(1009, values.size)).astype(int)]


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_our_kernels_in_both_layouts(procedure: Procedure) -> None:
    server = DwfuseServer()
    server.compile(case(procedure))
    server.start(case(procedure))
    for engine in OURS:
        np.testing.assert_allclose(server.samples(engine), expected(procedure), atol=1e-4)
        assert 1 <= len(server.burst(engine, seconds=0.001, most=3)) <= 3


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_pytorch_in_both_layouts(procedure: Procedure) -> None:
    pytest.importorskip("torch")
    server = TorchServer()
    server.start(case(procedure))
    for engine in PEERS:
        np.testing.assert_allclose(server.samples(engine), expected(procedure), atol=1e-4)
        assert 1 <= len(server.burst(engine, seconds=0.001, most=3)) <= 3


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_the_preferred_layout_stands_first(procedure: Procedure) -> None:
    layout = preferred_layout(procedure, CONV)
    both = case(procedure).ours()
    assert next(iter(both.values())) == layout
    assert set(both) == set(OURS)
    assert list(replace(case(procedure), both_layouts=False).ours().values()) == [layout]


def test_pytorch_pads_opposite_sides_alike() -> None:
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="PyTorch pads opposite sides alike"):
        TorchServer().start(replace(case("forward"), conv=Depthwise(4, 8, 8, padding=(1, 1, 0, 0))))


def test_nothing_runs_before_it_is_started() -> None:
    with pytest.raises(RuntimeError, match="no case is started"):
        DwfuseServer().burst("dwfuse-nchw", 0.0, 1)
