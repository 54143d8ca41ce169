"""The model zoo: published networks built as ONNX, from shape tables, with seeded weights.

Weights are random but alive: they are He-scaled, and batch-norm statistics are those of two probe images, so that
activations keep their spread through the depth and outputs depend on the input. Graphs look like what exporters write:
batch norm is not folded, ReLU6 is a Clip, TensorFlow's networks have TensorFlow's padding.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_dwfuse.errors import DwfuseError
from tvm_dwfuse.zoo import table as tables
from tvm_dwfuse.zoo.table import Published, Table

if TYPE_CHECKING:
    import onnx

__all__ = ["ModelInfo", "build", "describe", "names"]

OPSETS = range(7, 22)


@dataclass(frozen=True)
class ModelInfo:
    """What `describe` tells of a model: counts of the built graph per image, and the published ones if there are any.

    `input_shape` is (C, H, W).
    """

    name: str
    input_shape: tuple[int, int, int]
    macs: int
    params: int
    published: Published | None


@dataclass(frozen=True)
class _Choice:
    """A parsed name: `width` and `resolution` are words of the table's lists, or empty."""

    table: Table
    width: str
    resolution: str

    @property
    def variant(self) -> str:
        return "_".join(word for word in (self.width, self.resolution) if word) or "-"

    @property
    def name(self) -> str:
        return self.table.family if self.variant == "-" else f"{self.table.family}_{self.variant}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        channels, rows, columns = self.table.input_shape
        return channels, int(self.resolution or rows), int(self.resolution or columns)


def names() -> list[str]:
    """Names of the listed models, such as `mobilenet_v1_0.25_128`: family, width, resolution."""
    return [choice.name for family in tables.families() for choice in _choices(tables.load(family), listed_only=True)]


def build(name: str, *, batch: int | None = 1, opset: int = 17, seed: int = 0) -> onnx.ModelProto:
    """Build a model: input "input" float32 [batch, C, H, W], output "output" float32 [batch, classes].

    Args:
        name: a listed name, or its family with any width and resolution that the family's table allows.
        batch: the batch dimension; None leaves it symbolic, named "N".
        opset: ONNX operator set, 7 to 21.
        seed: of the weights; the same seed gives the same model.

    Raises:
        DwfuseError: no such name (the message has the nearest ones), batch below 1, or another opset.
    """
    choice = _choose(name)
    if batch is not None and batch < 1:
        raise DwfuseError(f"batch {batch}: give 1 or more, or None for a symbolic batch dimension")
    if opset not in OPSETS:
        raise DwfuseError(f"opset {opset}: the zoo writes opsets {OPSETS.start} to {OPSETS.stop - 1}")
    if seed < 0:
        raise DwfuseError(f"seed {seed}: give 0 or more")
    from tvm_dwfuse.zoo.networks import build_table

    return build_table(
        choice.table,
        choice.name,
        width=choice.width,
        resolution=choice.resolution,
        batch=batch,
        opset=opset,
        seed=seed,
    )


def describe(name: str) -> ModelInfo:
    """Input shape, MACs and parameters of a model (built and counted), beside the published counts.

    Raises:
        DwfuseError: no such name.
    """
    from tvm_dwfuse.zoo.counts import count

    choice = _choose(name)
    counts = count(build(choice.name))
    published = choice.table.published.get(choice.variant)
    return ModelInfo(choice.name, choice.input_shape, counts.macs, counts.params, published)


def _choices(table: Table, *, listed_only: bool = False) -> list[_Choice]:
    """All legal variants of a table, or those that it lists."""
    widths, resolutions = table.words("widths") or [""], table.words("resolutions") or [""]
    every = [_Choice(table, width, resolution) for width in widths for resolution in resolutions]
    listed = table.words("listed")
    if not listed_only or not listed or listed == ["all"]:
        return every
    return [choice for choice in every if choice.variant in listed]


def _choose(name: str) -> _Choice:
    """Find the variant that a name means; `0.50` is read as `0.5`, as TensorFlow spells it."""
    legal = {choice.name: choice for family in tables.families() for choice in _choices(tables.load(family))}
    plain = "_".join(_plain_number(word) for word in name.split("_"))
    if plain in legal:
        return legal[plain]
    nearest = difflib.get_close_matches(name, legal, n=3, cutoff=0.5)
    hint = f"the nearest are {', '.join(nearest)}" if nearest else "`dwfuse zoo list` shows the names"
    raise DwfuseError(f"no zoo model named {name!r}; {hint}")


def _plain_number(word: str) -> str:
    """`0.50` -> `0.5`; anything that is not a decimal stays."""
    whole, dot, fraction = word.partition(".")
    if not dot or not (whole.isdecimal() and fraction.isdecimal()):
        return word
    return str(float(word))
