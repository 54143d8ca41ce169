"""From a backbone in Relax to a trainer whose depthwise convolutions, forward and backward, are this project's."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.training import SetupTrainer, Trainer

from tvm_dwfuse import threads as thread_pool
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.pipeline import build_training_pipeline
from tvm_dwfuse.targets import host_target

from .dilated_gradient import register_dilated_gradient


def build_trainer(
    backbone: tvm.IRModule,
    loss: Any,
    optimizer: Any,
    loss_args: list[relax.TensorType],
    threads: int = 1,
    depthwise: bool = True,
) -> Trainer:
    """Differentiate and compile a backbone for the machine at hand; its parameters are not yet set.

    Args:
        backbone: a module as ``relax.training.SetupTrainer`` takes it, convolutions in NCHW and OIHW: a function
            ``backbone`` of one dataflow block, attributes ``param_num`` and ``state_num``.
        loss: a ``relax.training.loss.Loss``.
        optimizer: a ``relax.training.optimizer.Optimizer``: ``SGD`` or ``MomentumSGD``, as ``Adam`` fails in TVM 0.27.
        loss_args: types of the loss function's arguments: the backbone's output and the labels.
        threads: threads that each kernel uses.
        depthwise: whether depthwise convolutions and their gradients are our kernels; else they are left to TVM.

    Raises:
        DwfuseError: TVM cannot differentiate the backbone, or there are fewer cores than threads.
    """
    thread_pool.check(threads)
    register_dilated_gradient()
    try:
        graph = SetupTrainer(loss, optimizer, loss_args, legalize=False)(backbone)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise DwfuseError(f"the backbone cannot be made a training graph: {_last_line(error)}") from error
    machine = host_target()
    lowered = build_training_pipeline(machine, threads, depthwise)(graph)
    executable = tvm.compile(lowered, machine.tvm_target(), relax_pipeline=None)
    thread_pool.configure(threads)
    return Trainer(graph, relax.VirtualMachine(executable, tvm.cpu()), tvm.cpu(), zero_init_param_state=False)


def _last_line(error: Exception) -> str:
    """What TVM says at the end of its message, which may hold a C++ backtrace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
