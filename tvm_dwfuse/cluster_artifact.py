"""The manifest of an application for a cluster: its input and output as the model has them, and what became of it.

The folder is the application itself, which needs no manifest: ``manifest.json`` is for ``dwfuse run`` and ``dwfuse
explain``, which take and give arrays as the ONNX model does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .artifact import APPLICATION, MANIFEST, TensorInfo, is_application
from .errors import DwfuseError
from .integer_network import Activation

FORMAT = 1


@dataclass(frozen=True)
class Port:
    """An input or output: ``info`` as the model has it, ``activation`` as the network computes it.

    An image is (1, channels, height, width) in the model. Its dtype is float32, or that of the model's own quantized
    values: uint8, or int8 for uint8 less 128.
    """

    info: TensorInfo
    activation: Activation

    def to_stored(self, array: np.ndarray) -> np.ndarray:
        """A contiguous uint8 HWC array of an array as the model takes it, or uint8 of either layout.

        Raises:
            DwfuseError: another shape or dtype, or values that are not finite.
        """
        values = self._quantized(self._to_hwc(array))
        return np.ascontiguousarray(values)

    def from_stored(self, data: bytes, dequantize: bool = True) -> np.ndarray:
        """The array in the model's shape of uint8 HWC bytes; in its dtype, or as uint8 if not ``dequantize``."""
        a = self.activation
        image = np.frombuffer(data, np.uint8).reshape(a.height, a.width, a.channels)
        stored = np.ascontiguousarray(image.transpose(2, 0, 1).reshape(self.info.shape))
        if not dequantize or self.info.dtype == "uint8":
            return stored
        if self.info.dtype == "int8":
            return (stored.astype(np.int16) - 128).astype(np.int8)
        return ((stored.astype(np.int32) - a.zero_point) * np.float32(a.scale)).astype(np.float32)

    def _to_hwc(self, array: np.ndarray) -> np.ndarray:
        a = self.activation
        size = (a.height, a.width, a.channels)
        if array.shape == self.info.shape:
            return array.reshape(a.channels, a.height, a.width).transpose(1, 2, 0)
        if array.shape in (size, (1, *size)):
            return array.reshape(size)
        raise DwfuseError(
            f"input {self.info.name!r}: shape {list(array.shape)} given, {list(self.info.shape)} expected "
            f"(or {list(size)}, rows, columns, channels)"
        )

    def _quantized(self, image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint8 and self.info.dtype != "int8":
            return image
        if image.dtype == np.int8 and self.info.dtype == "int8":
            return (image.astype(np.int16) + 128).astype(np.uint8)
        if image.dtype != np.float32 or self.info.dtype != "float32":
            known = "float32, or uint8 as the network stores it" if self.info.dtype == "float32" else self.info.dtype
            raise DwfuseError(f"input {self.info.name!r}: dtype {image.dtype} given, {known} expected")
        if not np.isfinite(image).all():
            raise DwfuseError(f"input {self.info.name!r}: holds values that are not finite")
        steps = np.rint(image / np.float32(self.activation.scale)) + self.activation.zero_point
        return np.clip(steps, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Way:
    """A way to compute some layers, and its costs by the model, nothing of L3 in them.

    Args:
        variant: a fused variant, or "unfused"; several by " + ".
        cycles: of the cluster.
        bytes: of activations, moved between L2 and L1.
        energy: picojoules.
        memory: peak of bytes of activations alive at once.
    """

    variant: str
    cycles: int
    bytes: int
    energy: int
    memory: int


@dataclass(frozen=True)
class RunnerUp:
    """What would have been chosen without a block, for ``layers``, perhaps more than the block's own.

    ``instead`` is what they would cost then, ``chosen`` what they cost as they are.
    """

    layers: tuple[str, ...]
    instead: Way
    chosen: Way


@dataclass(frozen=True)
class GroupReport:
    """What became of one block or single layer.

    Args:
        name: of the generated function.
        layers: names of its layers.
        variant: the fused variant, or "unfused".
        tile: its knobs in words.
        buffers: bytes of each L1 buffer by name.
        l2: addresses in the L2 arena of the activations it reads and writes by name; -1 for one that lives in L3.
        l1_bytes: L1 that it needs.
        activation_bytes, constant_bytes: moved between L2 and L1.
        l3_bytes: moved between L3 and L2 around its calls.
        macs: multiply-accumulates.
        cycles: of the cluster, by the model; ``stalls`` of them waiting for L3.
        energy: picojoules by the model, L3 included.
        memory: bytes of activations alive while it is computed; not all of them in L2, if they do not fit.
        alternatives: ways to compute its layers between the same layouts, the best first: itself, other variants, and
            always "unfused".
        runner_up: the next best; None where there is no other way. It may even cost less, where what was chosen waits
            less for L3.
        origin: where the tile is from: "default", or such as "tuned (db/)".
        shape: of convolutions: height and width of the input, layouts in L2 and stages; None for a sum or pool.
    """

    name: str
    layers: tuple[str, ...]
    variant: str
    tile: str
    buffers: dict[str, int]
    l2: dict[str, int]
    l1_bytes: int
    activation_bytes: int
    constant_bytes: int
    l3_bytes: int
    macs: int
    cycles: int
    stalls: int
    energy: int = 0
    memory: int = 0
    alternatives: tuple[Way, ...] = ()
    runner_up: RunnerUp | None = None
    origin: str = "default"
    shape: dict[str, Any] | None = None

    @staticmethod
    def from_fields(fields: dict[str, Any]) -> GroupReport:
        """The report of which ``fields`` are what JSON has left of :func:`dataclasses.asdict`."""
        ways = tuple(Way(**way) for way in fields.get("alternatives", ()))
        other = fields.get("runner_up")
        if other:
            other = RunnerUp(tuple(other["layers"]), Way(**other["instead"]), Way(**other["chosen"]))
        known = {"layers": tuple(fields["layers"]), "alternatives": ways, "runner_up": other}
        return GroupReport(**{**fields, **known})


@dataclass(frozen=True)
class ClusterManifest:
    """The facts about an application. ``options`` are those of :class:`~tvm_dwfuse.cluster_options.ClusterOptions`.

    ``l1_bytes``, ``l2_bytes`` and ``l3_bytes`` are what the network uses of each memory, constants included;
    ``counters`` are the bytes that a run has to move, by the names under which the program counts them.
    """

    model: str
    options: dict[str, Any]
    input: Port
    output: Port
    groups: tuple[GroupReport, ...]
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    counters: dict[str, int]
    tvm_dwfuse: str
    kind: str = APPLICATION
    format: int = FORMAT

    @property
    def cycles(self) -> int:
        """Cycles of a run by the model."""
        return sum(group.cycles for group in self.groups)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a run."""
        return sum(group.macs for group in self.groups)

    @property
    def energy(self) -> int:
        """Picojoules of a run by the model."""
        return sum(group.energy for group in self.groups)

    @property
    def memory(self) -> int:
        """Peak of bytes of activations alive at once."""
        return max((group.memory for group in self.groups), default=0)

    @property
    def fused(self) -> dict[str, int]:
        """Number of fused blocks by variant."""
        names = sorted({group.variant for group in self.groups if len(group.layers) > 1})
        return {name: sum(group.variant == name for group in self.groups) for name in names}

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @staticmethod
    def from_json(text: str) -> ClusterManifest:
        """The manifest that :meth:`write` wrote.

        Raises:
            ValueError, KeyError, TypeError: the text is not a manifest.
        """
        fields: dict[str, Any] = json.loads(text)
        for key in ("input", "output"):
            info = fields[key]["info"]
            fields[key] = Port(
                TensorInfo(**{**info, "shape": tuple(info["shape"])}), Activation(**fields[key]["activation"])
            )
        groups = (GroupReport.from_fields(group) for group in fields["groups"])
        return ClusterManifest(**{**fields, "groups": tuple(groups)})


def read(folder: Path) -> ClusterManifest:
    """The manifest of the application in ``folder``.

    Raises:
        DwfuseError: it is no application for a cluster, or was made by another version.
    """
    from . import __version__

    if not is_application(folder):
        raise DwfuseError(f"{folder}: not an application for a cluster; `dwfuse compile --target gap8` writes them")
    try:
        manifest = ClusterManifest.from_json((folder / MANIFEST).read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise DwfuseError(f"{folder / MANIFEST}: damaged manifest; compile the model again") from error
    if (manifest.format, manifest.tvm_dwfuse) != (FORMAT, __version__):
        raise DwfuseError(f"{folder}: made by tvm_dwfuse {manifest.tvm_dwfuse}, this is {__version__}; compile again")
    return manifest
