"""Constants of layer groups as the kernels read them: packed arrays, their bytes in L3, their text in C."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..groups import Group
from ..tiling.chain import Chain, is_depthwise
from .kernels import pack_conv_weights, pack_depthwise_weights, pack_requantization
from .memory_plan import Piece

_ALIGNED = "__attribute__((aligned(4)))"
_BYTES_PER_LINE = 32


def packed_constants(group: Group) -> dict[str, np.ndarray]:
    """Weights ``w<i>``, int8 (channels, row), and requantization ``q<i>``, int32 (channels, 2), of each stage."""
    packed: dict[str, np.ndarray] = {}
    if not isinstance(group.plan, Chain):
        return packed
    for i, layer in enumerate(group.layers):
        assert layer.weights is not None, layer.name
        pack = pack_depthwise_weights if is_depthwise(group.plan.stages[i]) else pack_conv_weights
        packed[f"w{i}"] = pack(layer.weights)
        packed[f"q{i}"] = pack_requantization(layer.multiplier, layer.offset)
    return packed


def piece_bytes(piece: Piece, packed: dict[str, np.ndarray]) -> bytes:
    """What L3 holds of a piece: its arrays one after the other, little-endian, filled up to the piece's size."""
    parts = []
    for array in piece.arrays:
        values = packed[array.name][array.lo : array.hi]
        parts.append(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return b"".join(parts).ljust(piece.bytes, b"\0")


def weights_file(groups: Sequence[Group], pieces: Sequence[Piece]) -> bytes:
    """The contents of weights.bin."""
    packed = {group.name: packed_constants(group) for group in groups}
    return b"".join(piece_bytes(piece, packed[piece.group]) for piece in pieces)


def c_declaration(name: str, array: np.ndarray) -> str:
    """The declaration of a constant array; :func:`c_definition` defines it."""
    return f"const {_c_type(array)} {name}[{array.size}]"


def c_definition(name: str, array: np.ndarray) -> str:
    """A constant array in C, flat and word-aligned.

    Bytes are string literals, which compilers read many times faster than lists of numbers.
    """
    if array.dtype == np.int32:
        values = ", ".join(map(str, array.reshape(-1).tolist()))
        return f"{c_declaration(name, array)} = {{{values}}};\n"
    data = array.tobytes()
    lines = (data[start : start + _BYTES_PER_LINE] for start in range(0, len(data), _BYTES_PER_LINE))
    text = "\n".join('  "' + "".join(f"\\{byte:03o}" for byte in line) + '"' for line in lines)
    return f"{c_declaration(name, array)} {_ALIGNED} =\n{text};\n"


def _c_type(array: np.ndarray) -> str:
    return "int32_t" if array.dtype == np.int32 else "int8_t"
