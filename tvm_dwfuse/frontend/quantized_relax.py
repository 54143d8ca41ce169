"""Integer networks as Relax modules, in the one form that later passes match and TVM itself can run.

All activations are uint8 NHWC of batch 1, and each layer is a fixed chain of operators::

    convolution    [nn.pad by the zero point] -> nn.conv2d to int32 -> multiply -> add -> right_shift -> clip -> astype
    addition       astype(a) * m0 + astype(b) * m1 -> add -> right_shift -> clip -> astype
    average pool   astype -> sum over the image -> multiply -> add -> right_shift -> clip -> astype

Weights are OHWI, so that each output channel is one row in the order (kernel row, kernel column, input channel).
Multipliers and offsets have shape (1, 1, 1, channels), or are scalars for an addition and a pool.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tvm import IRModule, relax
from tvm.relax import op

from ..blocks import Conv
from ..integer_network import Activation, Add, Layer, Network

#: Attributes of ``main``: the network's name, and its activations as JSON by the name of the variable that holds each:
#: ``{"scale", "zero_point", "layer"}``, ``layer`` being the ONNX node that writes it, or "" for an input.
NAME_ATTRIBUTE, ACTIVATIONS_ATTRIBUTE = "dwfuse.network", "dwfuse.activations"


def network_to_relax(network: Network) -> IRModule:
    """A module whose ``main`` computes ``network``: uint8 NHWC of batch 1 to the same, a tuple of several outputs.

    Parameters and the results of layers are variables of the names of their activations.
    """
    builder = relax.BlockBuilder()
    values: dict[str, Any] = {name: activation_var(network.activations[name]) for name in network.inputs}
    with builder.function("main", list(values.values())):
        with builder.dataflow():
            for layer in network.layers:
                result = layer_call(builder, layer, *(values[name] for name in layer.inputs))
                emit = builder.emit_output if layer.output in network.outputs else builder.emit
                values[layer.output] = emit(result, name_hint=layer.output)
        outputs = [values[name] for name in network.outputs]
        builder.emit_func_output(outputs[0] if len(outputs) == 1 else outputs)
    module = builder.get()
    main = module["main"].with_attr(NAME_ATTRIBUTE, network.name)
    module["main"] = main.with_attr(ACTIVATIONS_ATTRIBUTE, json.dumps(_grids(network)))
    return module


def activation_var(activation: Activation) -> relax.Var:
    """The variable of an activation: uint8 (1, height, width, channels)."""
    shape = (1, activation.height, activation.width, activation.channels)
    return relax.Var(activation.name, relax.TensorType(shape, "uint8"))


def layer_call(builder: relax.BlockBuilder, layer: Layer, *inputs: relax.Expr) -> relax.Expr:
    """Emit the operators of a layer; the last of them, which is of dtype uint8, is returned to be emitted."""
    if isinstance(layer.operator, Conv):
        accumulator, channels = _convolved(builder, layer, inputs[0]), True
        scaled = builder.emit(op.multiply(accumulator, _constants(layer.multiplier, channels)))
    elif isinstance(layer.operator, Add):
        channels = False
        terms = [
            builder.emit(op.multiply(builder.emit(op.astype(x, "int32")), relax.const(int(multiplier), "int32")))
            for x, multiplier in zip(inputs, layer.multiplier, strict=True)
        ]
        scaled = builder.emit(op.add(*terms))
    else:
        channels = False
        wide = builder.emit(op.astype(inputs[0], "int32"))
        total = builder.emit(op.sum(wide, axis=[1, 2], keepdims=True))
        scaled = builder.emit(op.multiply(total, _constants(layer.multiplier, channels)))
    moved = builder.emit(op.add(scaled, _constants(layer.offset, channels)))
    shifted = builder.emit(op.right_shift(moved, relax.const(layer.shift, "int32")))
    return op.astype(builder.emit(op.clip(shifted, 0, 255)), "uint8")


def _convolved(builder: relax.BlockBuilder, layer: Layer, x: relax.Expr) -> relax.Expr:
    conv = layer.operator
    assert isinstance(conv, Conv)
    assert layer.weights is not None
    if any(conv.padding):
        top, left, bottom, right = conv.padding
        x = builder.emit(op.nn.pad(x, [0, 0, top, bottom, left, right, 0, 0], pad_value=layer.pad_value))
    weights = relax.const(np.ascontiguousarray(layer.weights.transpose(0, 2, 3, 1)))
    return builder.emit(
        op.nn.conv2d(
            x,
            weights,
            strides=conv.strides,
            padding=0,
            dilation=conv.dilation,
            groups=conv.groups,
            data_layout="NHWC",
            kernel_layout="OHWI",
            out_dtype="int32",
        )
    )


def _constants(values: np.ndarray, by_channel: bool) -> relax.Constant:
    return relax.const(values.astype(np.int32).reshape(1, 1, 1, -1) if by_channel else values.astype(np.int32)[0])


def _grids(network: Network) -> dict[str, dict[str, Any]]:
    producers = network.producers
    return {
        name: {
            "scale": activation.scale,
            "zero_point": activation.zero_point,
            "layer": producers[name].name if name in producers else "",
        }
        for name, activation in network.activations.items()
    }
