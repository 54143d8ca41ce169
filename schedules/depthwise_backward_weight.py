"""Weight gradient of a depthwise convolution: dw[o][i][j] = sum over images and outputs of dy * x.

dw[o][i][j] = sum over n, y, x of dy[n][o][y][x] * x[n][o // multiplier][y sh + i dh - top][x sw + j dw - left], and
db[o] = sum of dy[n][o]. The sums of all taps of a channel stay in registers while both operands stream by, each vector
loaded once; that the operands are not copied to pad them or to unfold windows is what sets this apart from a matrix
multiplication (Hao et al. 2022).
"""

from __future__ import annotations

from tvm import tirx

from tvm_dwfuse.kernels.depthwise import Depthwise, operand_shapes
from tvm_dwfuse.targets import CpuTarget

from .depthwise_forward import axes
from .direct.weight_nchw import PlaneLoops
from .direct.weight_nhwc import PixelLoops
from .direct.weight_problem import Problem
from .direct.weight_taps import tap_loops
from .direct.weight_tile import WeightTile, default_tile
from .loops import FlatViews
from .tile import PARALLEL_MACS

#: Vector multiplications that a kernel may write out: those of a 7x7 filter at 56x56 are 3182, and take LLVM 3 s.
MOST_MULTIPLICATIONS = 4000


def build(
    conv: Depthwise, target: CpuTarget, threads: int = 1, bias: bool = False, tile: WeightTile | None = None
) -> tirx.PrimFunc:
    """The kernel: x, dy -> dw [, db], shapes as ``operand_shapes("backward_weight", conv, bias)``.

    ``tile`` is None for the default. Nothing is read outside of the operands, and an infinity or NaN among them makes
    results that depend on it infinite or NaN, though not always the same of the two.
    """
    shapes = operand_shapes("backward_weight", conv, bias)
    buffers = {name: tirx.decl_buffer(shape, "float32", name) for name, shape in shapes.items()}
    views = FlatViews()
    flat = {name: views.of(buffer) for name, buffer in buffers.items()}
    problem = Problem(conv, *axes(conv), flat["x"], flat["dy"], flat["dw"], flat.get("db"))
    threads = threads if conv.macs >= PARALLEL_MACS else 1
    tile = tile or default_tile(conv, problem.rows, problem.columns, target)
    writer = PlaneLoops if conv.layout == "NCHW" else PixelLoops
    loops = writer(problem, tile, target, threads)
    small = loops.multiplications <= MOST_MULTIPLICATIONS
    statements = loops.statements() if small else tap_loops(problem, tile.lanes, threads > 1)
    func = tirx.PrimFunc(list(buffers.values()), tirx.SeqStmt([*views.declarations(), *statements]))
    return func.with_attr("tirx.noalias", True).with_attr("tirx.is_scheduled", True)
