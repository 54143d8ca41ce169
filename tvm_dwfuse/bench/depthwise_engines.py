"""The engines that run a depthwise layer: this project's kernels and PyTorch, each in both layouts.

Each library has a server that runs in a process of its own (see :mod:`.worker`) and holds one layer and procedure at a
time in both layouts. Both libraries get the same numbers, so that their results can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_dwfuse.blocks import Layout
from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes
from tvm_dwfuse.targets import host_target

from .depthwise_limits import Limits, measure_limits
from .worker import burst

if TYPE_CHECKING:
    import torch

#: Engines and the layout of their tensors.
OURS: Mapping[str, Layout] = {"dwfuse-nchw": "NCHW", "dwfuse-nhwc": "NHWC"}
PEERS: Mapping[str, Layout] = {"torch": "NCHW", "torch-channels-last": "NHWC"}

#: The output of each procedure.
_RESULT = {"forward": "y", "backward_data": "dx", "backward_weight": "dw"}
_SAMPLES = 1009


@dataclass(frozen=True)
class Case:
    """One procedure of a layer on a number of threads; ``conv`` is in NCHW and has the batch in it.

    ``both_layouts`` asks for our kernels in both, not only in the preferred one.
    """

    layer: str
    procedure: Procedure
    conv: Depthwise
    threads: int
    both_layouts: bool = True

    def ours(self) -> dict[str, Layout]:
        """Those of :data:`OURS` that take part, with their layouts; the preferred one is the first."""
        preferred = preferred_layout(self.procedure, self.conv)
        first = {engine: layout for engine, layout in OURS.items() if layout == preferred}
        return {**first, **OURS} if self.both_layouts else first


#: Input and output together are streamed if they are so many times larger than the L2 cache.
STREAMED_CACHES = 8


def preferred_layout(procedure: Procedure, conv: Depthwise) -> Layout:
    """The layout in which a user is advised to run a layer: it stands for ``dwfuse`` in the tables.

    That is NHWC, which borders cost nothing. Tensors that are far larger than a core's cache stream better plane by
    plane, when outputs have to be written for each input.
    """
    size = 4 * (math.prod(conv.input_shape) + math.prod(conv.output_shape))
    streams = procedure != "backward_weight" and size > STREAMED_CACHES * host_target().l2_bytes
    return "NCHW" if streams else "NHWC"


class DwfuseServer:
    """This project's kernels, compiled beforehand and called with tensors that are there already."""

    def __init__(self) -> None:
        self._kernels: dict[tuple[str, Case], Callable[..., object]] = {}
        self._compiled: dict[tuple[Procedure, Depthwise, int], Callable[..., object]] = {}
        self._started: _Started | None = None

    def compile(self, case: Case) -> None:
        """Compile the kernels of a case."""
        for engine, layout in case.ours().items():
            conv = replace(case.conv, layout=layout)
            self._kernels[engine, case] = self._kernel(case.procedure, conv, case.threads)

    def _kernel(self, procedure: Procedure, conv: Depthwise, threads: int) -> Callable[..., object]:
        """The compiled kernel; one for all numbers of threads where there is too little to share."""
        import tvm

        from schedules.depthwise import build_depthwise
        from schedules.tile import PARALLEL_MACS
        from tvm_dwfuse.pipeline import code_settings
        from tvm_dwfuse.targets import get_cpu

        threads = threads if conv.macs >= PARALLEL_MACS else 1
        key = procedure, conv, threads
        if key not in self._compiled:
            machine = get_cpu("host")
            function = build_depthwise(procedure, conv, machine, threads)
            module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
            with code_settings():
                # To ask for the function makes LLVM write its machine code.
                self._compiled[key] = tvm.compile(module, machine.tvm_target())["main"]
        return self._compiled[key]

    def limits(self, threads: int) -> Limits:
        """See :func:`.depthwise_limits.measure_limits`."""
        return measure_limits(threads)

    def start(self, case: Case) -> None:
        """Get ready to run a case that was compiled."""
        from tvm_dwfuse import threads

        threads.configure(case.threads)
        self._started = _Started(
            case,
            {engine: self._bind(case, self._kernels[engine, case], layout) for engine, layout in case.ours().items()},
        )

    def burst(self, engine: str, seconds: float, most: int) -> list[float]:
        """See :func:`.worker.burst`."""
        return _current(self._started).burst(engine, seconds, most)

    def samples(self, engine: str) -> np.ndarray:
        """Some of the values of the result, the same for every engine."""
        return _current(self._started).samples(engine)

    def _bind(self, case: Case, kernel: Callable[..., object], layout: Layout) -> _Running:
        import tvm

        shapes = operand_shapes(case.procedure, replace(case.conv, layout=layout))
        given = _operands(case, layout)
        tensors = {
            name: tvm.runtime.tensor(given.get(name, np.zeros(shape, np.float32))) for name, shape in shapes.items()
        }
        result, operands = tensors[_RESULT[case.procedure]], list(tensors.values())

        def values_in_nchw() -> np.ndarray:
            kernel(*operands)
            return _to_nchw(result.numpy(), case.procedure, layout)

        return _Running(lambda: kernel(*operands), values_in_nchw)


class TorchServer:
    """PyTorch in inference mode: ``conv2d`` and ``aten::convolution_backward``, which allocate what they return."""

    def __init__(self) -> None:
        self._started: _Started | None = None

    def start(self, case: Case) -> None:
        """Get ready to run a case."""
        import torch

        torch.set_num_threads(case.threads)
        self._started = _Started(case, {engine: _bind_torch(case, layout) for engine, layout in PEERS.items()})

    def burst(self, engine: str, seconds: float, most: int) -> list[float]:
        """See :func:`.worker.burst`."""
        import torch

        with torch.inference_mode():
            return _current(self._started).burst(engine, seconds, most)

    def samples(self, engine: str) -> np.ndarray:
        """Some of the values of the result, the same for every engine."""
        import torch

        with torch.inference_mode():
            return _current(self._started).samples(engine)


@dataclass(frozen=True)
class _Running:
    call: Callable[[], Any]
    values: Callable[[], np.ndarray]


@dataclass(frozen=True)
class _Started:
    case: Case
    running: Mapping[str, _Running]

    def burst(self, engine: str, seconds: float, most: int) -> list[float]:
        return burst(self.running[engine].call, seconds, most)

    def samples(self, engine: str) -> np.ndarray:
        values = np.ravel(self.running[engine].values())
        return values[np.linspace(0, values.size - 1, min(_SAMPLES, values.size)).astype(int)]


def _current(started: _Started | None) -> _Started:
    if started is None:
        raise RuntimeError("no case is started")
    return started


def _bind_torch(case: Case, layout: Layout) -> _Running:
    import torch

    memory = torch.channels_last if layout == "NHWC" else torch.contiguous_format
    given = _operands(case)
    # A gradient does not read the tensor it is the gradient of, but the operator takes shape and layout from it.
    shapes = {"x": case.conv.input_shape, "w": case.conv.weight_shape, "dy": case.conv.output_shape}
    x, w, dy = (
        torch.from_numpy(given.get(name, np.zeros(shape, np.float32))).contiguous(memory_format=memory)
        for name, shape in shapes.items()
    )
    call = _torch_call(case, x, w, dy)
    return _Running(call, lambda: call().contiguous().numpy())


def _torch_call(case: Case, x: torch.Tensor, w: torch.Tensor, dy: torch.Tensor) -> Callable[[], torch.Tensor]:
    import torch

    conv = case.conv
    top, left, bottom, right = conv.padding
    if (top, left) != (bottom, right):
        raise ValueError(f"{conv}: PyTorch pads opposite sides alike")
    padding, groups = (top, left), conv.channels
    if case.procedure == "forward":
        return lambda: torch.nn.functional.conv2d(x, w, None, conv.stride, padding, conv.dilation, groups)
    backward = torch.ops.aten.convolution_backward
    wanted = (case.procedure == "backward_data", case.procedure == "backward_weight", False)

    def gradient() -> torch.Tensor:
        gradients = backward(dy, x, w, None, conv.stride, padding, conv.dilation, False, (0, 0), groups, wanted)
        return gradients[wanted.index(True)]

    return gradient


def _operands(case: Case, layout: Layout = "NCHW") -> dict[str, np.ndarray]:
    """The inputs of the procedure, the same numbers in every process and layout."""
    shapes = operand_shapes(case.procedure, case.conv)
    return {name: _numbers(name, shape, layout) for name, shape in shapes.items() if name != _RESULT[case.procedure]}


def _numbers(name: str, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    """Random numbers for one image, which the others have multiples of: to transpose a batch would take longer."""
    # Operands differ, or a result could come out right from the wrong one.
    first = 1000 * ("x", "w", "dy").index(name)
    if name == "w":
        weights = np.resize(_normal_numbers()[first:], shape)
        return weights if layout == "NCHW" else np.ascontiguousarray(weights[:, 0].transpose(1, 2, 0))
    image = np.resize(_normal_numbers()[first:], shape[1:])
    image = image if layout == "NCHW" else np.ascontiguousarray(image.transpose(1, 2, 0))
    factors = np.arange(1, shape[0] + 1, dtype=np.float32) / shape[0]
    return image * factors[:, None, None, None]


@lru_cache(maxsize=1)
def _normal_numbers() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(1_000_003, np.float32)


def _to_nchw(result: np.ndarray, procedure: Procedure, layout: Layout) -> np.ndarray:
    if layout == "NCHW":
        return result
    return result.transpose(2, 0, 1)[:, None] if procedure == "backward_weight" else result.transpose(0, 3, 1, 2)
