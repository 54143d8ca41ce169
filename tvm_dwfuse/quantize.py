"""Quantization of a float ONNX network after training, by ``onnxruntime.quantization`` and calibration data."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from .errors import DwfuseError
from .files import check_writable, write_onnx

if TYPE_CHECKING:
    from .exact_scales import ExactScales

#: Called with what is being done, how much of it is done, and out of how much.
Progress = Callable[[str, int, int], None]

_PHASES = 4

#: Per-channel weights need it.
_OLDEST_OPSET = 13


def quantize(
    model: str | Path,
    calibration: str | Path,
    output: str | Path,
    per_channel: bool = True,
    on_progress: Progress | None = None,
) -> ExactScales:
    """Quantize a float network to uint8 activations and int8 weights, and write it as ONNX in QDQ form.

    Batch norm is folded and activations are fused first. The scales of weights are chosen such that the integer
    arithmetic of :mod:`tvm_dwfuse.quantization` gives what ONNX Runtime gives, bit for bit.

    Args:
        model: a float ONNX file of opset 7 or newer.
        calibration: inputs that are typical: .npz with an array for each input by name, or .npy for a single input;
            the first axis counts the examples.
        output: the ONNX file to write.
        per_channel: one weight scale for each output channel; one for the whole tensor otherwise.

    Returns:
        How many layers with weights there are, and how many of them agree with ONNX Runtime exactly.

    Raises:
        DwfuseError: onnxruntime is not installed, the model cannot be read or is quantized already, the calibration
            data do not fit it, or the output cannot be written.
    """
    report = on_progress or (lambda text, done, total: None)
    output = Path(output)
    check_writable(output)
    _check_onnxruntime()
    report("reading", 0, _PHASES)
    proto = _read(Path(model))
    examples = _Examples(proto, str(model), Path(calibration))
    with tempfile.TemporaryDirectory(prefix="dwfuse-") as scratch, _quiet():
        report("simplifying", 1, _PHASES)
        simplified = _simplified(proto, str(model), Path(scratch))
        quantized = _quantized(simplified, str(model), examples, Path(scratch), per_channel, report)
    from .exact_scales import make_scales_exact

    report("choosing scales", 3, _PHASES)
    exact = make_scales_exact(quantized, simplified)
    write_onnx(output, quantized)
    return exact


class _Examples:
    """Calibration data as onnxruntime's quantizer asks for it: one batch of the model at a time."""

    def __init__(self, model: onnx.ModelProto, label: str, path: Path) -> None:
        weights = {tensor.name for tensor in model.graph.initializer}
        self._inputs = [value for value in model.graph.input if value.name not in weights]
        arrays = _load_arrays(path, [value.name for value in self._inputs])
        self._arrays = {value.name: _checked(value, arrays, label, path) for value in self._inputs}
        counts = {name: len(array) for name, array in self._arrays.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise DwfuseError(f"{path}: arrays of different numbers of examples ({listed})")
        batches = {value.type.tensor_type.shape.dim[0].dim_value or 1 for value in self._inputs}
        self._batch = max(batches)
        self.count = next(iter(counts.values())) // self._batch
        if not self.count:
            raise DwfuseError(f"{path}: holds no examples, or fewer than the model's batch of {self._batch}")
        self.on_next: Callable[[int], None] = lambda done: None
        self._done = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs by name; None when there are no more."""
        if self._done == self.count:
            return None
        part = slice(self._done * self._batch, (self._done + 1) * self._batch)
        self.on_next(self._done)
        self._done += 1
        return {name: array[part] for name, array in self._arrays.items()}


def _check_onnxruntime() -> None:
    try:
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise DwfuseError("quantizing needs onnxruntime: pip install 'tvm-dwfuse[quantize]'") from error


def _read(path: Path) -> onnx.ModelProto:
    from .frontend.load import load_model

    proto = load_model(path, str(path))
    quantized = next((node for node in proto.graph.node if node.op_type in _QUANTIZED), None)
    if quantized is not None:
        raise DwfuseError(f"{path}: is quantized already (it has a {quantized.op_type}); give the float network")
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, _OLDEST_OPSET)
        except Exception as error:  # the converter raises what it likes
            raise DwfuseError(f"{path}: opset {opset}; export it with opset {_OLDEST_OPSET} or newer") from error
    return proto


_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm", "DynamicQuantizeLinear"}


def _load_arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if len(names) != 1:
                raise DwfuseError(f"{path}: one array for {len(names)} inputs; give a .npz with {', '.join(names)}")
            return {names[0]: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise DwfuseError(f"{path}: calibration data cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DwfuseError(f"{path}: not a .npz or .npy file of numbers") from error


def _checked(value: onnx.ValueInfoProto, arrays: dict[str, np.ndarray], label: str, path: Path) -> np.ndarray:
    """The array of an input, in the input's type; its examples must have the input's shape."""
    if value.name not in arrays:
        given = ", ".join(arrays) or "none"
        raise DwfuseError(f"{path}: no array for input {value.name!r} of {label}; arrays in the file: {given}")
    array = arrays[value.name]
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    fits = array.ndim == len(dims) and all(dim in (0, array.shape[axis]) for axis, dim in enumerate(dims) if axis)
    if not fits or array.dtype.kind not in "fiub":
        wanted = ", ".join(["examples", *(str(dim or "any") for dim in dims[1:])])
        raise DwfuseError(
            f"{path}: input {value.name!r} needs numbers of shape ({wanted}); got {array.dtype} of {array.shape}"
        )
    if not np.isfinite(array).all():
        raise DwfuseError(f"{path}: input {value.name!r} holds NaN or infinity")
    return array.astype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _simplified(model: onnx.ModelProto, label: str, scratch: Path) -> onnx.ModelProto:
    """The model with batch norm folded, every node with a name of its own."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, target = scratch / "float.onnx", scratch / "simplified.onnx"
    onnx.save(model, source)
    try:
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    except Exception as error:  # onnxruntime has no common base of its exceptions
        raise DwfuseError(f"{label}: ONNX Runtime cannot prepare it: {_first_line(error)}") from error
    simplified = onnx.load(target)
    seen: set[str] = set()
    for number, node in enumerate(simplified.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.name or node.op_type}_{number}"
        seen.add(node.name)
    return simplified


def _quantized(
    model: onnx.ModelProto, label: str, examples: _Examples, scratch: Path, per_channel: bool, report: Progress
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    examples.on_next = lambda done: report("calibrating", done, examples.count)
    source, target = scratch / "named.onnx", scratch / "quantized.onnx"
    onnx.save(model, source)
    try:
        quantize_static(
            str(source),
            str(target),
            examples,
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
    except Exception as error:  # see above
        raise DwfuseError(f"{label}: ONNX Runtime cannot quantize it: {_first_line(error)}") from error
    return onnx.load(target)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Without onnxruntime's advice to run what is run here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
