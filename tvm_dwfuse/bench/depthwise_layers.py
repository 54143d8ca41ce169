"""The depthwise layers that are measured: those of well-known networks, each geometry once."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.kernels.depthwise import Depthwise

#: A dozen that stand for the rest: every kernel size, both strides, large and small images, many and few channels.
QUICK = (
    "32@112",
    "64@112 s2",
    "128@56",
    "72@56 5x5 s2",
    "256@28",
    "240@28 5x5",
    "512@14",
    "512@14 s2",
    "672@14 5x5",
    "1024@7",
    "160@8 7x7",
    "64@25x5",
)


@dataclass(frozen=True)
class Layer:
    """A layer's geometry, for one image in NCHW, and the networks that have it."""

    conv: Depthwise
    networks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Channels, input size, kernel unless 3x3, stride unless 1: ``32@112``, ``672@14 5x5 s2``, ``64@25x5``."""
        conv = self.conv
        size = f"{conv.height}" if conv.height == conv.width else f"{conv.height}x{conv.width}"
        words = [f"{conv.channels}@{size}"]
        if conv.kernel != (3, 3):
            words.append(f"{conv.kernel[0]}x{conv.kernel[1]}")
        if conv.stride != (1, 1):
            words.append(f"s{conv.stride[0]}")
        return " ".join(words)


@lru_cache(maxsize=1)
def all_layers() -> dict[str, Layer]:
    """Every geometry of the table ``depthwise_layers.csv`` by its name, in the table's order."""
    layers: dict[str, Layer] = {}
    for row in _read_table():
        sizes = {name: int(text) for name, text in row.items() if name != "network"}
        layer = Layer(_geometry(**sizes), (row["network"],))
        known = layers.get(layer.name)
        if known is None:
            layers[layer.name] = layer
        elif row["network"] not in known.networks:
            layers[layer.name] = replace(known, networks=(*known.networks, row["network"]))
    return layers


def parse_layers(text: str) -> list[Layer]:
    """Layers by name, divided by commas; ``all`` and ``quick`` stand for the whole table and for :data:`QUICK`.

    Raises:
        DwfuseError: there is no layer of that name.
    """
    known = all_layers()
    groups = {"all": list(known), "quick": list(QUICK)}
    names: list[str] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if word not in groups and word not in known:
            raise DwfuseError(f"--layers: unknown layer {word!r}; known: all, quick, {', '.join(known)}")
        names += groups.get(word, [word])
    if not names:
        raise DwfuseError("--layers: no layer is named; known: all, quick, " + ", ".join(known))
    return [known[name] for name in dict.fromkeys(names)]


def _read_table() -> list[dict[str, str]]:
    text = resources.files(__package__).joinpath("depthwise_layers.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _geometry(channels: int, height: int, width: int, kernel: int, stride: int, padding: int, count: int) -> Depthwise:
    return Depthwise(channels, height, width, (kernel, kernel), (stride, stride), (padding,) * 4)
