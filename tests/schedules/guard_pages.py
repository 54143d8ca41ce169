"""Runs depthwise kernels between memory that cannot be read: ``python -m tests.schedules.guard_pages LAYOUT``.

A kernel that reads outside of its operands ends the process by a signal. Arrays begin where such memory ends, and then
end where it begins: so their size has to be a multiple of the 64 bytes that TVM aligns arrays to.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
import tvm
import tvm_ffi

from schedules.depthwise import build_depthwise
from tests.depthwise_reference import OUTPUTS, random_operands
from tests.schedules.depthwise_kernels import check_values, fill, in_layout
from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import PROCEDURES, Depthwise, Procedure
from tvm_dwfuse.targets import host_target

GEOMETRIES = (
    Depthwise(16, 9, 21, padding=(1, 1, 1, 1)),
    Depthwise(16, 10, 37, stride=(2, 2), padding=(1, 1, 1, 1)),
    Depthwise(16, 12, 18, (5, 5), (2, 2), (1, 1, 2, 2)),
)
_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


def between_guards(value: np.ndarray, at_end: bool) -> tvm.runtime.Tensor:
    """A tensor of this value that begins behind a page that cannot be read, or ends before one."""
    pages = -(-value.nbytes // _PAGE)
    memory = mmap.mmap(-1, (pages + 2) * _PAGE)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (first, first + (pages + 1) * _PAGE):
        if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(_PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = (pages + 1) * _PAGE - value.nbytes if at_end else _PAGE
    inside = np.frombuffer(memory, value.dtype, value.size, start).reshape(value.shape)
    inside[...] = value
    return tvm_ffi.from_dlpack(inside)


def run(procedure: Procedure, conv: Depthwise) -> None:
    """Run a kernel on both kinds of arrays and check its output."""
    target = host_target()
    function = build_depthwise(procedure, conv, target).with_attr("global_symbol", "main")
    main = tvm.compile(tvm.IRModule({"main": function}), target.tvm_target())["main"]
    operands = random_operands(procedure, conv)
    for at_end in (False, True):
        tensors = {name: between_guards(value, at_end) for name, value in fill(operands, procedure, conv).items()}
        main(*tensors.values())
        results = {name: tensors[name].numpy() for name in tensors if name in OUTPUTS[procedure]}
        check_values(procedure, conv, operands, results)


def main(layout: Layout) -> None:
    """Every procedure of every geometry in a layout; tells before each what it is, for the case that it crashes."""
    for conv in GEOMETRIES:
        for procedure in PROCEDURES:
            print(procedure, in_layout(conv, layout), flush=True)
            run(procedure, in_layout(conv, layout))


if __name__ == "__main__":
    main(sys.argv[1])  # type: ignore[arg-type]
