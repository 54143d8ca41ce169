from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax.training.loss import MSELoss
from tvm.relax.training.optimizer import SGD

from tests.relay_passes.modules import build
from tvm_dwfuse import DwfuseError
from tvm_dwfuse.training.separable import SeparableBlock, initial_parameters, separable_backbone
from tvm_dwfuse.training.trainer import build_trainer

BACKBONE = separable_backbone(4, (2, 5, 6), 8, [SeparableBlock(8, stride=2), SeparableBlock(6, kernel=5)], 3)
TYPES = [relax.TensorType((4, 3), "float32")] * 2


def test_a_dilated_backbone_learns() -> None:
    """TVM alone refuses to differentiate it."""

    def body(emit, x, w):
        y = emit(relax.op.nn.conv2d(x, w, padding=2, dilation=2, groups=3))
        return relax.op.nn.conv2d(y, w, padding=2, dilation=2, groups=3)

    shapes = {"x": (2, 3, 6, 7), "w": (3, 1, 3, 3)}
    module = build(body, **shapes).with_attrs({"param_num": 1, "state_num": 0})
    backbone = module.clone()
    backbone["backbone"] = module["main"].with_attr("global_symbol", "backbone")
    del backbone["main"]
    types = [relax.TensorType(shapes["x"], "float32")] * 2
    random = np.random.default_rng(0)
    x, target, w = (random.standard_normal(shapes[name]).astype(np.float32) for name in ("x", "x", "w"))
    losses = {}
    for depthwise in (True, False):
        trainer = build_trainer(backbone, MSELoss("mean"), SGD(0.02), types, depthwise=depthwise)
        trainer.load_params([w])
        losses[depthwise] = [float(trainer.update(x, target).numpy()) for _ in range(10)]
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-4)
    assert losses[True][-1] < losses[True][0]


def test_initial_parameters() -> None:
    params = initial_parameters(BACKBONE, seed=0)
    assert list(params) == [
        f"{layer}_{kind}" for layer in ("stem", "dw0", "pw0", "dw1", "pw1", "head") for kind in ("weight", "bias")
    ]
    assert params["dw1_weight"].shape == (8, 1, 5, 5)
    assert params["head_weight"].shape == (6 * 3 * 3, 3)
    assert not any(params[name].any() for name in params if name.endswith("_bias") or name == "head_weight")
    np.testing.assert_array_equal(params["pw0_weight"], initial_parameters(BACKBONE, seed=0)["pw0_weight"])
    assert (params["pw0_weight"] != initial_parameters(BACKBONE, seed=1)["pw0_weight"]).all()


def _channels_last() -> tvm.IRModule:
    def body(emit, x, w):
        return relax.op.nn.conv2d(x, w, data_layout="NHWC", kernel_layout="HWIO")

    module = build(body, x=(4, 5, 6, 2), w=(5, 6, 2, 3))
    backbone = tvm.IRModule({"backbone": module["main"].with_attr("global_symbol", "backbone")})
    return backbone.with_attrs({"param_num": 1, "state_num": 0})


@pytest.mark.parametrize(
    ("backbone", "types", "words"),
    [
        (BACKBONE, [relax.TensorType((4, 3), "float32"), relax.TensorType((4, 2), "float32")], ""),
        (BACKBONE.without_attr("param_num"), TYPES, "param_num"),
        (_channels_last(), [relax.TensorType((4, 1, 1, 3), "float32")] * 2, "only support NCHW data layout"),
    ],
    ids=["labels of another shape", "no number of parameters", "NHWC"],
)
def test_bad_backbones(backbone: tvm.IRModule, types: list[relax.TensorType], words: str) -> None:
    with pytest.raises(
        DwfuseError, match=f"^the backbone cannot be made a training graph: .*{re.escape(words)}"
    ) as told:
        build_trainer(backbone, MSELoss("mean"), SGD(0.1), types)
    assert "\n" not in str(told.value)


def test_more_threads_than_cores() -> None:
    with pytest.raises(DwfuseError, match="threads: 4096 asked for"):
        build_trainer(BACKBONE, MSELoss("mean"), SGD(0.1), TYPES, threads=4096)
