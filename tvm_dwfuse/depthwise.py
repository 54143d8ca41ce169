"""Depthwise convolutions and their gradients on numpy arrays, for users who want a kernel and not a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import threads as pool
from .errors import DwfuseError
from .kernels.depthwise import PROCEDURES, Depthwise, Procedure, operand_shapes
from .space import Point, Space

#: Operands that a kernel writes; they stand last.
_RESULTS = ("y", "dx", "dw", "db")


class DepthwiseKernel:
    """One procedure of one depthwise convolution, compiled for this machine; made by :func:`compile_depthwise`."""

    def __init__(
        self, procedure: Procedure, conv: Depthwise, threads: int, bias: bool, point: Point | None = None
    ) -> None:
        import tvm

        from schedules.depthwise import build_depthwise

        from .pipeline import code_settings
        from .targets import get_cpu

        machine = get_cpu("host")
        func = build_depthwise(procedure, conv, machine, threads, bias, point).with_attr("global_symbol", "main")
        with code_settings():
            self._main = tvm.compile(tvm.IRModule({"main": func}), target=machine.tvm_target())["main"]
        self._tensor = tvm.runtime.tensor
        self._threads = threads
        self.procedure = procedure
        self.shapes = operand_shapes(procedure, conv, bias)

    def __call__(self, *operands: np.ndarray) -> list[np.ndarray]:
        """The results for ``operands``, float32, in the order of ``operand_shapes``.

        Raises:
            DwfuseError: an operand is missing, or of another shape or dtype.
        """
        expected = {name: shape for name, shape in self.shapes.items() if name not in _RESULTS}
        results = {name: shape for name, shape in self.shapes.items() if name in _RESULTS}
        _check(self.procedure, expected, operands)
        pool.configure(self._threads)
        tensors = [self._tensor(np.ascontiguousarray(array)) for array in operands]
        outputs = [self._tensor(np.empty(shape, np.float32)) for shape in results.values()]
        self._main(*tensors, *outputs)
        return [output.numpy() for output in outputs]


def compile_depthwise(
    procedure: Procedure,
    conv: Depthwise,
    threads: int | None = None,
    bias: bool = False,
    point: Point | None = None,
) -> DepthwiseKernel:
    """Compile a procedure for this machine: x, w [, b] -> y, or dy, w -> dx, or x, dy -> dw [, db].

    Args:
        procedure: one of :data:`tvm_dwfuse.kernels.depthwise.PROCEDURES`.
        conv: geometry and layout.
        threads: threads that a call may use; None for every core this process may run on.
        bias: whether there is a bias, or its gradient is wanted.
        point: the register tile, one of :func:`depthwise_space`; None for the default.

    Raises:
        DwfuseError: there is no such procedure, number of threads or point, or the data gradient is asked for with a
            bias.
    """
    space = depthwise_space(procedure, conv)
    if point is not None and not space.contains(point):
        raise DwfuseError(f"{procedure}: {point} is no point of its space; depthwise_space tells them")
    if bias and procedure == "backward_data":
        raise DwfuseError("backward_data: the gradient of the data does not depend on a bias; leave bias=False")
    return DepthwiseKernel(procedure, conv, pool.check(threads), bias, point)


def depthwise_space(procedure: Procedure, conv: Depthwise) -> Space:
    """What can be chosen about the kernel that :func:`compile_depthwise` makes for this machine.

    Raises:
        DwfuseError: there is no such procedure.
    """
    from schedules.depthwise import tile_space

    from .targets import get_cpu

    if procedure not in PROCEDURES:
        raise DwfuseError(f"procedure {procedure!r}: unknown; known: {', '.join(PROCEDURES)}")
    return tile_space(procedure, conv, get_cpu("host"))


def _check(procedure: str, expected: dict[str, tuple[int, ...]], operands: Sequence[np.ndarray]) -> None:
    if len(operands) != len(expected):
        raise DwfuseError(f"{procedure}: {len(operands)} operands given, expected {', '.join(expected)}")
    for (name, shape), array in zip(expected.items(), operands, strict=True):
        if array.shape != shape:
            raise DwfuseError(f"{procedure}: {name} has shape {list(array.shape)}, expected {list(shape)}")
        if array.dtype != np.float32:
            raise DwfuseError(f"{procedure}: {name} has dtype {array.dtype}, expected float32")
