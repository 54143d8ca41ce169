"""Which tools for ARMv8 are there: tests that need an absent one are skipped, with what to install."""

from __future__ import annotations

import pytest

from tvm_dwfuse.armv8 import tools
from tvm_dwfuse.armv8.emulation import require_plugins
from tvm_dwfuse.errors import DwfuseError

CANNOT = ("apt-get install", "takes no plugins")


def needs(*probes) -> pytest.MarkDecorator:
    """Skip where a probe says that a tool is absent; another failure of it is one of the tests."""
    try:
        for probe in probes:
            probe()
    except DwfuseError as error:
        return pytest.mark.skipif(any(words in str(error) for words in CANNOT), reason=str(error))
    return pytest.mark.skipif(False, reason="")


needs_gcc = needs(tools.cross_compiler)
needs_qemu = needs(tools.cross_compiler, tools.plugin_compiler, tools.qemu, require_plugins)
needs_mca = needs(tools.llvm_mca)
needs_all = needs(tools.cross_compiler, tools.plugin_compiler, tools.qemu, tools.llvm_mca, require_plugins)
