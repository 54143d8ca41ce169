"""What a measurement was made on: processor, cores, versions, date."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("tvm-dwfuse", "apache-tvm", "onnxruntime", "openvino", "torch")


def describe_machine(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Processor, its cores, operating system, Python, the version of each of ``packages`` installed, and the date."""
    facts = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    for package in packages:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**facts, "date": date.today().isoformat()}


def _processor() -> str:
    """The model name with LLVM's name for the CPU, which tells more where a hypervisor hides the model."""
    from tvm.target import codegen

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} ({codegen.llvm_get_system_cpu()})"
