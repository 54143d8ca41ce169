"""The C kernels of the GAP8 backend, the layouts of their constants and the sizes of their scratch.

The C text has, side by side, a form for XpulpV2 cores (GAP8, PULP) and portable C that computes the same on any
machine. ``dwfuse_kernels.h`` says what each kernel computes.
"""

from __future__ import annotations

from pathlib import Path

from .scratch import (
    conv_scratch,
    depthwise_scratch,
    pack_conv_weights,
    pack_depthwise_weights,
    pack_requantization,
    pads_in_registers,
)

__all__ = [
    "conv_scratch",
    "depthwise_scratch",
    "kernel_files",
    "pack_conv_weights",
    "pack_depthwise_weights",
    "pack_requantization",
    "pads_in_registers",
]


def kernel_files() -> list[Path]:
    """The C sources and headers, sorted by name; a program needs all of them."""
    return sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".c", ".h"))
