"""Small ONNX graphs for the tests of the importer, and what ONNX Runtime and TVM make of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

IR_VERSION = {7: 3, 9: 4, 11: 6, 13: 7, 17: 8, 21: 10}


class OnnxNet:
    """A graph that grows node by node; values are named by what made them."""

    def __init__(self, opset: int, seed: int = 0) -> None:
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}.{self.count}"

    def input(self, *shape: int | str) -> str:
        name = self.name("input")
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def constant(self, values: np.ndarray | list | float, dtype: str = "int64") -> str:
        name = self.name("constant")
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, *shape: int, scale: float | None = None) -> str:
        scale = scale or 1 / np.sqrt(max(1, np.prod(shape[1:])))
        return self.constant(self.random.standard_normal(shape) * scale, "float32")

    def node(self, op: str, *inputs: str, outputs: int = 0, **attributes: object) -> str | list[str]:
        results = [self.name(op) for _ in range(outputs or 1)]
        self.nodes.append(helper.make_node(op, list(inputs), results, results[0], **attributes))
        return results if outputs else results[0]

    def conv(self, x: str, shape: tuple[int, ...], **attributes: object) -> str:
        return self.node("Conv", x, self.weight(*shape), **attributes)

    def batch_norm(self, x: str, channels: int) -> str:
        scale, shift, mean = (self.weight(channels, scale=0.5) for _ in range(3))
        variance = self.constant(self.random.uniform(0.5, 2, channels), "float32")
        return self.node("BatchNormalization", x, scale, shift, mean, variance)

    def model(self, *outputs: str, list_initializers: bool | None = None) -> onnx.ModelProto:
        """The model; before IR version 4, initializers have to be listed as inputs."""
        ir_version = IR_VERSION[self.opset]
        inputs = list(self.inputs)
        if list_initializers or ir_version < 4:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.initializers]
        results = [helper.make_empty_tensor_value_info(name) for name in outputs]
        for result in results:
            result.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "net", inputs, results, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir_version)


def random_inputs(module: tvm.IRModule, seed: int = 1) -> dict[str, np.ndarray]:
    """Arrays for the parameters of ``main``, by name."""
    random = np.random.default_rng(seed)
    shapes = {param.name: [int(size) for size in param.ty.shape] for param in module["main"].params}
    return {name: random.standard_normal(shape).astype("float32") for name, shape in shapes.items()}


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


def run_tvm(module: tvm.IRModule, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of ``main`` under TVM's own default pipeline."""
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    arrays = [tvm.runtime.tensor(np.ascontiguousarray(inputs[param.name])) for param in module["main"].params]
    result = machine["main"](*arrays)
    return [result.numpy()] if hasattr(result, "numpy") else [field.numpy() for field in result]


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Equal to ``tolerance`` of the range of what is expected."""
    assert actual.shape == expected.shape
    span = float(expected.max() - expected.min())
    assert span > 0, "outputs that are all alike would prove nothing"
    assert np.abs(actual - expected).max() <= tolerance * span


def operators(module: tvm.IRModule) -> list[str]:
    """Names of the operators that ``main`` calls, in order."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    return [binding.value.op.name for binding in bindings if isinstance(binding.value, relax.Call)]
