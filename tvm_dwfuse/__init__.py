"""tvm_dwfuse: fused depthwise-separable convolutions for Apache TVM."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import DwfuseError

if TYPE_CHECKING:
    from .api import ExplainedBlock, Explanation, compile, explain, load
    from .api_cluster import ClusterNetwork, ClusterRun, compile_application, load_application
    from .cross_network import CrossNetwork, load_cross
    from .depthwise import DepthwiseKernel, compile_depthwise
    from .kernels.depthwise import Depthwise
    from .network import CompiledNetwork, OperatorTime, Timing
    from .rpc import RemoteNetwork

__version__ = "0.1.0"

__all__ = [
    "ClusterNetwork",
    "ClusterRun",
    "CompiledNetwork",
    "CrossNetwork",
    "Depthwise",
    "DepthwiseKernel",
    "DwfuseError",
    "ExplainedBlock",
    "Explanation",
    "OperatorTime",
    "RemoteNetwork",
    "Timing",
    "__version__",
    "compile",
    "compile_application",
    "compile_depthwise",
    "explain",
    "load",
    "load_application",
    "load_cross",
]

# TVM takes seconds to import, so the names that need it are fetched when they are first used.
_LAZY = {
    **dict.fromkeys(("compile", "explain", "load", "ExplainedBlock", "Explanation"), ".api"),
    **dict.fromkeys(("ClusterNetwork", "ClusterRun", "compile_application", "load_application"), ".api_cluster"),
    **dict.fromkeys(("CompiledNetwork", "OperatorTime", "Timing"), ".network"),
    **dict.fromkeys(("CrossNetwork", "load_cross"), ".cross_network"),
    **dict.fromkeys(("DepthwiseKernel", "compile_depthwise"), ".depthwise"),
    "Depthwise": ".kernels.depthwise",
    "RemoteNetwork": ".rpc",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
