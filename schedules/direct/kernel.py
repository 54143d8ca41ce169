"""A gathering procedure as a function: its tile from the target's registers, its buffers and its loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from tvm import tirx

from tvm_dwfuse.kernels.depthwise import Depthwise, Procedure, operand_shapes
from tvm_dwfuse.targets import CpuTarget

from ..loops import FlatViews
from ..tile import FEW_REGISTERS, PARALLEL_MACS
from .axis import Axis
from .gather import Gather, GatherTile
from .gather_nchw import plane_loops
from .gather_nhwc import pixel_loops
from .streaming import streams

#: Registers for inputs on their way from memory to the multiplications, and for a product that starts a sum.
_SPARE = 5


def default_tile(conv: Depthwise, axes: tuple[Axis, Axis], target: CpuTarget) -> GatherTile:
    """The register tile for a target's vectors and registers, when nothing has been tuned."""
    rows, columns = axes
    if conv.layout == "NHWC":
        return _pixel_tile(conv, rows, target)
    return _plane_tile(conv, rows, columns, target)


def _pixel_tile(conv: Depthwise, rows: Axis, target: CpuTarget) -> GatherTile:
    """NHWC: the taps in registers, if that leaves enough for the accumulators of the output rows in flight.

    With 32 registers a 3x3 kernel at stride 1 takes 9 for the taps, 3 x 6 for three rows of six pixels, and the rest
    for inputs; seven pixels spill. Rows cost no registers: eight of them make the two rows that neighbours read again
    a quarter. At stride 2 two rows are in flight, and 14 rows pay. Larger kernels read each tap where they use it, so
    a tile is wide, to use it often, and two rows high: 2 x 7 accumulators, the inputs of a row, and one tap.

    What comes from memory is asked for a tile ahead, and small tiles read fewer places at a time: together that took 39
    to 62% off the time of MobileNetV1's first layers on eight images, 25 MB and more, on Zen 4; at 13 MB it cost 5%.
    """
    taps = conv.kernel[0] * conv.kernel[1]
    in_flight = rows_in_flight(rows)
    lanes = _power_of_two(min(target.lanes // conv.multiplier, conv.channels))
    columns = min(6, (target.registers - taps - _SPARE) // in_flight)
    if columns >= 3 and streams(conv, lanes, target, caches=16):
        return GatherTile(min(4, rows.outputs), 4 if rows.in_step == 1 else 2, lanes, ahead=1)
    if target.registers <= FEW_REGISTERS:
        return _tile_of_few_registers(conv, rows, lanes, target)
    if columns >= 3:
        return GatherTile(min(14 if rows.in_step > 1 else 8, rows.outputs), columns, lanes)
    return GatherTile(min(2 * rows.out_step, rows.outputs), max(1, (target.registers - 4) // 4), lanes)


def _tile_of_few_registers(conv: Depthwise, rows: Axis, lanes: int, target: CpuTarget) -> GatherTile:
    """Taps are memory operands: four columns use each four times, by as many rows as share inputs and leave registers.

    At stride 2 tiles share few inputs, and single columns read fewer places at a time where these are not in the cache.
    """
    size = 4 * (math.prod(conv.input_shape) + math.prod(conv.output_shape))
    columns = 1 if rows.in_step > 1 and size > 4 * target.l2_bytes else 4
    count = 4 if rows_in_flight(rows) * columns + 2 <= target.registers else 2
    return GatherTile(min(count * rows.out_step, rows.outputs), columns, lanes)


def _plane_tile(conv: Depthwise, rows: Axis, columns: Axis, target: CpuTarget) -> GatherTile:
    """NCHW: taps share registers (by lane) or are memory operands, so accumulators may take most of them.

    Vectors of a row share the address arithmetic and, two by two, the loads. At stride 2 even and odd columns are taken
    apart in registers of their own, and kernels of more than three rows have more rows in flight: two vectors then.
    """
    room = columns.outputs // columns.out_step
    candidates = [lanes for lanes in (target.lanes, target.lanes // 2) if lanes <= room]
    lanes = min(candidates, key=lambda lanes: _row_cost(room, lanes, target)) if candidates else _power_of_two(room)
    simple = rows_in_flight(rows) <= 3 and columns.in_step == columns.out_step == 1
    return GatherTile(8, 4 if simple and target.registers >= 32 else 2, lanes)


def _row_cost(width: int, lanes: int, target: CpuTarget) -> int:
    """Vector operations for a row of ``width`` outputs; two for a whole vector where half a vector takes half."""
    whole = 2 if target.half_vectors_are_cheap and lanes == target.lanes else 1
    return -(-width // lanes) * whole


def _holds_taps(conv: Depthwise, rows: Axis, tile: GatherTile, target: CpuTarget) -> bool:
    used = conv.kernel[0] * conv.kernel[1] + rows_in_flight(rows) * tile.columns
    return used + _SPARE <= target.registers


def rows_in_flight(rows: Axis) -> int:
    """Output rows that have some of their products and wait for others, going down the inputs."""
    reach = (rows.taps - 1) * rows.dilation + 1
    return max(1, -(-reach // rows.in_step))


def _power_of_two(limit: int) -> int:
    return 1 << (max(1, limit).bit_length() - 1)


def gather_function(
    procedure: Procedure,
    conv: Depthwise,
    axes: tuple[Axis, Axis],
    target: CpuTarget,
    threads: int,
    bias: bool,
    tile: GatherTile | None,
) -> tirx.PrimFunc:
    """The function of a gathering procedure, scheduled."""
    forward = procedure == "forward"
    shapes = operand_shapes(procedure, conv, bias)
    names = list(shapes)

    def body(flat: dict[str, tirx.Buffer]) -> tirx.Stmt:
        problem = Gather(
            conv,
            flat[names[0]],
            flat["w"],
            flat.get("b"),
            flat[names[-1]],
            *axes,
            sources=1 if forward else conv.multiplier,
            repeat=conv.multiplier if forward else 1,
        )
        return gather_loops(problem, target, threads if conv.macs >= PARALLEL_MACS else 1, tile)

    return flat_function(shapes, body)


def gather_loops(problem: Gather, target: CpuTarget, threads: int, tile: GatherTile | None = None) -> tirx.Stmt:
    """The loops of a procedure in its layout, shared by ``threads``."""
    conv = problem.conv
    tile = tile or default_tile(conv, (problem.rows, problem.columns), target)
    problem = replace(
        problem, by_lane=target.fma_by_lane, holds_taps=_holds_taps(conv, problem.rows, tile, target), ahead=tile.ahead
    )
    return plane_loops(problem, tile, threads > 1) if conv.layout == "NCHW" else pixel_loops(problem, tile, threads)


def flat_function(
    shapes: Mapping[str, tuple[int, ...]], body: Callable[[dict[str, tirx.Buffer]], tirx.Stmt]
) -> tirx.PrimFunc:
    """A function with these float32 parameters; ``body`` writes its statements for flat views of them.

    It does not say that its operands do not overlap, though they must not: LLVM would then move all stores of a tile
    behind all its loads, and spill what waits for them.
    """
    buffers = {name: tirx.decl_buffer(shape, "float32", name) for name, shape in shapes.items()}
    views = FlatViews()
    flat = {name: views.of(buffer) for name, buffer in buffers.items()}
    statements = [*views.declarations(), body(flat)]
    func = tirx.PrimFunc(list(buffers.values()), tirx.SeqStmt(statements))
    return func.with_attr("global_symbol", "main").with_attr("tirx.is_scheduled", True)
