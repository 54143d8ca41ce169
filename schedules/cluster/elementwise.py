"""Sums and global average pools: tiles in, kernel on all cores, tiles out."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script.builder import ir as T

from tvm_dwfuse.codegen_gap8 import intrinsics
from tvm_dwfuse.groups import Group
from tvm_dwfuse.tiling.elementwise import AddPlan, PoolPlan

from .emit import (
    ACTIVATION,
    Pointer,
    Scalar,
    Slots,
    allocate,
    ceil_div,
    each_core,
    emit,
    fetch,
    let,
    loop,
    part,
    scalars,
    smaller,
    store,
    tensor,
    wait,
    when,
)


def add_function(group: Group, plan: AddPlan) -> tirx.PrimFunc:
    """The PrimFunc of a sum; see :func:`.build.build_group`."""
    layer = group.layers[0]
    inputs, outputs = _slots(plan)
    with IRBuilder() as builder, T.prim_func():
        T.func_name(group.name)
        T.func_attr({"gap8.doc": f"{layer.name}: {group.variant}", "gap8.ranges": [["begin", "end"]]})
        a, b, y = (tensor(name, "uint8") for name in ("a", "b", "y"))
        begin, end = scalars("begin", "end")
        l1 = allocate(plan.buffers)
        stride = plan.buffers[0].elements

        def tile(turn: Scalar) -> tuple[Scalar, Scalar]:
            first = let("first", turn * plan.chunk)
            return first, let("count", smaller(plan.chunk, end - begin - first))

        def start(turn: Scalar) -> None:
            first, count = tile(turn)
            for source, place in ((a, l1["l1_a"]), (b, l1["l1_b"])):
                fetch(inputs.slot(turn), ACTIVATION, place.at(inputs.turn(turn) * stride), source.at(first), count)

        steps = let("steps", ceil_div(end - begin, plan.chunk))
        with loop("step", 0, steps) as turn:
            _prefetch(turn, steps, inputs, outputs, start)
            first, count = tile(turn)
            result = l1["l1_y"].at(outputs.turn(turn) * stride)
            with each_core(plan.cores) as core:
                lo, share = part("element", core, plan.cores, count, 4)
                taken = {name: l1[f"l1_{name}"].at(inputs.turn(turn) * stride + lo) for name in ("a", "b")}
                with when(share > 0):
                    emit(
                        intrinsics.add(
                            **taken,
                            count=share,
                            multiplier_a=int(layer.multiplier[0]),
                            multiplier_b=int(layer.multiplier[1]),
                            offset=int(layer.offset[0]),
                            shift=layer.shift,
                            y=result.at(lo),
                        )
                    )
            store(outputs.slot(turn), result, y.at(first), count)
        outputs.drain()
    return builder.get()


def pool_function(group: Group, plan: PoolPlan) -> tirx.PrimFunc:
    """The PrimFunc of a global average pool; see :func:`.build.build_group`."""
    layer = group.layers[0]
    pixels = plan.height * plan.width
    inputs, outputs = _slots(plan)
    with IRBuilder() as builder, T.prim_func():
        T.func_name(group.name)
        T.func_attr({"gap8.doc": f"{layer.name}: {group.variant}", "gap8.ranges": [["begin", "end"]]})
        x, y = tensor("x", "uint8"), tensor("y", "uint8")
        begin, end = scalars("begin", "end")
        l1 = allocate(plan.buffers)

        def tile(turn: Scalar) -> tuple[Scalar, Scalar]:
            first = let("first", begin + turn * plan.tile)
            return first, let("count", smaller(plan.tile, end - first))

        def source(turn: Scalar) -> Pointer:
            return l1["l1_x"].at(inputs.turn(turn) * pixels * plan.tile)

        def start(turn: Scalar) -> None:
            first, count = tile(turn)
            slot = inputs.slot(turn)
            if plan.layout == "chw":
                fetch(slot, ACTIVATION, source(turn), x.at(first * pixels), count * pixels)
            elif plan.tile == plan.channels:
                fetch(slot, ACTIVATION, source(turn), x, pixels * plan.channels)
            else:
                fetch(slot, ACTIVATION, source(turn), x.at(first), count, lines=pixels, stride=plan.channels)

        steps = let("steps", ceil_div(end - begin, plan.tile))
        with loop("step", 0, steps) as turn:
            _prefetch(turn, steps, inputs, outputs, start)
            first, count = tile(turn)
            x_pixel, x_channel = (1, pixels) if plan.layout == "chw" else (count, 1)
            result = l1["l1_y"].at(outputs.turn(turn) * plan.tile)
            with each_core(plan.cores) as core:
                lo, share = part("channel", core, plan.cores, count, 4)
                with when(share > 0):
                    emit(
                        intrinsics.average_pool(
                            x=source(turn).at(lo * x_channel),
                            x_pixel=x_pixel,
                            x_channel=x_channel,
                            pixels=pixels,
                            channels=share,
                            multiplier=int(layer.multiplier[0]),
                            offset=int(layer.offset[0]),
                            shift=layer.shift,
                            y=result.at(lo),
                        )
                    )
            store(outputs.slot(turn), result, y.at(first), count)
        outputs.drain()
    return builder.get()


def _slots(plan: AddPlan | PoolPlan) -> tuple[Slots, Slots]:
    """Slots of the input and of the output."""
    count = 2 if plan.double and plan.steps > 1 else 1
    return Slots(0, count), Slots(6, count)


def _prefetch(turn: Scalar, steps: Scalar, inputs: Slots, outputs: Slots, start: Callable[[Scalar], None]) -> None:
    """Have the input of ``turn`` in L1 and the output's place free, and with two slots the next input on its way."""
    with when(True if inputs.buffers == 1 else turn == 0):
        start(turn)
    wait(inputs.slot(turn))
    wait(outputs.slot(turn))
    if inputs.buffers > 1:
        with when(turn + 1 < steps):
            start(turn + 1)
