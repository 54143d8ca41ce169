"""Random networks of everything that surrounds a convolution, before and after canonicalisation."""

from __future__ import annotations

import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay_passes import canonicalize_passes
from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet, assert_close, random_inputs, run_onnxruntime, run_tvm
from tvm_dwfuse.frontend import import_onnx

LAYERS = (
    *("conv", "depthwise", "batch_norm", "relu6", "hard_swish", "swish", "squeeze_excite"),
    *("residual", "concat", "split", "shuffle", "pool", "pad", "scale", "transposed"),
)
CHANNELS = 6


class RandomNet(OnnxNet):
    """Layers that keep six channels, on images of any size; earlier values of the same size are remembered."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(17)
        self.height, self.width = height, width
        self.earlier: list[str] = []

    def conv1x1(self, x: str, channels: int = CHANNELS) -> str:
        return self.conv(x, (CHANNELS, channels, 1, 1))

    def depthwise(self, x: str) -> str:
        return self.conv(x, (CHANNELS, 1, 3, 3), group=CHANNELS, pads=[1, 1, 1, 1])

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0, "float32"), self.constant(6, "float32"))

    def hard_swish(self, x: str) -> str:
        return self.node("HardSwish", x)

    def swish(self, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def squeeze_excite(self, x: str) -> str:
        return self.node("Mul", self.node("Sigmoid", self.conv1x1(self.node("GlobalAveragePool", x))), x)

    def residual(self, x: str) -> str:
        return self.node("Add", self.earlier[0], x)

    def concat(self, x: str) -> str:
        return self.conv1x1(self.node("Concat", x, self.earlier[0], axis=1), 2 * CHANNELS)

    def split(self, x: str) -> str:
        left, right = self.node("Split", x, self.constant([2, 4]), outputs=2, axis=1)
        return self.node("Concat", right, self.node("Relu", left), axis=1)

    def shuffle(self, x: str) -> str:
        image = [self.height, self.width]
        y = self.node("Reshape", x, self.constant([1, 2, 3, *image]))
        y = self.node("Transpose", y, perm=[0, 2, 1, 3, 4])
        return self.node("Reshape", y, self.constant([1, CHANNELS, *image]))

    def pool(self, x: str) -> str:
        self.height, self.width = (self.height + 1) // 2, (self.width + 1) // 2
        self.earlier = []
        return self.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])

    def pad(self, x: str) -> str:
        y = self.node("Pad", x, self.constant([0, 0, 1, 0, 0, 0, 1, 2]))
        return self.conv(y, (CHANNELS, CHANNELS // 3, 3, 3), group=3)

    def scale(self, x: str) -> str:
        return self.node("Sub", self.node("Mul", x, self.weight(CHANNELS, 1, 1, scale=1)), self.weight(1, scale=1))

    def transposed(self, x: str) -> str:
        """An operator on pixels and channels that no channels-last rule is made for."""
        y = self.node("Softmax", self.node("Transpose", x, perm=[0, 3, 2, 1]), axis=-1)
        return self.node("Transpose", y, perm=[0, 3, 2, 1])

    def layer(self, kind: str, x: str) -> str:
        if kind == "conv":
            return self.conv1x1(x)
        if kind == "batch_norm":
            return super().batch_norm(x, CHANNELS)
        return getattr(self, kind)(x)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    layers=st.lists(st.sampled_from(LAYERS), min_size=3, max_size=9),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    head=st.sampled_from(["image", "flatten", "pool"]),
)
def test_canonical_network_computes_the_same(layers: list[str], size: tuple[int, int], head: str) -> None:
    net = RandomNet(*size)
    x = net.conv1x1(net.input(1, CHANNELS, *size))
    for kind in layers:
        net.earlier.append(x)
        x = net.layer(kind, x)
    if head == "flatten":
        pixels = net.height * net.width
        x = net.node("Gemm", net.node("Flatten", x), net.weight(5, CHANNELS * pixels), net.weight(5), transB=1)
    if head == "pool":
        x = net.node("MatMul", net.node("ReduceMean", x, axes=[2, 3], keepdims=0), net.weight(CHANNELS, 5))
    model = net.model(x)
    module = tvm.transform.Sequential(canonicalize_passes())(import_onnx(model))
    inputs = random_inputs(module)
    assert_close(run_tvm(module, inputs)[0], run_onnxruntime(model, inputs)[0])
