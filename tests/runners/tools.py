"""Which tools of the runners are there: tests that need an absent one are skipped, with what to install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.runners import gvsoc, rv32, toolchain


def needs(*probes: Callable[[], object]) -> pytest.MarkDecorator:
    """Skip unless none of the probes complains."""
    try:
        for probe in probes:
            probe()
    except DwfuseError as error:
        return pytest.mark.skipif(True, reason=str(error))
    return pytest.mark.skipif(False, reason="")


needs_host = needs(toolchain.host)
needs_rv32 = needs(toolchain.rv32, lambda: rv32.command(Path()))
needs_gvsoc = needs(gvsoc.require_sdk)


def needs_sanitizer(name: str) -> pytest.MarkDecorator:
    return needs(lambda: toolchain.host(name))
