"""Shapes left open, bad files and models, and what exporters do around the graph itself."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.tvm_dwfuse.frontend.onnx_net import OnnxNet, assert_close, random_inputs, run_onnxruntime, run_tvm
from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.frontend import import_onnx


def small_model(*shape: int | str, opset: int = 17) -> onnx.ModelProto:
    """Conv 1x1 4 -> 6 on an input of that shape, and a flatten computed from the batch size."""
    net = OnnxNet(opset)
    y = net.node("Conv", net.input(*shape), net.weight(6, 4, 1, 1), net.weight(6))
    size = net.node("Slice", net.node("Shape", y), net.constant([0]), net.constant([1]))
    shape_ = net.node("Concat", size, net.constant([-1]), axis=0)
    model = net.model(net.node("Reshape", y, shape_))
    model.graph.node[0].name = "stem"
    return model


def error_of(model: onnx.ModelProto | Path, shapes: dict[str, tuple[int, ...]] | None = None) -> str:
    with pytest.raises(DwfuseError) as caught:
        import_onnx(model, shapes)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("source", ["path", "str", "model"])
def test_open_batch_is_fixed_by_shapes(source: str, tmp_path: Path) -> None:
    model = small_model("batch", 4, 5, 3)
    onnx.save(model, tmp_path / "net.onnx")
    given = {"path": tmp_path / "net.onnx", "str": str(tmp_path / "net.onnx"), "model": model}[source]
    module = import_onnx(given, {"input.1": (3, 4, 5, 3)})
    inputs = random_inputs(module)
    assert {name: array.shape for name, array in inputs.items()} == {"input.1": (3, 4, 5, 3)}
    (actual,), (expected,) = run_tvm(module, inputs), run_onnxruntime(model, inputs)
    assert expected.shape == (3, 90)
    assert_close(actual, expected)


def test_named_dimension_is_fixed_in_every_input() -> None:
    net = OnnxNet(17)
    model = net.model(net.node("Add", net.input("batch", 3), net.input("batch", 3)))
    module = import_onnx(model, {"input.1": (5, 3)})
    assert [array.shape for array in random_inputs(module).values()] == [(5, 3), (5, 3)]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (("N", 4, 5, 3), "dimension 0 ('N') is left open; give the shape: --shape input.1:1,4,5,3"),
        ((1, 4, "h", "w"), "dimension 2 ('h') is left open; give the shape: --shape input.1:1,4,224,224"),
        ((0, 4, 5, 3), "dimension 0 is left open; give the shape: --shape input.1:1,4,5,3"),
    ],
)
def test_dimension_left_open_is_named_with_the_remedy(shape: tuple[int | str, ...], words: str) -> None:
    assert f"input 'input.1': {words}" in error_of(small_model(*shape))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"data": (1, 4, 5, 3)}, "no input 'data' to give a shape to; inputs: input.1"),
        ({"input.1": (1, 3, 5, 3)}, "shape 1,3,5,3 given, but dimension 1 is 4 in the model"),
        ({"input.1": (1, 4, 5)}, "shape 1,4,5 given, but the model has 4 dimensions"),
        ({"input.1": (0, 4, 5, 3)}, "every dimension must be at least 1"),
    ],
)
def test_shape_that_does_not_fit_is_refused(shapes: dict[str, tuple[int, ...]], words: str) -> None:
    assert words in error_of(small_model("N", 4, 5, 3), shapes)


def test_model_given_is_not_changed() -> None:
    model = small_model("N", 4, 5, 3)
    before = model.SerializeToString()
    import_onnx(model, {"input.1": (1, 4, 5, 3)})
    assert model.SerializeToString() == before


@pytest.mark.parametrize("content", [b"", b"hello, this is no model\n" * 20, bytes(range(256)), b"\x08\x07"])
def test_file_that_is_not_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert error_of(path) == f"{path}: not an ONNX model, or a truncated one"


def test_truncated_file_at_any_length(tmp_path: Path) -> None:
    content = small_model(1, 4, 5, 3).SerializeToString()
    path = tmp_path / "net.onnx"
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        assert error_of(path).startswith(f"{path}: ")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.onnx").endswith("none.onnx: cannot read the model: No such file or directory")
    assert error_of(tmp_path).endswith("cannot read the model: Is a directory")


def _save_with_external_data(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path.parent / "net.data"


def test_external_data_is_loaded(tmp_path: Path) -> None:
    model = small_model(1, 4, 5, 3)
    path = tmp_path / "net.onnx"
    _save_with_external_data(onnx.ModelProto.FromString(model.SerializeToString()), path)
    module = import_onnx(path)
    inputs = random_inputs(module)
    assert_close(run_tvm(module, inputs)[0], run_onnxruntime(model, inputs)[0])


def test_external_data_missing_or_truncated(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    data = _save_with_external_data(small_model(1, 4, 5, 3), path)
    with data.open("r+b") as file:
        file.truncate(8)
    assert f"{path}: cannot load the external weights in 'net.data'" in error_of(path)
    data.unlink()
    assert f"{path}: cannot load the external weights in 'net.data'" in error_of(path)
    assert "external data is not loaded" in error_of(onnx.load(path, load_external_data=False))


def test_unknown_operators_are_listed_with_a_node_of_each() -> None:
    model = small_model(1, 4, 5, 3)
    for op, domain in (("Frobnicate", ""), ("Conv", "acme"), ("Frobnicate", "")):
        node = helper.make_node(op, ["input.1"], [f"{op}_out"], f"my_{op.lower()}", domain=domain)
        model.graph.node.append(node)
    message = error_of(model)
    assert message.endswith("operators not supported: node 'my_frobnicate' (Frobnicate), node 'my_conv' (acme.Conv)")


def test_old_opset_is_refused() -> None:
    model = small_model(1, 4, 5, 3)
    model.opset_import[0].version = 6
    assert "opset 6; export it with opset 7 or newer" in error_of(model)


def test_invalid_graph_is_refused() -> None:
    model = small_model(1, 4, 5, 3)
    model.graph.node[0].input[0] = "nowhere"
    assert "invalid ONNX model" in error_of(model)
    assert "nowhere" in error_of(model)


def test_node_that_does_not_fit_its_input_is_named() -> None:
    assert "node 'stem' (Conv): " in error_of(small_model(1, 4, 5))


def test_batch_norm_in_training_mode_is_refused() -> None:
    net = OnnxNet(17)
    y = net.batch_norm(net.input(1, 4, 5, 3), 4)
    net.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
    net.nodes[-1].output.extend(["running_mean", "running_var"])
    assert "(BatchNormalization): in training mode; export the network for inference" in error_of(net.model(y))


def test_indices_of_a_maximum_are_refused() -> None:
    net = OnnxNet(17)
    y, _ = net.node("MaxPool", net.input(1, 4, 6, 6), outputs=2, kernel_shape=[2, 2])
    assert "(MaxPool): the indices of a maximum are not supported" in error_of(net.model(y))


def test_failure_inside_of_tvm_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    net = OnnxNet(17)
    pads = net.node("Cast", net.input(4), to=TensorProto.INT64)
    message = error_of(net.model(net.node("Pad", net.input(3, 4), pads)))
    assert message == "ONNX model: Error converting operator Pad: Dynamic pads are not supported yet."
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_a_dilated_kernel_that_does_not_fit_is_refused() -> None:
    net = OnnxNet(17)
    y = net.node("Conv", net.input(1, 4, 4, 4), net.weight(4, 1, 3, 3), group=4, dilations=[3, 3])
    message = error_of(net.model(y))
    assert message.startswith("ONNX model: conv2d: its output would be [1, 4, -2, -2]; the kernel, dilated, must fit")


def test_groups_that_do_not_divide_are_refused() -> None:
    net = OnnxNet(17)
    y = net.node("Conv", net.input(1, 6, 8, 8), net.weight(6, 1, 3, 3), group=4)
    assert "the data channel size is" in error_of(net.model(y))


def test_nan_weight_is_a_warning_that_names_it() -> None:
    model = small_model(1, 4, 5, 3)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[2, 1] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "stem_weight"))
    model.graph.node[0].input[1] = "stem_weight"
    with pytest.warns(UserWarning, match="initializer 'stem_weight' holds NaN"):
        import_onnx(model)


def test_sound_model_prints_and_warns_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_onnx(small_model(1, 4, 5, 3))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("listed", [False, True])
def test_initializers_listed_as_inputs_are_weights(listed: bool) -> None:
    net = OnnxNet(11)
    model = net.model(net.conv(net.input(1, 4, 5, 3), (6, 4, 1, 1)), list_initializers=listed)
    assert [param.name for param in import_onnx(model)["main"].params] == ["input.1"]


def test_functions_of_the_model_are_inlined() -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [helper.make_node("Sigmoid", ["a"], ["gate"]), helper.make_node("Mul", ["a", "gate"], ["b"])]
    function = helper.make_function("local", "Gate", ["a"], ["b"], body, opsets[:1])
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Gate", ["x"], ["y"], domain="local")], "g", shape[:1], shape[1:])
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    module = import_onnx(model)
    inputs = random_inputs(module)
    assert_close(run_tvm(module, inputs)[0], run_onnxruntime(model, inputs)[0])


def test_condition_on_a_shape_takes_its_branch() -> None:
    """torch.squeeze(x, 2), as PyTorch writes it: an If that asks whether the dimension is 1."""
    net = OnnxNet(17)
    x = net.input(2, 3, 1, 4)
    size = net.node("Gather", net.node("Shape", x), net.constant(2), axis=0)
    branches = [
        helper.make_graph([helper.make_node(op, inputs, [op])], op, [], [helper.make_empty_tensor_value_info(op)])
        for op, inputs in (("Squeeze", [x, net.constant([2])]), ("Identity", [x]))
    ]
    condition = net.node("Equal", size, net.constant(1))
    model = net.model(net.node("If", condition, then_branch=branches[0], else_branch=branches[1]))
    module = import_onnx(model)
    inputs = random_inputs(module)
    (actual,) = run_tvm(module, inputs)
    assert actual.shape == (2, 3, 4)
    np.testing.assert_array_equal(actual, inputs[x].reshape(2, 3, 4))


def test_swish_of_opset_24_is_decomposed() -> None:
    net = OnnxNet(21)
    net.opset = 21
    y = net.node("Swish", net.input(2, 3), alpha=1.5)
    model = net.model(y)
    model.opset_import[0].version, model.ir_version = 24, 11
    module = import_onnx(model)
    inputs = random_inputs(module)
    (x,) = inputs.values()
    np.testing.assert_allclose(run_tvm(module, inputs)[0], x / (1 + np.exp(-1.5 * x)), rtol=1e-5)
