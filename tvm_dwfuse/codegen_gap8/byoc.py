"""The code generator ``relax.ext.gap8``: regions of a partitioned module as code that TVM's virtual machine runs.

Importing this module registers it. The regions become the same C as an application for the cluster, with the same
kernels, around a runtime of one core; memory levels are arrays of the process, and a transfer between them is a copy.
So a network can be checked in place, its neighbours computed by TVM::

    mod = PartitionForCluster("gap8", objective="traffic")(mod)
    mod = relax.transform.RunCodegen({"gap8": {"variant": "dwpw_hwc_hwc_hwc_rows"}})(mod)
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import relax

from relay_passes.partition_for_cluster import CODEGEN, region_options

from ..choose_groups import choose_groups
from ..cluster_options import ClusterOptions
from ..runners import toolchain
from . import runtime
from .kernels import kernel_files
from .reader import read_region
from .vm_source import region_source

_RUNTIME = ("dwfuse_common.c", "dwfuse_memory.c", "dwfuse_vm.c")


def generate(
    functions: Sequence[relax.Function], options: Mapping[str, Any], _constant_names: Mapping[Any, str]
) -> list[tvm.runtime.Module]:
    """What ``RunCodegen`` calls with all regions of a module, and its ``target_options`` for this generator.

    Args:
        functions: the regions.
        options: fields of :class:`~tvm_dwfuse.cluster_options.ClusterOptions` that replace those of the regions.

    Raises:
        DwfuseError: an option is not legal, a layer does not fit, or there is no C compiler.
    """
    if not functions:
        return []
    sources = [c_source(func, options) for func in functions]
    symbols = [str(func.attrs["global_symbol"]) for func in functions]
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as scratch:
        folder = Path(scratch)
        files = []
        for symbol, source in zip(symbols, sources, strict=True):
            files.append(folder / f"{symbol}.c")
            files[-1].write_text(source)
        library = _compile(files, folder / "regions.o")
        return [tvm.runtime.load_static_library(str(library), symbols)]


def c_source(func: relax.Function, options: Mapping[str, Any] | None = None) -> str:
    """The C of a region: its layer functions, constants and the function that the virtual machine calls.

    Args:
        func: the region.
        options: see :func:`generate`.

    Raises:
        DwfuseError: an option is not legal, or a layer does not fit.
    """
    chosen = _options(func, options or {})
    machine = replace(chosen.machine(), cores=1)
    network = read_region(func)
    grouped = choose_groups(network, machine, chosen.objective, chosen.variant, chosen.double_buffer)
    return region_source(grouped, machine)


def _options(func: relax.Function, changes: Mapping[str, Any]) -> ClusterOptions:
    """The options of a region with changes, which come from TVM with its own types."""
    return region_options(func).updated({str(name): _plain(value) for name, value in changes.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int)) or value is None else str(value)


def _compile(files: Sequence[Path], output: Path) -> Path:
    """One object of these files, the kernels and the runtime; only the functions for the virtual machine are seen."""
    tools = toolchain.host().with_options("-O2", "-fPIC", "-fvisibility=hidden")
    combining = replace(tools, link_options=("-r", "-nostdlib"))
    own = [path for path in kernel_files() if path.suffix == ".c"] + [runtime.FOLDER / name for name in _RUNTIME]
    interface = [tvm_ffi.libinfo.find_include_path(), tvm_ffi.libinfo.find_dlpack_include_path()]
    include = [own[0].parent, runtime.FOLDER, *map(Path, interface)]
    return toolchain.build(combining, [*own, *files], include, output)


def register() -> None:
    """Make ``relax.ext.gap8`` known to TVM; harmless twice."""
    tvm_ffi.register_global_func(f"relax.ext.{CODEGEN}", generate, override=True)


register()
