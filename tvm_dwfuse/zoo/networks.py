"""From a table to a graph: each layer kind of a table is one function here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from tvm_dwfuse.zoo.graph import GraphWriter, Tensor
from tvm_dwfuse.zoo.table import LayerRow, Table

Pair = tuple[int, int]


@dataclass(frozen=True)
class Builder:
    """What the layer functions share: the writer, the table and the chosen width ("" where the table has none)."""

    writer: GraphWriter
    table: Table
    width: str = ""

    def channels(self, row: LayerRow) -> int:
        """Output channels of a row at the chosen width, by the table's `rounding` or its list of channels."""
        text = row.options["c"]
        if "|" in text:
            return int(text.split("|")[self.table.words("widths").index(self.width)])
        width = float(self.width or 1)
        if row.options.get("scale") == "widen":
            width = max(width, 1.0)
        if self.table.settings.get("rounding") == "floor":
            return max(8, int(int(text) * width))
        return make_divisible(int(text) * width) if self.width else int(text)

    def activation(self, row: LayerRow) -> str:
        """The row's own activation, or the table's."""
        return row.options.get("act", self.table.settings["activation"])

    @property
    def pooling(self) -> str:
        """How a global average is written: `global`, `mean` or `window`."""
        return self.table.settings.get("pooling", "global")


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90 % of `value`.

    TF-Slim's rule (research/slim/nets/mobilenet/mobilenet.py), which all later papers took over.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def conv_bn(
    b: Builder, x: Tensor, scope: str, channels: int, *, k: Pair = (1, 1), s: Pair = (1, 1), act: str, dw: bool = False
) -> Tensor:
    """Convolution (depthwise when `dw`), batch norm, activation (`none` for a linear one)."""
    x = b.writer.conv(x, f"{scope}/conv", channels, k, s, depthwise=dw)
    x = b.writer.batch_norm(x, f"{scope}/bn", linear=act == "none")
    return b.writer.activation(x, f"{scope}/act", act)


def conv(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """A plain convolution."""
    return conv_bn(b, x, scope, b.channels(row), k=row.pair("k"), s=s, act=b.activation(row))


def dwpw(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """Depthwise, then pointwise."""
    act = b.activation(row)
    x = conv_bn(b, x, f"{scope}/dw", x.channels, k=row.pair("k"), s=s, act=act, dw=True)
    return conv_bn(b, x, f"{scope}/pw", b.channels(row), act=act)


def mbconv(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """The inverted residual, with squeeze-and-excitation and a residual add where the row and the shapes say so."""
    shortcut, act, channels = x, b.activation(row), b.channels(row)
    middle = row.number("mid", x.channels * row.number("e"))
    if middle != x.channels:
        x = conv_bn(b, x, f"{scope}/expand", middle, act=act)
    x = conv_bn(b, x, f"{scope}/dw", middle, k=row.pair("k"), s=s, act=act, dw=True)
    if "se" in row.options:
        x = squeeze_excite(b, x, f"{scope}/se", shortcut.channels, row.number("se"))
    x = conv_bn(b, x, f"{scope}/project", channels, act="none")
    if s != (1, 1) or channels != shortcut.channels:
        return x
    return b.writer.add(shortcut, x, scope)


def squeeze_excite(b: Builder, x: Tensor, scope: str, block_input: int, ratio: int) -> Tensor:
    """Scale each channel by a gate computed from the channels' means."""
    base, act, gate = b.table.words("squeeze")
    squeezed = make_divisible(x.channels // ratio) if base == "expanded" else max(1, block_input // ratio)
    means = b.writer.global_pool(x, scope, written_as=b.pooling)
    hidden = b.writer.conv(means, f"{scope}/reduce", squeezed, (1, 1), bias=True)
    hidden = b.writer.activation(hidden, f"{scope}/reduce", act)
    scale = b.writer.conv(hidden, f"{scope}/expand", x.channels, (1, 1), bias=True)
    return b.writer.multiply(x, b.writer.activation(scale, f"{scope}/expand", gate), scope)


def shuffle(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """ShuffleNetV2 unit: split (or, at stride 2, copy) into two branches, join, shuffle the channels of two groups."""
    half, act = b.channels(row) // 2, b.activation(row)
    if s == (1, 1):
        left, right = b.writer.split(x, scope)
    else:
        left = conv_bn(b, x, f"{scope}/left_dw", x.channels, k=(3, 3), s=s, act="none", dw=True)
        left = conv_bn(b, left, f"{scope}/left_pw", half, act=act)
        right = x
    right = conv_bn(b, right, f"{scope}/right_pw1", half, act=act)
    right = conv_bn(b, right, f"{scope}/right_dw", half, k=(3, 3), s=s, act="none", dw=True)
    right = conv_bn(b, right, f"{scope}/right_pw2", half, act=act)
    return b.writer.channel_shuffle(b.writer.concat(left, right, scope), scope, groups=2)


def maxpool(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """Max pooling."""
    return b.writer.max_pool(x, scope, row.pair("k"), s)


def pool(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """Global average, flattened to [N, C]."""
    if b.pooling == "mean":
        return b.writer.global_pool(x, scope, written_as="mean", keepdims=False)
    return b.writer.flatten(b.writer.global_pool(x, scope, written_as=b.pooling), scope)


def dense(b: Builder, x: Tensor, scope: str, row: LayerRow, s: Pair) -> Tensor:
    """Fully connected; a width never scales it."""
    act = row.options.get("act", "none")
    x = b.writer.dense(x, scope, row.number("c"), centred=act == "none")
    return b.writer.activation(x, scope, act)


LAYERS: dict[str, Callable[[Builder, Tensor, str, LayerRow, Pair], Tensor]] = {
    "conv": conv,
    "dwpw": dwpw,
    "mbconv": mbconv,
    "shuffle": shuffle,
    "maxpool": maxpool,
    "pool": pool,
    "dense": dense,
}


def build_table(
    table: Table, name: str, *, width: str, resolution: str, batch: int | None, opset: int, seed: int
) -> onnx.ModelProto:
    """Build the network that `table` describes; input [batch, C, H, W], output [batch, classes].

    `width` and `resolution` are words of the table's lists, or empty where it has none.
    """
    writer = GraphWriter(batch=batch, opset=opset, seed=seed, padding=table.settings.get("padding", "symmetric"))
    builder = Builder(writer, table, width)
    channels, rows, columns = table.input_shape
    x = writer.input((channels, int(resolution or rows), int(resolution or columns)))
    count = 0
    for row in table.layers:
        for repeat in range(row.number("n")):
            stride = row.pair("s") if repeat == 0 else (1, 1)
            x = LAYERS[row.kind](builder, x, f"/{count:02d}_{row.kind}", row, stride)
            count += 1
    return writer.model(x, name)
