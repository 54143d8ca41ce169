"""Kinds and sizes of layers, from what manifests say of convolutions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..blocks import Block, Conv
from .model import Layer


def geometry(fields: Mapping[str, Any]) -> Block:
    """The convolutions that ``fields`` of a :class:`~tvm_dwfuse.blocks.Block`, as JSON has them, describe."""
    return Block.from_json(json.dumps(fields))


def layers_of(names: Sequence[str], block: Block) -> tuple[Layer, ...]:
    """The layers of those names, one for each stage of the block."""
    sizes = block.sizes()[:-1]
    return tuple(
        Layer(name, _kind(conv, size), _size(conv)) for name, conv, size in zip(names, block.stages, sizes, strict=True)
    )


def _kind(conv: Conv, size: tuple[int, int]) -> str:
    if conv.is_depthwise:
        return "dw"
    if not conv.is_pointwise:
        return "conv"
    return "dense" if size == (1, 1) else "pw"


def _size(conv: Conv) -> str:
    """Such as ``3x3/2 64`` of a depthwise, ``1x1 64→128`` of another convolution."""
    kernel = "x".join(map(str, conv.kernel)) + (f"/{conv.strides[0]}" if conv.strides != (1, 1) else "")
    if conv.is_depthwise and conv.channel_multiplier == 1:
        return f"{kernel} {conv.in_channels}"
    return f"{kernel} {conv.in_channels}→{conv.out_channels}"
