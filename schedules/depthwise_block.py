"""A block of one depthwise convolution with its epilogue, by the forward procedure."""

from __future__ import annotations

from dataclasses import asdict

from tvm import tirx

from tvm_dwfuse.blocks import Block, Layout
from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.targets import CpuTarget

from .depthwise_forward import axes
from .direct.gather import Gather, GatherTile
from .direct.kernel import default_tile, flat_function, gather_loops
from .direct.space import gather_space
from .tile import Freedom, Knobs, Tile

#: The fields of the procedure's tile by the knobs that stand for them.
_KNOBS = {"rows0": "rows", "pixels0": "columns", "channels0": "lanes", "lanes0": "lanes"}


def computes(block: Block, source: Layout | None) -> bool:
    """Whether the procedure computes this block: NHWC throughout, with one residual at most."""
    return (
        block.order == "dw"
        and block.layout == "NHWC"
        and source in (None, "NHWC")
        and not block.prologue
        and block.stages[0].epilogue.count("add") <= 1
    )


def default_knobs(block: Block, target: CpuTarget) -> Knobs:
    """The tile of the forward procedure."""
    conv = _geometry(block)
    tile = default_tile(conv, axes(conv), target)
    return Knobs(1, (Tile(tile.rows, tile.columns, tile.lanes, tile.lanes),))


def freedom(block: Block, target: CpuTarget) -> Freedom:
    """Those of the forward procedure's tile; ``channels`` and ``lanes`` are the same here."""
    conv = _geometry(block)
    space = gather_space(conv, axes(conv), target)
    choices = {knob: space.choices[field] for knob, field in _KNOBS.items()}

    def fits(knobs: Knobs) -> bool:
        (tile,) = knobs.tiles
        return tile.channels == tile.lanes and space.legal(asdict(_gather_tile(tile, conv, target)))

    return Freedom(choices, fits)


def build(block: Block, target: CpuTarget, threads: int, knobs: Knobs) -> tirx.PrimFunc:
    """The function: :meth:`Block.operands`, then the output; the weight is (kh, kw, C_out)."""
    (stage,), (tile,) = block.stages, knobs.tiles
    conv = _geometry(block)
    shapes = {"x": conv.input_shape, "w0": conv.weight_shape, "b0": (conv.out_channels,), "r0": conv.output_shape}
    operands = {name: shapes[name] for name in block.operands()}

    def body(flat: dict[str, tirx.Buffer]) -> tirx.Stmt:
        problem = Gather(
            conv,
            flat["x"],
            flat["w0"],
            flat.get("b0"),
            flat["out0"],
            *axes(conv),
            repeat=conv.multiplier,
            epilogue=stage.epilogue,
            residual=flat.get("r0"),
        )
        return gather_loops(problem, target, threads, _gather_tile(tile, conv, target))

    return flat_function({**operands, "out0": conv.output_shape}, body)


def _gather_tile(tile: Tile, conv: Depthwise, target: CpuTarget) -> GatherTile:
    return GatherTile(tile.rows, tile.pixels, tile.lanes, default_tile(conv, axes(conv), target).ahead)


def _geometry(block: Block) -> Depthwise:
    (stage,) = block.stages
    return Depthwise(
        stage.in_channels,
        block.height,
        block.width,
        stage.kernel,
        stage.strides,
        stage.padding,
        stage.dilation,
        stage.channel_multiplier,
        block.batch,
        block.layout,
    )
