from __future__ import annotations

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import gvsoc

from .conftest import TOY_COUNTERS
from .tools import needs_gvsoc


@needs_gvsoc
def test_output_and_counters(toy) -> None:
    result = gvsoc.run(toy.folder, toy.input, check=True, profile=True)
    assert result.outputs == {"output": toy.output}
    assert result.counters == TOY_COUNTERS
    assert result.unit == "cycles"


@needs_gvsoc
def test_failures_are_failures(make_toy) -> None:
    toy = make_toy({"  memset(middle, 0, HALF);": 'dwfuse_fail("second", "for a test");'})
    with pytest.raises(DwfuseError, match="dwfuse: layer second: for a test"):
        gvsoc.run(toy.folder, toy.input)


def test_missing_sdk_is_named(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAP_SDK_HOME", raising=False)
    with pytest.raises(DwfuseError, match=r"GAP_SDK_HOME is not set: source the SDK's configuration"):
        gvsoc.run(toy.folder, toy.input)
    monkeypatch.setenv("GAP_SDK_HOME", "/nowhere")
    with pytest.raises(DwfuseError, match="there is no folder /nowhere"):
        gvsoc.run(toy.folder, toy.input)
