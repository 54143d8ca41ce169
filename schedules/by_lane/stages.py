"""The stages of a block as products by lane see them: flat operands, tiles of outputs, and the epilogue of a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, ForKind

from tvm_dwfuse.blocks import Block, Conv
from tvm_dwfuse.kernels.activations import APPLY

from ..lanes import behind_barrier, ramp, vector_at
from ..loops import FlatViews, int64, loop, sequence
from ..tile import Tile
from .packing import Packing
from .products import Factors, PackedFactors, Sink, Weights, product_tile
from .tiles import PixelTiles


@dataclass(frozen=True)
class Stage:
    """One stage: its geometry, its register tile, and flat views of what it reads besides activations."""

    conv: Conv
    tile: Tile
    weight: tirx.Buffer
    bias: tirx.Buffer | None
    residual: tirx.Buffer | None

    @property
    def terms(self) -> int:
        """Products in each sum."""
        return self.conv.kernel[0] * self.conv.kernel[1] * self.conv.in_channels // self.conv.groups

    @property
    def lanes(self) -> int:
        """Channels in a vector."""
        return self.tile.lanes

    def epilogue(self, value: Expr, bias: tirx.Buffer | None, channel: Expr, element: Expr) -> Expr:
        """The steps behind the sum: its bias is at ``bias[channel]``, its residual at ``element`` of the output."""
        for step in self.conv.epilogue:
            if step == "bias":
                value = value + vector_at(bias, channel, self.lanes)
            elif step == "add":
                value = value + vector_at(self.residual, element, self.lanes)
            else:
                value = _with_max_instructions(APPLY[step](value))
        return value


def _with_max_instructions(value: Expr) -> Expr:
    """``value`` with LLVM's own maximum and minimum, which stay one instruction when LLVM rearranges vectors."""

    def intrinsic(name: str) -> Callable[[tirx.Max | tirx.Min], Expr]:
        return lambda node: tirx.call_llvm_pure_intrin(node.ty, name, node.a, node.b)

    return tvm_ffi.structural_map(value, ((tirx.Max, intrinsic("llvm.maxnum")), (tirx.Min, intrinsic("llvm.minnum"))))


def stages_of(block: Block, tiles: Sequence[Tile], params: Sequence[tirx.Buffer], flat: FlatViews) -> list[Stage]:
    """The stages of a block whose function has these parameters."""
    named = dict(zip(block.operands(), params, strict=False))

    def view(name: str) -> tirx.Buffer | None:
        return flat.of(named[name]) if name in named else None

    return [
        Stage(conv, tile, flat.of(named[f"w{i}"]), view(f"b{i}"), view(f"r{i}"))
        for i, (conv, tile) in enumerate(zip(block.stages, tiles, strict=True))
    ]


#: The factors of a tile of pixels: from the tiles and the number of one.
Inputs = Callable[[PixelTiles, Expr], Factors]


def packed_factors(packing: Packing, packed: tirx.Buffer) -> Inputs:
    """The factors of tiles that lie packed in ``packed``."""
    return lambda tiles, i: PackedFactors(packing, packed, tiles.packed(i), tiles.slots)


def multiply(
    stage: Stage,
    tiles: Sequence[PixelTiles],
    inputs: Inputs,
    out: tirx.Buffer,
    parallel: bool = False,
) -> tirx.Stmt:
    """Products of all tiles of pixels with all tiles of channels, these outermost: a tile of weights stays in L1.

    ``inputs`` are the factors of a tile of pixels; ``parallel`` shares the tiles of channels among the cores.
    """
    full, rest = divmod(stage.conv.out_channels, stage.tile.channels)

    def channels(tile: Expr, width: int) -> tirx.Stmt:
        return sequence([_pixels(stage, part, inputs, out, tile, width) for part in tiles])

    kind = ForKind.PARALLEL if parallel and full > 1 else ForKind.SERIAL
    statements = [loop(full, kind, lambda tile: channels(tile, stage.tile.channels), "tile")] if full else []
    if rest:
        statements.append(channels(int64(full), rest))
    return sequence(statements)


def _pixels(
    stage: Stage,
    tiles: PixelTiles,
    inputs: Inputs,
    out: tirx.Buffer,
    tile: Expr,
    width: int,
) -> tirx.Stmt:
    lanes = stage.lanes

    def one(i: Expr) -> tirx.Stmt:
        sink = _Outputs(stage, tiles, tiles.place(i), tile * int64(stage.tile.channels), out)
        weights = Weights(stage.weight, stage.terms, stage.tile.channels, tile)
        return product_tile(inputs(tiles, i), weights, len(tiles.slots), width // lanes, lanes, sink)

    return tiles.loop(one)


class _Outputs(Sink):
    """A tile of pixels of ``out`` from channel ``first`` on."""

    def __init__(self, stage: Stage, tiles: PixelTiles, place: Expr, first: Expr, out: tirx.Buffer) -> None:
        self._stage, self._tiles, self._out = stage, tiles, out
        self._first = place * int64(stage.conv.out_channels) + first
        self._bias: tirx.Buffer | None = None
        self.statements = []
        if stage.bias is not None:
            self._bias, self.statements = behind_barrier(stage.bias, first, f"{stage.bias.name}_tile")

    def store(self, pixel: int, channel: int, sums: Expr) -> list[tirx.Stmt]:
        lanes = self._stage.lanes
        element = self._first + int64(self._tiles.offsets[pixel] * self._stage.conv.out_channels + channel)
        value = self._stage.epilogue(sums, self._bias, int64(channel), element)
        return [BufferStore(self._out, value, [ramp(element, lanes)])]
