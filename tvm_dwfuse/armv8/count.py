"""Counts the instructions of one depthwise kernel: ``python -m tvm_dwfuse.armv8.count --procedure forward ...``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.files import check_writable, write_text
from tvm_dwfuse.terminal import told_in_one_line

if TYPE_CHECKING:
    from .emulation import Counts

ProcedureName = Literal["forward", "backward_data", "backward_weight"]


def main(
    size: Annotated[str, typer.Option(metavar="C,H,W", help="Channels, height and width of the input.")],
    procedure: Annotated[ProcedureName, typer.Option(help="What to compute.")] = "forward",
    layout: Annotated[Literal["NCHW", "NHWC"], typer.Option(help="Layout of the tensors.")] = "NHWC",
    kernel: Annotated[int, typer.Option(min=1, help="Height and width of the kernel.")] = 3,
    stride: Annotated[int, typer.Option(min=1, help="Stride.")] = 1,
    dilation: Annotated[int, typer.Option(min=1, help="Dilation.")] = 1,
    padding: Annotated[
        int | None, typer.Option(min=0, help="On each side; (kernel - 1) * dilation / 2 if not given.")
    ] = None,
    multiplier: Annotated[int, typer.Option(min=1, help="Output channels for each input channel.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 1,
    target: Annotated[str, typer.Option(help="Core to compile for.")] = "cortex-a72",
    cycles: Annotated[str, typer.Option(help="Cores for llvm-mca to say the cycles of the hottest loop for.")] = "",
    asm: Annotated[Path | None, typer.Option(help="Write the assembly here.")] = None,
) -> None:
    """Count the instructions of one depthwise kernel under qemu and check its result."""
    from schedules.depthwise import build_depthwise
    from tvm_dwfuse.kernels.depthwise import Depthwise

    from .analysis import analyse, describe
    from .counting import compile_kernel
    from .layers import count_depthwise
    from .tools import arm_core

    machine = arm_core("--target", target)
    around = dilation * (kernel - 1) // 2 if padding is None else padding
    try:
        conv = Depthwise(
            *_sizes(size),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(around,) * 4,
            dilation=(dilation, dilation),
            multiplier=multiplier,
            batch=batch,
            layout=layout,
        )
    except ValueError as error:
        raise DwfuseError(str(error)) from error
    if asm:
        check_writable(asm)
        write_text(asm, compile_kernel(build_depthwise(procedure, conv, machine), machine).inspect_source("asm"))
    typer.echo(_summary(count_depthwise(procedure, conv, machine), conv.macs))
    if cycles:
        cores = [core.strip() for core in cycles.split(",")]
        typer.echo(describe(*analyse(build_depthwise(procedure, conv, machine), machine, cores)))


def _summary(counts: Counts, macs: int) -> str:
    numbers = {
        "instructions": counts.instructions,
        "loads": counts.loads,
        "stores": counts.stores,
        "vector multiply-adds": counts.multiply_adds,
    }
    per_mac = ", ".join(f"{name} {number / macs:.3f}" for name, number in numbers.items())
    return f"{counts.instructions} instructions for {macs} MAC; per MAC: {per_mac}; result correct"


def _sizes(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(word) for word in text.split(","))
    except ValueError:
        raise DwfuseError(f"--size {text}: expected C,H,W, such as 32,112,112") from None
    return channels, height, width


if __name__ == "__main__":
    typer.run(told_in_one_line(main))
