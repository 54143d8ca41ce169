"""What can be chosen about the register tiles of depthwise procedures: spaces of their fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

from tvm_dwfuse.kernels.depthwise import Depthwise
from tvm_dwfuse.space import Point, Space
from tvm_dwfuse.targets import CpuTarget

from .axis import Axis
from .gather import GatherTile
from .kernel import default_tile, rows_in_flight
from .weight_tile import WeightTile, split_taps, window_registers
from .weight_tile import default_tile as default_weight_tile

#: Rows of a tile: they are all written out.
_ROWS = (1, 2, 4, 8, 14)

#: Columns of a tile: pixels of NHWC, vectors of NCHW.
_PIXELS, _VECTORS = range(1, 8), range(1, 5)

#: Tiles ahead for which inputs are asked.
_AHEAD = (0, 1, 2)

#: Registers that inputs and taps need at least.
_SPARE = 2

#: Vector multiplications that a tile may write out: LLVM takes seconds for more.
_MOST_WRITTEN = 1000

#: Gradient vectors that are walked together: rows of NHWC, vectors of a row of NCHW.
_STREAMS = range(1, 9)


def gather_space(conv: Depthwise, axes: tuple[Axis, Axis], target: CpuTarget) -> Space:
    """The :class:`GatherTile`\\ s of the forward procedure or, with its axes, of the data gradient."""
    rows, columns = axes
    along_channels = conv.layout == "NHWC"
    default = default_tile(conv, axes, target)
    width = columns.outputs // columns.out_step
    most_lanes = min(target.lanes // conv.multiplier, conv.channels) if along_channels else min(target.lanes, width)
    phases = 1 if along_channels else columns.out_step

    def fits(point: Point) -> bool:
        tile = gather_tile(point)
        sums = min(tile.rows, rows_in_flight(rows)) * tile.columns * phases
        written = tile.rows * tile.columns * rows.taps * columns.taps
        return sums + _SPARE <= target.registers and written <= _MOST_WRITTEN

    return _space(
        {
            "rows": (size for size in _ROWS if size <= rows.outputs),
            "columns": (size for size in (_PIXELS if along_channels else _VECTORS) if size <= max(1, width)),
            "lanes": [size for size in _lanes(default.lanes, target, along_channels) if size <= most_lanes],
            "ahead": _AHEAD if along_channels else (),
        },
        asdict(default),
        fits,
    )


def gather_tile(point: Point) -> GatherTile:
    """The tile of a point."""
    return GatherTile(**point)


def weight_space(conv: Depthwise, axes: tuple[Axis, Axis], target: CpuTarget) -> Space:
    """The :class:`WeightTile`\\ s of the weight gradient; ``axes`` are those of the forward procedure.

    ``groups`` is the number of parts of the filter.
    """
    rows, columns = axes
    default = default_weight_tile(conv, rows, columns, target)
    across, along = (rows, columns) if conv.layout == "NHWC" else (columns, rows)
    most_streams = rows.outputs if conv.layout == "NHWC" else -(-columns.outputs // default.lanes)
    start = {"lanes": default.lanes, "streams": default.streams, "groups": len(default.groups)}

    def fits(point: Point) -> bool:
        tile = weight_tile(conv, point)
        return window_registers(along, tile) < target.registers

    return _space(
        {
            "lanes": (default.lanes,),
            "streams": (size for size in _STREAMS if size <= most_streams),
            "groups": range(1, across.taps + 1),
        },
        start,
        fits,
    )


def weight_tile(conv: Depthwise, point: Point) -> WeightTile:
    """The tile of a point."""
    taps = conv.kernel[0] if conv.layout == "NHWC" else conv.kernel[1]
    return WeightTile(point["lanes"], point["streams"], split_taps(taps, point["groups"]))


def _space(choices: dict[str, Iterable[int]], default: Point, fits: Callable[[Point], bool]) -> Space:
    """The space of these choices and the default, which is legal whatever ``fits`` says."""
    values = {name: tuple(sorted({default[name], *choices[name]})) for name in default}
    return Space(values, default, lambda point: point == default or fits(point))


def _lanes(default: int, target: CpuTarget, along_channels: bool) -> list[int]:
    """Vectors half as wide where they cost half as much, or fit the width better; and twice as wide."""
    half = [default // 2] if target.half_vectors_are_cheap or not along_channels else []
    return [size for size in (*half, 2 * default) if 1 < size <= target.lanes]
